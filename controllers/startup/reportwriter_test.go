package startup

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/tierwall/tierwall/api/v1alpha1"
)

// fakeStore notes what is written, and fails as it is told.
type fakeStore struct {
	puts chan string
	fail chan error // the next answers; empty: success
}

func (f *fakeStore) Put(_ context.Context, pods []v1alpha1.StartedPod) error {
	var names []string
	for _, p := range pods {
		names = append(names, p.Name+" "+strings.Join(p.IPs, " "))
	}
	f.puts <- strings.Join(names, ", ")
	select {
	case err := <-f.fail:
		return err
	default:
		return nil
	}
}

type office struct {
	*ReportWriter
	*fakeStore
	t     *testing.T
	clock *clocktesting.FakeClock
}

func newOffice(t *testing.T) *office {
	t.Helper()
	o := &office{t: t, fakeStore: &fakeStore{puts: make(chan string, 100), fail: make(chan error, 10)}, clock: clocktesting.NewFakeClock(time.Unix(1, 0))}
	a, err := NewReportWriter(ReportWriterOptions{Store: o, Clock: o.clock})
	if err != nil {
		t.Fatal(err)
	}
	o.ReportWriter = a
	ctx, cancel := context.WithCancel(context.Background())
	over := make(chan struct{})
	go func() {
		defer close(over)
		if err := a.Run(ctx); err != nil {
			t.Error(err)
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-over
	})
	return o
}

// put is the next write, at once.
func (o *office) put(want string) {
	o.t.Helper()
	select {
	case got := <-o.puts:
		if got != want {
			o.t.Fatalf("written is %q, want %q", got, want)
		}
	case <-time.After(20 * time.Second):
		o.t.Fatalf("%q is not written", want)
	}
}

// later is the next write, after some time; it says how long that was.
func (o *office) later(want string, step time.Duration) (took time.Duration) {
	o.t.Helper()
	for range 1000 {
		select {
		case got := <-o.puts:
			if got != want {
				o.t.Fatalf("written is %q, want %q", got, want)
			}
			return took
		case <-time.After(2 * time.Millisecond):
		}
		if o.clock.HasWaiters() {
			o.clock.Step(step)
			took += step
		}
	}
	o.t.Fatalf("%q is not written", want)
	return 0
}

// counts waits until that many writes have had a result: they are counted after
// they have been made.
func (o *office) counts(result string, want float64) {
	o.t.Helper()
	for end := time.Now().Add(20 * time.Second); testutil.ToFloat64(o.writes.WithLabelValues(result)) != want; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			o.t.Fatalf("%v writes with result %s, want %v", testutil.ToFloat64(o.writes.WithLabelValues(result)), result, want)
		}
	}
}

func startedPods(names ...string) (out []v1alpha1.StartedPod) {
	for i, n := range names {
		out = append(out, v1alpha1.StartedPod{Namespace: "a", Name: n, UID: "u", IPs: []string{fmt.Sprintf("10.0.0.%d", i+1)}})
	}
	return out
}

func TestReportWriter(t *testing.T) {
	o := newOffice(t)
	// What is new is written at once, and waited for.
	o.Announce(startedPods("p"))
	if err := o.Announced(t.Context()); err != nil {
		t.Error(err)
	}
	o.put("p 10.0.0.1")
	o.Announce(startedPods("p", "q"))
	if err := o.Announced(t.Context()); err != nil {
		t.Error(err)
	}
	o.put("p 10.0.0.1, q 10.0.0.2")
	// What is of no use any more goes with the next, or after a while.
	o.Announce(startedPods("p"))
	if err := o.Announced(t.Context()); err != nil {
		t.Error(err)
	}
	select {
	case got := <-o.puts:
		t.Errorf("%q is written in haste", got)
	default:
	}
	if took := o.later("p 10.0.0.1", time.Second); took < linger-time.Second || took > linger+time.Second {
		t.Errorf("written after %v", took)
	}
	o.counts("success", 3)
	if err := prometheus.NewPedanticRegistry().Register(o.ReportWriter); err != nil {
		t.Error(err)
	}
}

// What an agent before has left goes, though nothing is announced.
func TestReportWriterBegins(t *testing.T) {
	o := newOffice(t)
	o.later("", time.Second)
}

// While writing fails nobody waits, and it is tried again.
func TestReportWriterFails(t *testing.T) {
	o := newOffice(t)
	o.fail <- errors.New("no server")
	o.Announce(startedPods("p"))
	if err := o.Announced(t.Context()); !errors.Is(err, errNotWritten) {
		t.Errorf("got %v", err)
	}
	o.put("p 10.0.0.1")
	o.fail <- errors.New("no server")
	o.Announce(startedPods("p", "q"))
	if err := o.Announced(t.Context()); !errors.Is(err, errNotWritten) {
		t.Errorf("got %v", err)
	}
	o.later("p 10.0.0.1, q 10.0.0.2", 100*time.Millisecond)
	o.later("p 10.0.0.1, q 10.0.0.2", 100*time.Millisecond)
	for end := time.Now().Add(20 * time.Second); o.Announced(t.Context()) != nil; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it does not recover")
		}
	}
	o.counts("error", 2)
}

func TestAnnouncedEnds(t *testing.T) {
	a, err := NewReportWriter(ReportWriterOptions{Store: &fakeStore{}})
	if err != nil {
		t.Fatal(err)
	}
	a.Announce(startedPods("p")) // and nobody runs
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := a.Announced(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if _, err := NewReportWriter(ReportWriterOptions{}); err == nil {
		t.Error("no store, and that is no error")
	}
}

func TestLate(t *testing.T) {
	for what, want := range map[Missing]string{
		MissingPod:          "Pod/a/p: the API server has not delivered it to this agent: context canceled",
		MissingKernel:       "Pod/a/p: the kernel does not hold its policy: context canceled",
		MissingAnnouncement: "Pod/a/p: other nodes may not know its addresses: context canceled",
	} {
		err := error(&Late{Pod: "a/p", What: what, Err: context.Canceled})
		if err.Error() != want || !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}
