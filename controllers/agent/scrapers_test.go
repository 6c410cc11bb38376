package agent

import (
	"context"
	"io"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/tierwall/tierwall/controllers/scrape"
	"github.com/tierwall/tierwall/dataplane"
	"github.com/tierwall/tierwall/dataplane/fake"
	"github.com/tierwall/tierwall/policy/model"
)

// reading counts how often the counters of a backend are read.
type reading struct {
	dataplane.Backend
	reads atomic.Int32
}

func (b *reading) Counters(ctx context.Context) (map[dataplane.Origin]dataplane.Count, error) {
	b.reads.Add(1)
	return b.Backend.Counters(ctx)
}

// serve serves an agent's metrics to the node itself, until the function returned is called.
func serve(a *Agent) (url string, stop func(), err error) {
	registry := prometheus.NewRegistry()
	registry.MustRegister(a)
	server, err := scrape.New(scrape.Options{Address: "127.0.0.1:0", Access: scrape.Open, Gatherer: registry, Probes: a.Probes()})
	if err != nil {
		return "", nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	var over sync.WaitGroup
	over.Go(func() { _ = server.Start(ctx) })
	return "http://" + server.Addr().String() + "/metrics", func() { cancel(); over.Wait() }, nil
}

// fetch reads a page once.
func fetch(url string) (int, error) {
	answer, err := http.Get(url)
	if err != nil {
		return 0, err
	}
	defer func() { _ = answer.Body.Close() }()
	_, err = io.Copy(io.Discard, answer.Body)
	return answer.StatusCode, err
}

var _ = Describe("many who read metrics", func() {
	It("have the goroutine that enforces read counters once", func() {
		var backend *reading
		r := settled(func(o *Options) {
			backend = &reading{Backend: o.Backend}
			o.Backend = backend
		})
		Eventually(r.Ready).Should(Succeed())
		url, stop, err := serve(r.Agent)
		Expect(err).NotTo(HaveOccurred())
		DeferCleanup(stop)
		before := backend.reads.Load()
		var all sync.WaitGroup
		var good atomic.Int32
		for range 100 {
			all.Go(func() {
				if code, err := fetch(url); err == nil && code == http.StatusOK {
					good.Add(1)
				}
			})
		}
		all.Wait()
		Expect(good.Load()).To(BeEquivalentTo(100))
		// Each 5 s anew: a machine that is slow may take longer than that for all.
		Expect(backend.reads.Load() - before).To(BeNumerically("<=", 3))
	})
})

// BenchmarkPolicyBesideScrapers is the time from a changed object to the backend's
// transaction, of a node with 10,000 rules, while nobody or a hundred read metrics
// as fast as they can.
func BenchmarkPolicyBesideScrapers(b *testing.B) {
	for name, scrapers := range map[string]int{"scrapers=0": 0, "scrapers=100": 100} {
		b.Run(name, func(b *testing.B) {
			RegisterTestingT(b)
			counts := map[dataplane.Origin]dataplane.Count{}
			for i := range maxRules {
				counts[dataplane.Origin{Tier: "default", Policy: model.Ref{Kind: "GlobalNetworkPolicy", Name: "p"}, Rule: model.RuleIndex(i)}] = dataplane.Count{Packets: 1}
			}
			backend := &fake.Backend{Done: make(chan fake.Call, 1000)}
			backend.SetCounters(counts, nil)
			source := newScript()
			a, err := New(Options{Node: "node", Source: source, Backend: backend, Delay: -1})
			if err != nil {
				b.Fatal(err)
			}
			ctx, cancel := context.WithCancel(b.Context())
			var over sync.WaitGroup
			over.Go(func() { _ = a.Run(ctx) })
			to := <-source.sink
			to.Update(objects(small), nil)
			to.Synced()
			<-backend.Done
			url, stop, err := serve(a)
			if err != nil {
				b.Fatal(err)
			}
			for range scrapers {
				over.Go(func() {
					for ctx.Err() == nil {
						_, _ = fetch(url)
					}
				})
			}
			var took []time.Duration
			for i := 0; b.Loop(); i++ {
				change := objects(pod("web2", []string{"10.0.0.3", "10.0.0.4"}[i%2]))
				from := time.Now()
				to.Update(change, nil)
				<-backend.Done
				took = append(took, time.Since(from))
				time.Sleep(time.Millisecond)
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
			b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
			cancel()
			stop()
			over.Wait()
		})
	}
}
