package agent

import (
	"context"
	"log/slog"
	"testing"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/runtime"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/tierwall/tierwall/controllers/manifests"
	"github.com/tierwall/tierwall/dataplane/conntrack"
	"github.com/tierwall/tierwall/dataplane/fake"
	"github.com/tierwall/tierwall/policy/model"
	"github.com/tierwall/tierwall/test/goroutines"
)

func TestAgent(t *testing.T) {
	goroutines.MustEnd(t)
	RegisterFailHandler(Fail)
	SetDefaultEventuallyTimeout(20 * time.Second)
	RunSpecs(t, "agent")
}

// start of every fake clock.
var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// objects reads manifests.
func objects(yaml string) []runtime.Object {
	GinkgoHelper()
	r, err := manifests.LoadBytes("test.yaml", []byte(yaml))
	Expect(err).NotTo(HaveOccurred())
	var out []runtime.Object
	for _, o := range r.Objects {
		out = append(out, o.Object)
	}
	return out
}

// script is a Source that a test drives.
type script struct {
	sink chan Sink
	end  chan error
}

func newScript() *script { return &script{sink: make(chan Sink, 1), end: make(chan error)} }

func (s *script) Run(ctx context.Context, to Sink) error {
	s.sink <- to
	select {
	case <-ctx.Done():
		return nil
	case err := <-s.end:
		return err
	}
}

// rig is an agent with everything around it faked.
type rig struct {
	*Agent
	source  *script
	backend *fake.Backend
	table   *conntrack.Fake
	clock   *clocktesting.FakeClock
	to      Sink
	over    chan error
	cancel  context.CancelFunc
	logs    *logs
}

// newRig makes an agent; its transactions do not wait for more to come.
func newRig(change func(*Options)) *rig {
	GinkgoHelper()
	r := &rig{
		source: newScript(), backend: &fake.Backend{Done: make(chan fake.Call, 1000)}, table: &conntrack.Fake{},
		clock: clocktesting.NewFakeClock(start), over: make(chan error, 1), logs: &logs{lines: make(chan string, 10000)},
	}
	o := Options{
		Node: "node", Source: r.source, Backend: r.backend, Conntrack: r.table, Clock: r.clock,
		Delay: -1, Jitter: func() float64 { return 0 }, Log: slog.New(r.logs),
	}
	if change != nil {
		change(&o)
	}
	var err error
	r.Agent, err = New(o)
	Expect(err).NotTo(HaveOccurred())
	return r
}

// run starts the agent; it ends with the test.
func (r *rig) run() *rig {
	ctx, cancel := context.WithCancel(context.Background())
	r.cancel = cancel
	go func() {
		r.over <- r.Agent.Run(ctx)
		close(r.over)
	}()
	DeferCleanup(func() {
		cancel()
		Eventually(r.over).Should(BeClosed())
	})
	Eventually(r.source.sink).Should(Receive(&r.to))
	return r
}

// next returns the next transaction, without moving the clock.
func (r *rig) next() fake.Call {
	GinkgoHelper()
	var c fake.Call
	Eventually(r.backend.Done).Should(Receive(&c))
	return c
}

// nextAfter returns the next transaction, moving the clock on in steps.
func (r *rig) nextAfter(step time.Duration) (c fake.Call, took time.Duration) {
	GinkgoHelper()
	from := r.clock.Now()
	Eventually(func() bool {
		select {
		case c = <-r.backend.Done:
			return true
		default:
			r.clock.Step(step)
			return false
		}
	}).WithPolling(time.Millisecond).Should(BeTrue())
	return c, r.clock.Since(from)
}

// rest moves the clock on when the agent has nothing to do: it has a timer then,
// for the next audit at the latest.
func (r *rig) rest(d time.Duration) {
	GinkgoHelper()
	Eventually(r.clock.HasWaiters).Should(BeTrue())
	r.clock.Step(d)
}

// logs is a slog handler that a test can read.
type logs struct {
	lines chan string
}

func (l *logs) Enabled(context.Context, slog.Level) bool { return true }
func (l *logs) WithAttrs([]slog.Attr) slog.Handler       { return l }
func (l *logs) WithGroup(string) slog.Handler            { return l }
func (l *logs) Handle(_ context.Context, rec slog.Record) error {
	line := rec.Level.String() + " " + rec.Message
	rec.Attrs(func(a slog.Attr) bool {
		line += " " + a.String()
		return true
	})
	l.lines <- line
	return nil
}

func ref(text string) model.Ref {
	r, err := model.ParseRef(text)
	if err != nil {
		panic(err)
	}
	return r
}
