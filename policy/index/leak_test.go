package index

import (
	"fmt"
	"math/rand"
	"net/netip"
	"testing"

	"github.com/tierwall/tierwall/api/selector"
	"github.com/tierwall/tierwall/policy/model"
	"github.com/tierwall/tierwall/policy/names"
)

// TestNothingIsLeftBehind churns an Index and deletes every object again: an
// agent runs for months, and what it forgets must be gone.
func TestNothingIsLeftBehind(t *testing.T) {
	for seed := range int64(200) {
		rng := rand.New(rand.NewSource(seed))
		ix := New(Options{Local: func(node string) bool { return node == "n0" }})
		live := map[model.Ref]bool{}
		learnt := learntNames{}
		for range 300 {
			o := randomObject(rng)
			if e, ok := o.(*model.Endpoint); ok {
				ix.PeerWeight(e)
			}
			if rng.Intn(3) == 0 {
				ix.Delete(o.Key())
				delete(live, o.Key())
			} else {
				ix.Upsert(o)
				live[o.Key()] = true
			}
			switch rng.Intn(8) {
			case 0:
				ix.Flush()
			case 2:
				ix.ApplyNames(learnt.random(rng))
			case 1:
				ix.FlushPart(Part{Limit: 1 + rng.Intn(5)})
			}
		}
		for r := range live {
			ix.Delete(r)
			if rng.Intn(4) == 0 {
				ix.Flush()
			}
		}
		ix.ApplyNames(learnt.forgotten())
		ix.Flush()
		if d := ix.Flush(); len(d.Sets)+len(d.Added)+len(d.Removed)+len(d.Endpoints)+len(d.Nodes)+len(d.PatternsAdded)+len(d.PatternsRemoved) > 0 {
			t.Errorf("seed %d: a second Flush still has something to tell: %+v", seed, d)
		}
		for what, n := range map[string]int{
			"label groups": len(ix.groupByHash),
			"selectors":    len(ix.sels),
			"buckets":      len(ix.buckets),
			"subjects":     len(ix.subjects),
			"namespaces":   len(ix.namespaces),
			"accounts":     len(ix.accounts),
			"keys":         len(ix.sym.keyByName),
			"pairs":        len(ix.sym.pairByKey),
			"IPv4":         len(ix.addrs.v4),
			"IPv6":         len(ix.addrs.v6),
			"shared":       len(ix.addrs.more),
			"pods":         len(ix.pods),
			"hosts":        len(ix.hosts),
			"networkSets":  len(ix.networkSets),
			"nodes":        len(ix.nodes),
			"services":     len(ix.services),
			"slices":       len(ix.slices),
			"policies":     len(ix.policies),
			"order":        len(ix.order),
			"tiers":        len(ix.tiers) - len(model.BuiltinTiers()),
			"classes":      len(ix.classes),
			"effectives":   len(ix.effectives),
			"held":         len(ix.held) + len(ix.staled),
			"recs":         len(ix.effectiveRecs),
			"uses":         len(ix.usedPolicies),
			"reported":     len(ix.reported) + len(ix.reportedNodes) + len(ix.reportedObjects) + len(ix.reportedLinks),
			"domains":      len(ix.domains.byPattern) + len(ix.domains.byAddr) + len(ix.domains.more) + len(ix.domains.lists) + len(ix.domains.turned) + len(ix.domains.reported) + len(ix.domains.endpoints),
		} {
			if n != 0 {
				t.Errorf("seed %d: %d %s are left", seed, n, what)
			}
		}
		for bits, n := range ix.addrs.bits4 {
			if n != 0 {
				t.Errorf("seed %d: %d blocks of %d bits are still counted", seed, n, bits)
			}
		}
		if t.Failed() {
			return
		}
	}
}

// learntNames is what is known of names, by pattern.
type learntNames map[names.Pattern]map[netip.Addr]bool

func randomPattern(rng *rand.Rand) names.Pattern {
	p, err := names.ParsePattern(fmt.Sprintf("n%d.example", rng.Intn(3)))
	if err != nil {
		panic(err)
	}
	return p
}

// random has an address come or go.
func (l learntNames) random(rng *rand.Rand) []names.Delta {
	p, a := randomPattern(rng), randomAddr(rng)
	if l[p] == nil {
		l[p] = map[netip.Addr]bool{}
	}
	l[p][a] = !l[p][a]
	if l[p][a] {
		return []names.Delta{{Pattern: p, Added: []netip.Addr{a}}}
	}
	return []names.Delta{{Pattern: p, Removed: []netip.Addr{a}}}
}

// forgotten has all addresses go.
func (l learntNames) forgotten() (out []names.Delta) {
	for p, addrs := range l {
		for a, known := range addrs {
			if known {
				out = append(out, names.Delta{Pattern: p, Removed: []netip.Addr{a}})
			}
		}
	}
	return out
}

func randomSelector(rng *rand.Rand) *selector.Selector {
	k, v := fmt.Sprint("k", rng.Intn(3)), fmt.Sprint("v", rng.Intn(3))
	switch rng.Intn(8) {
	case 0:
		return selector.All()
	case 1:
		return selector.Has(k)
	case 2:
		return selector.In(k, "v0", v)
	case 3:
		return selector.NotEqual(k, v)
	case 4:
		return selector.And(selector.Equal(k, v), selector.Equal(model.LabelNamespace, fmt.Sprint("ns", rng.Intn(3))))
	case 5:
		return selector.Equal("ns:env", v)
	case 6:
		return selector.And(selector.Has("sa:"+k), selector.In(model.LabelNamespace, "ns0", "ns1"))
	}
	return selector.Or(selector.Equal(k, v), selector.Has("other"))
}

func randomLabels(rng *rand.Rand) map[string]string {
	m := map[string]string{}
	for range rng.Intn(4) {
		m[fmt.Sprint("k", rng.Intn(3))] = fmt.Sprint("v", rng.Intn(3))
	}
	return m
}

func randomAddr(rng *rand.Rand) netip.Addr {
	if rng.Intn(3) == 0 {
		return netip.AddrFrom16([16]byte{0: 0xfd, 15: byte(rng.Intn(8))})
	}
	return netip.AddrFrom4([4]byte{10, 0, 0, byte(rng.Intn(8))})
}

func randomObject(rng *rand.Rand) model.Object {
	name, ns, node := fmt.Sprint("o", rng.Intn(6)), fmt.Sprint("ns", rng.Intn(3)), fmt.Sprint("n", rng.Intn(3))
	switch rng.Intn(10) {
	case 0, 1, 2:
		e := &model.Endpoint{
			Ref: model.Ref{Kind: model.KindPod, Namespace: ns, Name: name}, Node: node,
			Labels: randomLabels(rng), Addrs: []netip.Addr{randomAddr(rng), randomAddr(rng)},
		}
		if rng.Intn(2) == 0 {
			e.Ports = []model.NamedPort{{Name: "http", Protocol: model.TCP, Port: uint16(80 + rng.Intn(2))}}
			e.ServiceAccount = fmt.Sprint("sa", rng.Intn(2))
		}
		return e
	case 3:
		e := &model.Endpoint{
			Ref: model.Ref{Kind: model.KindHostEndpoint, Name: name}, Node: node, Labels: randomLabels(rng),
			Host: &model.HostEndpoint{Interface: "*", DefaultAction: model.Action(1 + rng.Intn(2))},
		}
		if rng.Intn(2) == 0 {
			e.Addrs = []netip.Addr{randomAddr(rng)}
		}
		return e
	case 4:
		s := &model.NetworkSet{
			Ref: model.Ref{Kind: model.KindNetworkSet, Namespace: ns, Name: name}, Labels: randomLabels(rng),
			Nets: []netip.Prefix{netip.PrefixFrom(randomAddr(rng), 30), netip.PrefixFrom(randomAddr(rng), 32)},
		}
		if rng.Intn(2) == 0 {
			s.Domains = []names.Pattern{randomPattern(rng)}
		}
		return s
	case 5:
		return &model.Namespace{Name: ns, Labels: map[string]string{"env": fmt.Sprint("v", rng.Intn(3))}}
	case 6:
		switch rng.Intn(3) {
		case 0:
			return &model.Tier{Name: fmt.Sprint("t", rng.Intn(2)), Order: float64(rng.Intn(3)), DefaultAction: model.Pass}
		case 1:
			return &model.ServiceAccount{Namespace: ns, Name: fmt.Sprint("sa", rng.Intn(2)), Labels: randomLabels(rng)}
		}
		return &model.ServiceSlice{
			Ref: model.Ref{Kind: model.KindEndpointSlice, Namespace: ns, Name: name}, Service: fmt.Sprint("svc", rng.Intn(2)),
			Addrs: []netip.Addr{randomAddr(rng)}, Ports: []model.ServicePort{{Protocol: model.TCP, Port: 80}},
		}
	case 7:
		return &model.Node{Name: node, Labels: randomLabels(rng), Addrs: []netip.Addr{randomAddr(rng)}}
	}
	p := &model.Policy{
		Ref:  model.Ref{Kind: model.KindGlobalNetworkPolicy, Name: name},
		Tier: fmt.Sprint("t", rng.Intn(3)), Order: float64(rng.Intn(3)), Selector: randomSelector(rng),
		Ingress: true, Egress: rng.Intn(2) == 0, Audit: rng.Intn(5) == 0, DoNotTrack: rng.Intn(5) == 0,
	}
	for i := range rng.Intn(3) {
		r := model.Rule{Index: i, Action: model.Action(1 + rng.Intn(4))}
		r.Match.Source.Selector = randomSelector(rng)
		if rng.Intn(3) == 0 {
			r.Match.Destination.NotSelector = randomSelector(rng)
		}
		if rng.Intn(3) == 0 {
			r.Match.Protocol = model.TCP
			r.Match.Destination.Ports = []model.Port{{Name: "http"}}
		}
		if rng.Intn(4) == 0 {
			r.Match.Source = model.Peer{Service: model.ServiceRef{Namespace: ns, Name: fmt.Sprint("svc", rng.Intn(2))}}
		}
		p.IngressRules = append(p.IngressRules, r)
	}
	for i := range rng.Intn(3) {
		r := model.Rule{Index: i, Action: model.Action(1 + rng.Intn(4))}
		if rng.Intn(2) == 0 && (r.Action == model.Allow || r.Action == model.Log) {
			r.Match.Destination.Domains = []names.Pattern{randomPattern(rng)}
		} else {
			r.Match.Destination.Selector = randomSelector(rng)
		}
		p.EgressRules = append(p.EgressRules, r)
	}
	return p
}
