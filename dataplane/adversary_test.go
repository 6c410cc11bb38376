package dataplane

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/policy/convert"
	"github.com/tierwall/tierwall/policy/index"
	"github.com/tierwall/tierwall/policy/model"
	"github.com/tierwall/tierwall/policy/verdict"
)

// Worlds in which one tenant, of namespace evil, has written what costs a node
// most: each object one that an API server stores. Another tenant, of namespace
// good, has a small policy on the same node.

// etcdLimit is the size of an object, in bytes, that etcd stores.
const etcdLimit = 1_500_000

// adversary is what a tenant of namespace evil writes.
type adversary struct {
	name    string
	objects func() []runtime.Object
	// most is how many rules, entries and ranges of ports all that is compiled for
	// the node may come to.
	most int
}

var adversaries = []adversary{
	{"grid", func() []runtime.Object { return grid(500, 500, false) }, 20_000},
	{"grid-dual", func() []runtime.Object { return grid(400, 400, true) }, 40_000},
	{"grid-large", func() []runtime.Object { return grid(1000, 1024, false) }, 40_000},
	{"blocks-ports", blocksTimesPorts, 40_000},
	{"overlapping", overlapping, 20_000},
	{"nested", nested, 40_000},
	{"native-blocks", nativeBlocks, 60_000},
	{"native-peers-ports", nativePeers, 250_000},
	{"pass", passChains, 80_000},
	{"policies-sets", manyPolicies, 80_000},
}

// evil makes a policy of namespace evil.
func evil(name, tier string, order float64, selector string, rules []v1alpha1.Rule) *v1alpha1.NetworkPolicy {
	return &v1alpha1.NetworkPolicy{
		TypeMeta:   metav1.TypeMeta{APIVersion: "tierwall.io/v1alpha1", Kind: "NetworkPolicy"},
		ObjectMeta: metav1.ObjectMeta{Namespace: "evil", Name: name},
		Spec: v1alpha1.NetworkPolicySpec{
			Tier: tier, Order: &order, Selector: selector, Types: []v1alpha1.PolicyType{"Ingress"}, Ingress: rules,
		},
	}
}

func evilSet(name string, nets []string) *v1alpha1.NetworkSet {
	return &v1alpha1.NetworkSet{
		ObjectMeta: metav1.ObjectMeta{Namespace: "evil", Name: name, Labels: map[string]string{"set": name}},
		Spec:       v1alpha1.NetworkSetSpec{Nets: nets},
	}
}

func worldPod(namespace, name string, i int, labels map[string]string) *corev1.Pod {
	ns := map[string]int{"evil": 1, "good": 2}[namespace]
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: labels},
		Spec:       corev1.PodSpec{NodeName: here},
		Status: corev1.PodStatus{Phase: corev1.PodRunning, PodIPs: []corev1.PodIP{
			{IP: fmt.Sprintf("10.%d.%d.%d", ns, i>>8, i&255)}, {IP: fmt.Sprintf("fd00:%d::%x", ns, i+1)},
		}},
	}
}

func tcpTo(ports ...string) v1alpha1.EntityRule {
	var e v1alpha1.EntityRule
	for _, p := range ports {
		e.Ports = append(e.Ports, intstr.Parse(p))
	}
	return e
}

// allow is a rule that allows TCP from peers to ports.
func allow(from v1alpha1.EntityRule, ports ...string) v1alpha1.Rule {
	r := v1alpha1.Rule{Action: v1alpha1.Allow, Source: from}
	if len(ports) > 0 {
		tcp := intstr.FromString("TCP")
		r.Protocol, r.Destination = &tcp, tcpTo(ports...)
	}
	return r
}

// grid is rules of a set each, and addresses each of which is in half of the sets,
// no two in the same.
func grid(rules, addrs int, dual bool) []runtime.Object {
	rng := rand.New(rand.NewPCG(1, 2))
	nets := make([][]string, rules)
	for a := range addrs {
		for i := range nets {
			if rng.IntN(2) == 0 {
				nets[i] = append(nets[i], fmt.Sprintf("198.18.%d.%d", a>>8, a&255))
				if dual {
					nets[i] = append(nets[i], fmt.Sprintf("fd00:9::%x", a))
				}
			}
		}
	}
	list := make([]v1alpha1.Rule, rules)
	var out []runtime.Object
	for i := range list {
		list[i] = allow(v1alpha1.EntityRule{Selector: fmt.Sprintf("set == '%d'", i)}, fmt.Sprint(1000+i))
		out = append(out, evilSet(fmt.Sprint(i), nets[i]))
	}
	return append(out, evil("grid", "", 10, "", list), worldPod("evil", "web", 1, map[string]string{"app": "web"}))
}

// blocksTimesPorts is rules of many blocks and many ports each, that overlap.
func blocksTimesPorts() []runtime.Object {
	rng := rand.New(rand.NewPCG(3, 4))
	list := make([]v1alpha1.Rule, 250)
	for i := range list {
		var from v1alpha1.EntityRule
		for range 200 {
			from.Nets = append(from.Nets, fmt.Sprintf("198.%d.%d.0/%d", rng.IntN(256), rng.IntN(256), 12+rng.IntN(12)))
		}
		var ports []string
		for range 50 {
			first := rng.IntN(60_000)
			ports = append(ports, fmt.Sprintf("%d:%d", first, first+1+rng.IntN(1000)))
		}
		list[i] = allow(from, ports...)
	}
	return []runtime.Object{evil("blocks", "", 10, "", list), worldPod("evil", "web", 1, nil)}
}

// overlapping is rules of blocks each of which is in half of them.
func overlapping() []runtime.Object {
	rng := rand.New(rand.NewPCG(5, 6))
	list := make([]v1alpha1.Rule, 600)
	for i := range list {
		var from v1alpha1.EntityRule
		for b := range 256 {
			if rng.IntN(2) == 0 {
				from.Nets = append(from.Nets, fmt.Sprintf("198.%d.0.0/16", b))
			}
		}
		list[i] = allow(from)
	}
	return []runtime.Object{evil("overlapping", "", 10, "", list), worldPod("evil", "web", 1, nil)}
}

// nested is rules of a block each, which lie within each other, down to single addresses.
func nested() []runtime.Object {
	list := make([]v1alpha1.Rule, 1000)
	for i := range list {
		p := netip.PrefixFrom(netip.AddrFrom4([4]byte{198, byte(i / 25), byte(i / 25), 1}), 8+i%25).Masked()
		list[i] = allow(v1alpha1.EntityRule{Nets: []string{p.String(), fmt.Sprintf("198.0.0.0/%d", 9+i%16)}}, fmt.Sprint(1000+i))
	}
	return []runtime.Object{evil("nested", "", 10, "", list), worldPod("evil", "web", 1, nil)}
}

// nativePolicy is a native policy of one rule.
func nativePolicy(peers []networkingv1.NetworkPolicyPeer, ports []networkingv1.NetworkPolicyPort) []runtime.Object {
	return []runtime.Object{
		&networkingv1.NetworkPolicy{
			ObjectMeta: metav1.ObjectMeta{Namespace: "evil", Name: "native"},
			Spec:       networkingv1.NetworkPolicySpec{Ingress: []networkingv1.NetworkPolicyIngressRule{{From: peers, Ports: ports}}},
		},
		worldPod("evil", "web", 1, nil),
	}
}

// nativeBlocks is one native policy of 1.4 MB: overlapping blocks with exceptions, and ports.
func nativeBlocks() []runtime.Object {
	rng := rand.New(rand.NewPCG(7, 8))
	var peers []networkingv1.NetworkPolicyPeer
	for range 12_000 {
		bits := 8 + rng.IntN(16)
		p := netip.PrefixFrom(netip.AddrFrom4([4]byte{198, byte(rng.IntN(256)), byte(rng.IntN(256)), 0}), bits).Masked()
		b := &networkingv1.IPBlock{CIDR: p.String()}
		for range 2 {
			a := p.Addr().As4()
			a[2], a[3] = a[2]|byte(rng.IntN(256))>>max(bits-16, 0), byte(rng.IntN(256))
			b.Except = append(b.Except, netip.PrefixFrom(netip.AddrFrom4(a), 26+rng.IntN(7)).Masked().String())
		}
		peers = append(peers, networkingv1.NetworkPolicyPeer{IPBlock: b})
	}
	return nativePolicy(peers, nativePortsOf(4000))
}

// nativePeers is one native policy of selectors times ports.
func nativePeers() []runtime.Object {
	var peers []networkingv1.NetworkPolicyPeer
	for i := range 8000 {
		peers = append(peers, networkingv1.NetworkPolicyPeer{PodSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"a": fmt.Sprint(i)}}})
	}
	return nativePolicy(peers, nativePortsOf(15_000))
}

func nativePortsOf(n int) (out []networkingv1.NetworkPolicyPort) {
	for i := range n {
		port := intstr.FromInt(1 + 4*i)
		out = append(out, networkingv1.NetworkPolicyPort{Port: &port})
	}
	return out
}

// passChains is many policies that pass, in a tier each, before one that allows.
func passChains() []runtime.Object {
	var out []runtime.Object
	for t := range 60 {
		order := float64(10 + t)
		out = append(out, &v1alpha1.Tier{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("tier-", t)}, Spec: v1alpha1.TierSpec{Order: &order}})
		rng := rand.New(rand.NewPCG(9, uint64(t)))
		list := make([]v1alpha1.Rule, 60)
		for i := range list {
			var from v1alpha1.EntityRule
			for a := range 60 {
				if rng.IntN(2) == 0 {
					from.Nets = append(from.Nets, fmt.Sprintf("198.18.0.%d", a))
				}
			}
			list[i] = allow(from, fmt.Sprint(1000+i))
			list[i].Action = v1alpha1.Pass
		}
		out = append(out, evil(fmt.Sprint("pass-", t), fmt.Sprint("tier-", t), 10, "", list))
	}
	return append(out, worldPod("evil", "web", 1, nil))
}

// manyPolicies is pods of labels of their own, each with its own choice of
// policies, over sets that overlap.
func manyPolicies() []runtime.Object {
	rng := rand.New(rand.NewPCG(11, 12))
	var out []runtime.Object
	for i := range 200 {
		var nets []string
		for a := range 400 {
			if rng.IntN(2) == 0 {
				nets = append(nets, fmt.Sprintf("198.18.%d.%d", a>>8, a&255))
			}
		}
		out = append(out, evilSet(fmt.Sprint(i), nets))
	}
	for i := range 40 {
		list := make([]v1alpha1.Rule, 50)
		for j := range list {
			list[j] = allow(v1alpha1.EntityRule{Selector: fmt.Sprintf("set == '%d'", (i*37+j)%200)}, fmt.Sprint(1000+i*50+j))
		}
		out = append(out, evil(fmt.Sprint("many-", i), "", float64(i), fmt.Sprintf("has(p%d)", i), list))
	}
	for i := range 50 {
		labels := map[string]string{}
		for p := range 40 {
			if rng.IntN(2) == 0 {
				labels[fmt.Sprint("p", p)] = ""
			}
		}
		out = append(out, worldPod("evil", fmt.Sprint("web-", i), i, labels))
	}
	return out
}

// goodObjects is the other tenant's policy, and its pods.
func goodObjects(port int) []runtime.Object {
	order := 5.0
	p := evil("good", "", order, "", []v1alpha1.Rule{allow(v1alpha1.EntityRule{Selector: "app == 'client'"}, fmt.Sprint(port))})
	p.Namespace = "good"
	return []runtime.Object{p, worldPod("good", "web", 1, map[string]string{"app": "web"}), worldPod("good", "client", 2, map[string]string{"app": "client"})}
}

// feed puts objects into an index, as a watch would.
func feed(t testing.TB, ix *index.Index, objects []runtime.Object) {
	t.Helper()
	for _, ns := range []string{"evil", "good"} {
		objects = append(objects, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: ns}})
	}
	for _, o := range objects {
		text, err := json.Marshal(o)
		if err != nil || len(text) > etcdLimit {
			t.Fatalf("%T of %d bytes, %v: no API server stores it", o, len(text), err)
		}
		m, problems, known := convert.Object(o)
		for _, p := range problems {
			if !p.Warning {
				t.Fatalf("%T: %v", o, p)
			}
		}
		if !known || m == nil {
			t.Fatalf("%T is not known", o)
		}
		ix.Upsert(m)
	}
}

func localIndex() *index.Index {
	return index.New(index.Options{Local: func(n string) bool { return n == here }})
}

// heldSize is what the compiler holds for a kernel.
type heldSize struct {
	tables, linear int // tables, and those of them that are linear
	// rules are those of segments, of linear tables and of rests; entries are the
	// addresses or classes and the blocks of tables; ports are entries of port tables.
	rules, entries, ports int
}

func (h *heldSize) sum() int { return h.rules + h.entries + h.ports }

func (c *Compiler) heldSize() (h heldSize) {
	for _, p := range c.Programs() {
		for i := range p.Segments {
			h.rules += len(p.Segments[i].Rules)
		}
	}
	rests := map[string]bool{}
	for _, t := range c.tables {
		h.tables++
		if t.state.Linear() {
			h.linear++
			h.rules += len(t.state.Table.rules)
			continue
		}
		for _, r := range t.state.Rests() {
			if !rests[r.ID] {
				rests[r.ID] = true
				h.rules += len(r.Rules)
				if r.Ports != nil {
					h.ports += len(r.Ports.Entries)
				}
			}
		}
		h.entries += len(t.state.Blocks)
		if t.state.Classed() {
			for range t.state.EachClass() {
				h.entries++
			}
		} else {
			h.entries += t.state.Len()
		}
	}
	return h
}

// flowsInto are connections to local endpoints from where the corpus has peers.
func flowsInto(ix *index.Index) (out []model.Flow) {
	rng := rand.New(rand.NewPCG(13, 14))
	for _, ref := range ix.Endpoints() {
		e, _ := ix.Endpoint(ref)
		for _, dst := range e.Addrs {
			for range max(200/len(ix.Endpoints()), 4) {
				f := model.Flow{Dst: dst, Protocol: model.TCP, DstPort: uint16(1000 + rng.IntN(500))}
				switch {
				case !dst.Is4():
					f.Src = netip.MustParseAddr(fmt.Sprintf("fd00:9::%x", rng.IntN(400)))
				case rng.IntN(2) == 0:
					f.Src = netip.AddrFrom4([4]byte{198, 18, byte(rng.IntN(2)), byte(rng.IntN(256))})
				default:
					f.Src = netip.AddrFrom4([4]byte{198, byte(rng.IntN(256)), byte(rng.IntN(256)), byte(rng.IntN(256))})
				}
				if rng.IntN(3) == 0 {
					f.DstPort = uint16(rng.IntN(16_000)*4 + 1)
				}
				out = append(out, f)
			}
		}
	}
	return out
}

// holdToCore compares what the programs of the endpoint that a flow leads to make
// of it with what the core makes of it.
func (c *Compiler) holdToCore(ix *index.Index, f *model.Flow) error {
	for _, ref := range ix.Endpoints() {
		if pod, _ := ix.Endpoint(ref); !slices.Contains(pod.Addrs, f.Dst) {
			continue
		}
		e := ix.Effective(ref)
		for _, st := range e.Stages() {
			if st.Direction != model.Ingress {
				continue
			}
			want := verdict.Evaluate(st, f)
			if err := sameVerdict(c.Decide(c.policies[e].Program(st.Stage, st.Direction, FamilyOf(f.Src)), f), want); err != nil {
				return fmt.Errorf("%s, flow %+v: %w", ref, *f, err)
			}
		}
	}
	return nil
}

// TestAdversaries holds what is compiled for adversarial worlds to a size, and to
// the core's own evaluation.
func TestAdversaries(t *testing.T) {
	for _, a := range adversaries {
		t.Run(a.name, func(t *testing.T) {
			ix := localIndex()
			feed(t, ix, slices.Concat(goodObjects(80), a.objects()))
			d := ix.Flush()
			c := NewCompiler(Options{})
			c.Apply(d)
			h := c.heldSize()
			t.Logf("%+v", h)
			if h.sum() > a.most {
				t.Errorf("it holds %d rules, entries and ranges of ports, want no more than %d", h.sum(), a.most)
			}
			small := NewCompiler(Options{Linear: -1, Budget: 1, NodeBudget: 1, Spread: -1})
			small.Apply(d)
			for _, f := range flowsInto(ix) {
				for _, c := range []*Compiler{c, small} {
					if err := c.holdToCore(ix, &f); err != nil {
						t.Fatal(err)
					}
				}
			}
		})
	}
}
