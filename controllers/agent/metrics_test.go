package agent

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/tierwall/tierwall/dataplane"
	"github.com/tierwall/tierwall/dataplane/conntrack"
	"github.com/tierwall/tierwall/dataplane/fake"
	"github.com/tierwall/tierwall/policy/model"
)

var _ = Describe("metrics and probes", func() {
	get := func(h http.Handler, path string) (int, string) {
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, path, nil))
		body, _ := io.ReadAll(rec.Body)
		return rec.Code, string(body)
	}

	It("say what there is", func() {
		r := newRig(nil)
		r.table.SetUsage(conntrack.Usage{Entries: 12, Limit: 262144, Dropped: 13, Evicted: 14})
		reg := prometheus.NewPedanticRegistry()
		Expect(reg.Register(r.Agent)).To(Succeed())
		h := http.NewServeMux()
		h.Handle("/", r.Probes())
		h.Handle("/metrics", promhttp.HandlerFor(reg, promhttp.HandlerOpts{}))
		code, body := get(h, "/readyz")
		Expect(code).To(Equal(http.StatusServiceUnavailable))
		Expect(body).To(ContainSubstring("not started"))
		r.run()
		r.to.Update(objects(small), nil)
		r.to.Synced()
		r.next()
		drop := dataplane.Origin{Tier: "default", Policy: ref("GlobalNetworkPolicy/db"), Rule: model.RuleEndOfTier, Action: model.Deny}
		audit, allow := drop, drop
		audit.Audit = true
		allow.Rule, allow.Action = 0, model.Allow
		r.backend.SetCounters(map[dataplane.Origin]dataplane.Count{
			drop: {Packets: 3, Bytes: 180}, audit: {Packets: 5}, allow: {Packets: 7, Bytes: 420}, {}: {Packets: 11},
			dataplane.GuardOrigin(model.GuardSourceName, false): {Packets: 2}, dataplane.GuardOrigin(model.GuardLinkName, true): {Packets: 4},
		}, nil)
		Eventually(r.Ready).Should(Succeed())
		problems, err := testutil.GatherAndLint(reg)
		Expect(err).NotTo(HaveOccurred())
		Expect(problems).To(BeEmpty())
		code, body = get(h, "/metrics")
		Expect(code).To(Equal(http.StatusOK))
		for _, line := range []string{
			`tierwall_agent_apply_duration_seconds_count{operation="sync",result="success"} 1`,
			`tierwall_agent_last_success_timestamp_seconds 1.767323045e+09`,
			`tierwall_agent_errors_total{kind="sync"} 0`,
			`tierwall_agent_endpoints 2`,
			`tierwall_agent_conntrack_entries 12`,
			`tierwall_agent_conntrack_limit 262144`,
			`tierwall_agent_conntrack_dropped_total 13`,
			`tierwall_agent_conntrack_evicted_total 14`,
			`tierwall_agent_classes 2`,
			`tierwall_agent_sets 1`,
			`tierwall_agent_set_members 1`,
			`tierwall_agent_rules 1`,
			`tierwall_dropped_packets_total{direction="ingress",policy="GlobalNetworkPolicy/db",rule="end-of-tier",tier="default"} 3`,
			`tierwall_rule_packets_total{action="Allow",audit="false",direction="ingress",policy="GlobalNetworkPolicy/db",rule="0",tier="default"} 7`,
			`tierwall_rule_packets_total{action="Deny",audit="true",direction="ingress",policy="GlobalNetworkPolicy/db",rule="end-of-tier",tier="default"} 5`,
			`tierwall_guard_packets_total{action="dropped",guard="source"} 2`,
			`tierwall_guard_packets_total{action="counted",guard="link"} 4`,
			`tierwall_guard_packets_total{action="dropped",guard="wildcard"} 0`,
			`tierwall_rule_bytes_total{action="Deny",audit="false",direction="ingress",policy="GlobalNetworkPolicy/db",rule="end-of-tier",tier="default"} 180`,
		} {
			Expect(body).To(ContainSubstring(line + "\n"))
		}
		Expect(strings.Count(body, "tierwall_dropped_packets_total{")).To(Equal(1))
		Expect(strings.Count(body, "tierwall_rule_packets_total{")).To(Equal(3), "guards are no rules")
		for _, path := range []string{"/readyz", "/healthz"} {
			code, body = get(h, path)
			Expect(code).To(Equal(http.StatusOK))
			Expect(body).To(Equal("ok\n"))
		}

		By("a backend without counters")
		r.backend.SetCounters(nil, errors.New("no nft"))
		code, body = get(h, "/metrics")
		Expect(code).To(Equal(http.StatusOK))
		Expect(body).To(ContainSubstring("tierwall_agent_endpoints 2\n"))
		Expect(body).NotTo(ContainSubstring("tierwall_guard_packets_total{"), "they would seem to begin anew")
		Expect(testutil.ToFloat64(r.metrics.errors.WithLabelValues("counters"))).To(Equal(1.0))
	})

	It("keep the sizes through any change", func() {
		r := settled(nil)
		sizes := func() []float64 {
			m := r.metrics
			return []float64{testutil.ToFloat64(m.endpoints), testutil.ToFloat64(m.classes), testutil.ToFloat64(m.sets), testutil.ToFloat64(m.members), testutil.ToFloat64(m.rules), testutil.ToFloat64(m.programs)}
		}
		before := sizes()
		more := objects(join(pod("web2", "10.0.0.3"), pod("p1", "10.0.0.11"), allowTo("p1", "p1", 80), allowTo("p2", "p1", 81)))
		r.to.Update(more, nil)
		r.next()
		Eventually(sizes).Should(HaveExactElements(4.0, 3.0, 1.0, 1.0, 3.0, BeNumerically(">", before[5])))
		r.to.Update([]runtime.Object{}, []model.Ref{
			ref("Pod/shop/web2"), ref("Pod/shop/p1"), ref("GlobalNetworkPolicy/p1"), ref("GlobalNetworkPolicy/p2"),
		})
		r.next()
		Eventually(sizes).Should(Equal(before))
	})

	It("are those of before while a transaction takes long", func() {
		gate, busy := make(chan struct{}), make(chan struct{})
		r := settled(nil)
		drop := dataplane.Origin{Tier: "default", Policy: ref("GlobalNetworkPolicy/db"), Rule: model.RuleEndOfTier, Action: model.Deny}
		r.backend.SetCounters(map[dataplane.Origin]dataplane.Count{drop: {Packets: 3}}, nil)
		Expect(testutil.CollectAndCount(r.Agent, "tierwall_dropped_packets_total")).To(Equal(1))
		r.backend.Before = func(fake.Op, *dataplane.State) error {
			close(busy)
			<-gate
			return nil
		}
		r.to.Update(objects(pod("web2", "10.0.0.3")), nil)
		Eventually(func() <-chan struct{} {
			r.clock.Step(time.Millisecond)
			return busy
		}).Should(BeClosed())
		over := make(chan int)
		go func() { over <- testutil.CollectAndCount(r.Agent, "tierwall_dropped_packets_total") }()
		Eventually(r.clock.HasWaiters).Should(BeTrue())
		r.clock.Step(scrapeWait)
		Expect(<-over).To(Equal(1))
		close(gate)
	})

	It("are bounded", func() {
		of := func(namespace string, n int) (list []dataplane.Origin) {
			for i := range n {
				list = append(list, dataplane.Origin{Tier: "default", Policy: model.Ref{Kind: "NetworkPolicy", Namespace: namespace, Name: "p"}, Rule: model.RuleIndex(i)})
			}
			return list
		}
		count := func(list []dataplane.Origin) map[string]int {
			n := map[string]int{}
			for _, o := range list {
				n[o.Policy.Namespace]++
			}
			return n
		}
		shown, leftOut := shownRules(slices.Concat(of("a", maxRulesPerNamespace+7), of("b", 3), of("", 2000)))
		Expect(count(shown)).To(Equal(map[string]int{"a": maxRulesPerNamespace, "b": 3, "": 2000}))
		Expect(leftOut).To(Equal(7))
		Expect(slices.IsSortedFunc(shown[:maxRulesPerNamespace], compareOrigins)).To(BeTrue())
		shown, leftOut = shownRules(slices.Concat(of("a", 5), of("", maxRules+1)))
		Expect(count(shown)).To(Equal(map[string]int{"": maxRules}))
		Expect(leftOut).To(Equal(6))
	})

	It("tell of a transaction that hangs", func() {
		gate, busy := make(chan struct{}), make(chan struct{})
		r := newRig(nil)
		r.backend.Before = func(fake.Op, *dataplane.State) error {
			close(busy)
			<-gate
			return nil
		}
		r.run()
		r.to.Update(objects(small), nil)
		r.to.Synced()
		Eventually(busy).Should(BeClosed())
		r.clock.Step(time.Minute)
		Expect(r.Healthy()).To(Succeed())
		r.clock.Step(2 * time.Minute)
		Expect(r.Healthy()).To(MatchError(ContainSubstring("takes 3m0s already")))
		close(gate)
		Eventually(r.Healthy).Should(Succeed())
	})
})
