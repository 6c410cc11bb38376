package cluster

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"

	"github.com/tierwall/tierwall/controllers/agent"
	"github.com/tierwall/tierwall/controllers/cluster"
	"github.com/tierwall/tierwall/policy/convert"
	"github.com/tierwall/tierwall/policy/model"
)

// recorder is a Sink that keeps what it is told.
type recorder struct {
	mu      sync.Mutex
	objects map[model.Ref]runtime.Object
	updates map[model.Ref]int
	synced  bool
	errs    []error
}

var _ agent.Sink = (*recorder)(nil)

func newRecorder() *recorder {
	return &recorder{objects: map[model.Ref]runtime.Object{}, updates: map[model.Ref]int{}}
}

func (r *recorder) Update(upserts []runtime.Object, deletes []model.Ref) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, o := range upserts {
		if ref, ok := convert.RefOf(o); ok {
			r.objects[ref] = o
			r.updates[ref]++
		}
	}
	for _, ref := range deletes {
		delete(r.objects, ref)
		r.updates[ref]++
	}
}

func (r *recorder) Synced() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.synced = true
}

func (r *recorder) Report(errs ...error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.errs = errs
}

func (r *recorder) inSync() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.synced
}

// report is what was last reported, as text.
func (r *recorder) report() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := errors.Join(r.errs...); err != nil {
		return err.Error()
	}
	return ""
}

// get returns an object by the name that Tierwall gives it, or nil.
func (r *recorder) get(name string) runtime.Object {
	GinkgoHelper()
	ref, err := model.ParseRef(name)
	Expect(err).NotTo(HaveOccurred())
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.objects[ref]
}

// told counts what was said of an object.
func (r *recorder) told(name string) int {
	GinkgoHelper()
	ref, err := model.ParseRef(name)
	Expect(err).NotTo(HaveOccurred())
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.updates[ref]
}

// names of all objects, sorted.
func (r *recorder) names(kinds ...string) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []string
	for ref := range maps.Keys(r.objects) {
		if len(kinds) == 0 || slices.Contains(kinds, string(ref.Kind)) {
			out = append(out, ref.String())
		}
	}
	slices.SortFunc(out, strings.Compare)
	return out
}

// watch runs a Source until the spec ends, or stop is called.
func watch(config *rest.Config, node string) (r *recorder, stop func()) {
	GinkgoHelper()
	r = newRecorder()
	s, err := cluster.New(cluster.Options{Config: config, Node: node, Log: slog.New(slog.NewTextHandler(GinkgoWriter, &slog.HandlerOptions{Level: slog.LevelDebug}))})
	Expect(err).NotTo(HaveOccurred())
	c, cancel := context.WithCancel(context.Background())
	over := make(chan error, 1)
	go func() { over <- s.Run(c, r) }()
	stop = sync.OnceFunc(func() {
		cancel()
		Eventually(over).Should(Receive(BeNil()))
	})
	DeferCleanup(stop)
	return r, stop
}
