package agent

import (
	"errors"
	"maps"
	"strings"
	"sync"
	"syscall"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/tierwall/tierwall/dataplane"
	"github.com/tierwall/tierwall/dataplane/fake"
	"github.com/tierwall/tierwall/policy/model"
)

// recorder is a StatusReporter that remembers.
type recorder struct {
	mu   sync.Mutex
	all  []*Status
	copy []map[model.Ref]int64 // of what each said to be enforced, when it said so
}

var _ StatusReporter = (*recorder)(nil)

func (r *recorder) Report(rep *Status) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = append(r.all, rep)
	r.copy = append(r.copy, maps.Clone(rep.Enforced))
}

// last returns the last Status; before the first, an empty one.
func (r *recorder) last() *Status {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.all) == 0 {
		return &Status{}
	}
	return r.all[len(r.all)-1]
}

// slowest is the longest transaction of all that have been told.
func (r *recorder) slowest() (d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.all {
		d = max(d, s.Took)
	}
	return d
}

func (r *recorder) enforced() map[string]int64 {
	out := map[string]int64{}
	for ref, gen := range r.last().Enforced {
		out[ref.String()] = gen
	}
	return out
}

// failed are the refs of the last Status's failures.
func (r *recorder) failed() []string {
	var out []string
	for _, f := range r.last().Failed {
		out = append(out, f.Ref.String())
	}
	return out
}

// generation gives the policies of a manifest a generation.
func generation(n string, manifest string) string {
	return strings.ReplaceAll(manifest, "kind: GlobalNetworkPolicy\nmetadata: {name:", "kind: GlobalNetworkPolicy\nmetadata: {generation: "+n+", name:")
}

// pods is a small world without policies.
var pods = join(world, pod("web", "10.0.0.1"), pod("db", "10.0.0.2"))

var _ = Describe("the reporter", func() {
	var rec *recorder
	reporting := func(o *Options) { o.Reporter = rec }
	BeforeEach(func() { rec = &recorder{} })

	It("hears of the policies that select local endpoints, with their generations", func() {
		r := newRig(reporting).run()
		r.to.Update(objects(join(pods, generation("3", allowTo("db", "db", 5432)), generation("1", allowTo("nobody", "nobody", 1)))), nil)
		r.to.Synced()
		r.next()
		Eventually(rec.enforced).Should(Equal(map[string]int64{"GlobalNetworkPolicy/db": 3}))
		got := rec.last()
		Expect(got.Synced).To(BeTrue())
		Expect(got.InSync).To(BeTrue())
		Expect(got.Err).NotTo(HaveOccurred())
		Expect(got.Failed).To(BeEmpty())
		Expect(got.Endpoints).To(Equal(2))
		Expect(got.Policies).To(Equal(1))
		Expect(got.Rules).To(Equal(1))
		Expect(got.Nodes).To(Equal(1))
		Expect(got.LastSuccess).To(Equal(start))

		r.to.Update(objects(generation("4", allowTo("db", "db", 5433))), nil)
		r.next()
		Eventually(rec.enforced).Should(Equal(map[string]int64{"GlobalNetworkPolicy/db": 4}))
		r.to.Update(objects(pod("nobody", "10.0.0.9")), nil)
		r.next()
		Eventually(rec.enforced).Should(Equal(map[string]int64{"GlobalNetworkPolicy/db": 4, "GlobalNetworkPolicy/nobody": 1}))
		r.to.Update(nil, []model.Ref{ref("GlobalNetworkPolicy/db"), ref("Node/node")})
		r.next()
		Eventually(rec.enforced).Should(Equal(map[string]int64{"GlobalNetworkPolicy/nobody": 1}))
		Expect(rec.last().Nodes).To(BeZero())
		// What was handed out is not changed afterwards.
		for i, rep := range rec.all {
			Expect(rep.Enforced).To(Equal(rec.copy[i]), "report %d", i)
		}
	})

	It("hears of nothing enforced before the source is in sync, but of the source's errors", func() {
		r := newRig(reporting).run()
		r.to.Update(objects(small), nil)
		r.to.Report(errors.New("no answer"))
		Eventually(func() []error { return rec.last().Source }).Should(ConsistOf(MatchError("no answer")))
		Expect(rec.last().Synced).To(BeFalse())
		Expect(rec.last().InSync).To(BeFalse())
		Expect(rec.last().Enforced).To(BeEmpty())
		r.to.Report()
		Eventually(func() []error { return rec.last().Source }).Should(BeEmpty())
	})

	It("hears what has failed, and that the kernel still has what it had", func() {
		var fail error
		var mu sync.Mutex
		r := newRig(reporting)
		r.backend.Before = func(fake.Op, *dataplane.State) error {
			mu.Lock()
			defer mu.Unlock()
			return fail
		}
		r.run()
		r.to.Update(objects(join(pods, generation("1", allowTo("db", "db", 5432)))), nil)
		r.to.Synced()
		r.next()
		Eventually(rec.enforced).Should(HaveLen(1))
		mu.Lock()
		fail = syscall.ENOBUFS
		mu.Unlock()
		r.to.Update(objects(join(generation("2", allowTo("db", "db", 5433)), generation("7", allowTo("web", "web", 80)))), nil)
		r.next()
		Eventually(rec.failed).Should(Equal([]string{"GlobalNetworkPolicy/db", "GlobalNetworkPolicy/web"}))
		got := rec.last()
		Expect(got.InSync).To(BeFalse())
		Expect(got.Err).To(MatchError(syscall.ENOBUFS))
		Expect(got.Failed[0].Generation).To(Equal(int64(2)))
		Expect(got.Failed[0].Err).To(MatchError(syscall.ENOBUFS))
		Expect(got.Failed[1].Generation).To(Equal(int64(7)))
		Expect(rec.enforced()).To(Equal(map[string]int64{"GlobalNetworkPolicy/db": 1}))
		mu.Lock()
		fail = nil
		mu.Unlock()
		for range 100 {
			if c, _ := r.nextAfter(100 * time.Millisecond); c.Err == nil {
				break
			}
		}
		Eventually(rec.enforced).Should(Equal(map[string]int64{"GlobalNetworkPolicy/db": 2, "GlobalNetworkPolicy/web": 7}))
		Expect(rec.last().Failed).To(BeEmpty())
		Expect(rec.last().Err).NotTo(HaveOccurred())
	})

	It("hears of what is held back: that it is not enforced, and what is instead", func() {
		r := newRig(reporting)
		r.backend.Before = func(_ fake.Op, s *dataplane.State) error { return refuses(s, "bad") }
		r.run()
		r.to.Update(objects(join(pods, generation("5", allowTo("bad", "db", 1)), generation("2", allowTo("db", "db", 5432)))), nil)
		r.to.Synced()
		Eventually(func() []string {
			r.clock.Step(20 * time.Millisecond)
			if !rec.last().InSync {
				return nil
			}
			return rec.failed()
		}).WithPolling(time.Millisecond).Should(Equal([]string{"GlobalNetworkPolicy/bad"}))
		f := rec.last().Failed[0]
		Expect(f.Generation).To(Equal(int64(5)))
		Expect(f.Err).To(MatchError(ContainSubstring("syntax error")))
		Expect(f.Instead).To(ContainSubstring("deny all"))
		Expect(rec.enforced()).To(Equal(map[string]int64{"GlobalNetworkPolicy/db": 2}))

		r.to.Update(objects(generation("6", allowTo("bad", "nobody", 1))), nil) // it selects nothing here any more
		Eventually(func() []string {
			r.clock.Step(20 * time.Millisecond)
			return rec.failed()
		}).WithPolling(time.Millisecond).Should(BeEmpty())
		Expect(rec.enforced()).To(Equal(map[string]int64{"GlobalNetworkPolicy/db": 2}))
	})

	It("hears how long transactions take, and nothing more when the agent ends", func() {
		r := newRig(reporting)
		r.backend.Before = func(fake.Op, *dataplane.State) error {
			r.clock.Step(3 * time.Millisecond)
			return nil
		}
		r.run()
		r.to.Update(objects(small), nil)
		r.to.Synced()
		Eventually(rec.slowest).Should(Equal(3 * time.Millisecond))
		r.cancel()
		Eventually(r.over).Should(BeClosed())
		Expect(rec.last().InSync).To(BeTrue())
	})
})
