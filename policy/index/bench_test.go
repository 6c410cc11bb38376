package index_test

import (
	"fmt"
	"math/rand"
	"net/netip"
	"runtime"
	"strconv"
	"testing"
	"time"

	"github.com/tierwall/tierwall/api/selector"
	"github.com/tierwall/tierwall/policy/index"
	"github.com/tierwall/tierwall/policy/model"
)

// The worlds of these benchmarks are described where they are made. Each
// reports s (of one cold start), heap-MB (live heap that the Index holds, the
// objects that were fed in being garbage unless it keeps them), sets and classes.

const localNode, remoteNode = "local", "remote"

func isLocal(node string) bool { return node == localNode }

func addr4(n int) netip.Addr {
	return netip.AddrFrom4([4]byte{10, byte(n >> 16), byte(n >> 8), byte(n)})
}

func pod(ns, name, node string, labels map[string]string, a netip.Addr) *model.Endpoint {
	return &model.Endpoint{
		Ref:  model.Ref{Kind: model.KindPod, Namespace: ns, Name: name},
		Node: node, Labels: labels, Addrs: []netip.Addr{a},
	}
}

var subjects = selector.In(model.LabelKind, model.OwnerPod, model.OwnerHostEndpoint)
var notNode = selector.NotEqual(model.LabelKind, model.OwnerNode)

func globalPolicy(name string, order float64, sel *selector.Selector, ingress ...model.Rule) *model.Policy {
	return &model.Policy{
		Ref:  model.Ref{Kind: model.KindGlobalNetworkPolicy, Name: name},
		Tier: model.TierDefault, Order: order, Selector: selector.And(sel, subjects),
		Ingress: true, IngressRules: ingress,
	}
}

func allowFrom(i int, sel *selector.Selector) model.Rule {
	return model.Rule{Index: i, Action: model.Allow, Match: model.Match{Source: model.Peer{Selector: selector.And(sel, notNode)}}}
}

// world feeds an Index; it is run again for every measurement.
type world struct {
	local func(string) bool
	feed  func(ix *index.Index)
}

// coldStart measures a world from nothing to the first Delta.
func coldStart(b *testing.B, w world) {
	b.ReportAllocs()
	var heap, sets, classes, members float64
	var elapsed time.Duration
	for b.Loop() {
		b.StopTimer()
		before := liveHeap()
		b.StartTimer()
		start := time.Now()
		ix := index.New(index.Options{Local: w.local})
		w.feed(ix)
		d := ix.Flush()
		elapsed += time.Since(start)
		b.StopTimer()
		sets, classes, members = size(d) // and d is garbage from here on
		heap = float64(liveHeap()-before) / 1e6
		runtime.KeepAlive(ix)
		b.StartTimer()
	}
	b.ReportMetric(elapsed.Seconds()/float64(b.N), "s")
	b.ReportMetric(heap, "heap-MB")
	b.ReportMetric(sets, "sets")
	b.ReportMetric(classes, "classes")
	b.ReportMetric(members, "members")
}

func size(d *index.Delta) (sets, classes, members float64) {
	for _, s := range d.Sets {
		members += float64(len(s.Added))
	}
	return float64(len(d.Sets)), float64(len(d.Added)), members
}

func liveHeap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// markers is the first world of the anchors: n remote and 200 local endpoints
// in 100 namespaces, five labels of cardinality 10 to 40 and one of 30 marker
// labels each; 10,000 policies, each selecting has(marker), with 5 rules that
// allow from has(marker).
func markers(n, policies int) world {
	return world{isLocal, func(ix *index.Index) {
		rng := rand.New(rand.NewSource(1))
		for i := range 100 {
			ix.Upsert(&model.Namespace{Name: "ns-" + strconv.Itoa(i), Labels: map[string]string{"team": "t" + strconv.Itoa(i%10)}})
		}
		for i := range policies {
			ix.Upsert(markerPolicy(i, rng.Intn(30)))
		}
		for i := range n + 200 {
			node := remoteNode
			if i < 200 {
				node = localNode
			}
			ix.Upsert(markerPod(i, node, rng))
		}
	}}
}

func marker(i int) string { return "marker-" + strconv.Itoa(i%30) }

func markerPolicy(i, shift int) *model.Policy {
	rules := make([]model.Rule, 5)
	for j := range rules {
		rules[j] = allowFrom(j, selector.Has(marker(i*5+j+shift)))
	}
	return globalPolicy("policy-"+strconv.Itoa(i), float64(i%7), selector.Has(marker(i)), rules...)
}

func markerPod(i int, node string, rng *rand.Rand) *model.Endpoint {
	labels := map[string]string{marker(i): "true"}
	for j, card := range []int{10, 15, 20, 30, 40} {
		labels["label-"+strconv.Itoa(j)] = "value-" + strconv.Itoa(rng.Intn(card))
	}
	return pod("ns-"+strconv.Itoa(i%100), "pod-"+strconv.Itoa(i), node, labels, addr4(i))
}

func BenchmarkColdStart250k(b *testing.B) { coldStart(b, markers(250_000, 10_000)) }

// BenchmarkNetworkSets10k is the second world: 10,000 endpoints, 10,000 network
// sets (sizes 1,1,1,1,2,3,4,5,100,1000 in turn) and as many policies on every
// endpoint, each allowing one set.
func BenchmarkNetworkSets10k(b *testing.B) {
	sizes := []int{1, 1, 1, 1, 2, 3, 4, 5, 100, 1000}
	coldStart(b, world{nil, func(ix *index.Index) {
		next := 0
		for i := range 10_000 {
			nets := make([]netip.Prefix, sizes[i%len(sizes)])
			for j := range nets {
				nets[j] = netip.PrefixFrom(netip.AddrFrom4([4]byte{100, byte(next >> 16), byte(next >> 8), byte(next)}), 32)
				next++
			}
			name := "set-" + strconv.Itoa(i)
			ix.Upsert(&model.NetworkSet{Ref: model.Ref{Kind: model.KindGlobalNetworkSet, Name: name}, Labels: map[string]string{"set": name}, Nets: nets})
			ix.Upsert(globalPolicy("policy-"+strconv.Itoa(i), 10, selector.All(), allowFrom(0, selector.Equal("set", name))))
		}
		for i := range 10_000 {
			ix.Upsert(pod("ns-"+strconv.Itoa(i%10), "pod-"+strconv.Itoa(i), localNode, map[string]string{"app": "a" + strconv.Itoa(i%100)}, addr4(i)))
		}
	}})
}

func namespaced(ns string, sel *selector.Selector) *selector.Selector {
	return selector.And(sel, selector.Equal(model.LabelNamespace, ns), selector.Equal(model.LabelKind, model.OwnerPod))
}

func nativePolicy(ns, name string, sel *selector.Selector, ingress ...model.Rule) *model.Policy {
	return &model.Policy{
		Ref:  model.Ref{Kind: model.KindNetworkPolicy, Namespace: ns, Name: name},
		Tier: model.TierDefault, Order: model.NativeOrder, Selector: namespaced(ns, sel),
		Ingress: true, IngressRules: ingress,
	}
}

// tenants makes namespaces of pods and policies: policy 0 denies all, the
// others allow from the own namespace, by label.
func tenants(namespaces, pods, policies int, node func(ns, pod int) string) func(*index.Index) {
	return func(ix *index.Index) {
		n := 0
		for i := range namespaces {
			ns := "tenant-" + strconv.Itoa(i)
			ix.Upsert(&model.Namespace{Name: ns, Labels: map[string]string{"tenant": strconv.Itoa(i)}})
			for j := range pods {
				ix.Upsert(pod(ns, "pod-"+strconv.Itoa(j), node(i, j), map[string]string{"app": "app-" + strconv.Itoa(j)}, addr4(n)))
				n++
			}
			for j := range policies {
				name := "policy-" + strconv.Itoa(j)
				if j == 0 {
					ix.Upsert(nativePolicy(ns, name, selector.All()))
					continue
				}
				app := selector.Equal("app", "app-"+strconv.Itoa(j-1))
				ix.Upsert(nativePolicy(ns, name, app, model.Rule{Action: model.Allow, Match: model.Match{
					Source: model.Peer{Selector: namespaced(ns, selector.All())}, Protocol: model.TCP,
					Destination: model.Peer{Ports: []model.Port{{First: 80, Last: 80}}},
				}}))
			}
		}
	}
}

// BenchmarkTenants10k: 10,000 namespaces of 4 pods with 2 policies among their
// own pods; 100 of the pods are local.
func BenchmarkTenants10k(b *testing.B) {
	coldStart(b, world{isLocal, tenants(10_000, 4, 2, func(ns, pod int) string {
		if ns%100 == 0 && pod == 0 {
			return localNode
		}
		return remoteNode
	})})
}

// BenchmarkAntrea25k: 25,000 namespaces × 4 pods × 3 policies, all resolved.
func BenchmarkAntrea25k(b *testing.B) {
	coldStart(b, world{nil, tenants(25_000, 4, 3, func(int, int) string { return localNode })})
}

// realNode is the profile of a real, busy node: 294 policies of 68 rules, 3,708
// sets of 256,000 members (the largest of 54,566, 3,035 of up to nine).
func realNode(ix *index.Index) {
	next := 0
	for i := range 3708 {
		size := 1 + i%9
		switch {
		case i == 3707:
			size = 54_566
		case i >= 3035:
			size = 277
		}
		name := "set-" + strconv.Itoa(i)
		nets := make([]netip.Prefix, size)
		for j := range nets {
			nets[j] = netip.PrefixFrom(addr4(next), 32)
			next++
		}
		ix.Upsert(&model.NetworkSet{Ref: model.Ref{Kind: model.KindGlobalNetworkSet, Name: name}, Labels: map[string]string{"set": name}, Nets: nets})
	}
	for i := range 294 {
		rules := make([]model.Rule, 68)
		for j := range rules {
			rules[j] = allowFrom(j, selector.Equal("set", "set-"+strconv.Itoa((i*68+j)%3708)))
		}
		ix.Upsert(globalPolicy("policy-"+strconv.Itoa(i), float64(i), selector.Equal("app", "app-"+strconv.Itoa(i%50)), rules...))
	}
	for i := range 100 {
		ix.Upsert(pod("ns", "pod-"+strconv.Itoa(i), localNode, map[string]string{"app": "app-" + strconv.Itoa(i%50)}, netip.AddrFrom4([4]byte{172, 16, 0, byte(i)})))
	}
}

func BenchmarkRealNode(b *testing.B) {
	b.Run("cold-start", func(b *testing.B) { coldStart(b, world{isLocal, realNode}) })
	b.Run("one-member", func(b *testing.B) {
		ix := index.New(index.Options{Local: isLocal})
		realNode(ix)
		ix.Flush()
		// A pod that enters and leaves one of the sets.
		p := pod("ns", "client", remoteNode, map[string]string{"set": "set-7"}, netip.MustParseAddr("192.0.2.1"))
		b.ReportAllocs()
		for b.Loop() {
			ix.Upsert(p)
			if d := ix.Flush(); len(d.Sets) != 1 {
				b.Fatalf("added: %d sets changed, want 1", len(d.Sets))
			}
			ix.Delete(p.Ref)
			if d := ix.Flush(); len(d.Sets) != 1 {
				b.Fatalf("deleted: %d sets changed, want 1", len(d.Sets))
			}
		}
	})
}

// BenchmarkPodChurn100k is one pod's add, relabel and delete, each with its
// Flush, at 100,000 endpoints and 10,000 policies.
func BenchmarkPodChurn100k(b *testing.B) {
	ix := index.New(index.Options{Local: isLocal})
	markers(100_000, 10_000).feed(ix)
	ix.Flush()
	rng := rand.New(rand.NewSource(2))
	first, second := markerPod(500_001, remoteNode, rng), markerPod(500_002, remoteNode, rng)
	second.Ref = first.Ref
	bench := func(name, node string) {
		first, second := *first, *second
		first.Node, second.Node = node, node
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			var took [3]time.Duration
			for b.Loop() {
				for i, do := range []func(){
					func() { ix.Upsert(&first) }, func() { ix.Upsert(&second) }, func() { ix.Delete(first.Ref) },
				} {
					start := time.Now()
					do()
					d := ix.Flush()
					took[i] += time.Since(start)
					if len(d.Sets) == 0 {
						b.Fatal("no set changed")
					}
				}
			}
			for i, what := range []string{"µs/add", "µs/relabel", "µs/delete"} {
				b.ReportMetric(float64(took[i].Nanoseconds())/1e3/float64(b.N), what)
			}
		})
	}
	bench("remote", remoteNode)
	bench("local", localNode)
}

// BenchmarkPolicyChange100k is one policy's change, with its Flush, at 100,000
// endpoints and 10,000 policies: of its rules, of a peer that nobody else
// names, of its order, of the whole policy deleted and created.
func BenchmarkPolicyChange100k(b *testing.B) {
	ix := index.New(index.Options{Local: isLocal})
	markers(100_000, 10_000).feed(ix)
	ix.Flush()
	rules := func(i int) *model.Policy { return markerPolicy(77, i) }
	peer := func(i int) *model.Policy {
		p := markerPolicy(77, 0)
		p.IngressRules[0] = allowFrom(0, selector.And(selector.Equal("label-4", fmt.Sprintf("value-%d", i%40)), selector.Equal("label-0", "value-1")))
		return p
	}
	order := func(i int) *model.Policy {
		p := markerPolicy(77, 0)
		p.Order = float64(i % 7)
		return p
	}
	for _, c := range []struct {
		name string
		make func(i int) *model.Policy
		gone bool
	}{{"rules", rules, false}, {"peer", peer, false}, {"order", order, false}, {"recreate", rules, true}} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				i++
				p := c.make(i)
				if c.gone {
					ix.Delete(p.Ref)
					ix.Flush()
				}
				ix.Upsert(p)
				if d := ix.Flush(); len(d.Endpoints) == 0 {
					b.Fatal("no endpoint changed")
				}
			}
		})
	}
}
