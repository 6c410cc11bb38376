package oracle

import (
	"encoding/json"
	"hash/fnv"
	"math/rand/v2"
	"net/netip"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	cnpv1alpha2 "sigs.k8s.io/network-policy-api/apis/v1alpha2"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/policy/model"
)

// Names come into a world in a pass of their own, which takes its chances from what it
// is given and not from the world's: worlds are otherwise what they are without names.

// The names that rules speak of, and those that DNS is asked for.
var (
	patternPool = []string{"api.example.com", "www.example.com", "*.example.com", "edge.cdn.example.net", "*.cdn.example.net", "a.*.example.org", "nobody.example"}
	badPatterns = []string{"*", "a*.example.com", "", "a..example.com"}
	askedPool   = []string{"api.example.com", "www.example.com", "deep.www.example.com", "example.com", "a.b.c.example.org", "other.example"}
	chainPool   = []string{"edge.cdn.example.net", "x.edge.cdn.example.net", "www.example.com"}
)

// chances are those of an object, for its names.
type chances struct{ *rand.Rand }

func (c chances) of(p float64) bool { return c.Float64() < p }

func (c chances) some(n int, from []string) []string {
	from = slices.Clone(from)
	c.Shuffle(len(from), func(i, j int) { from[i], from[j] = from[j], from[i] })
	return from[:1+c.IntN(min(n, len(from)))]
}

// withNames puts names into some of what speaks of peers.
func (s *Stream) withNames(o runtime.Object) runtime.Object {
	b, _ := json.Marshal(o) // what cannot be encoded has the chances of nothing
	h := fnv.New64a()
	_, _ = h.Write(b)
	s.mixed = s.mixed*0x9E3779B97F4A7C15 + h.Sum64()
	c := chances{rand.New(rand.NewPCG(s.mixed, 0x646e73))}
	invalid := func() bool { return c.of(s.cfg.Invalid / 4) }
	switch o := o.(type) {
	case *v1alpha1.GlobalNetworkPolicy:
		if !o.Spec.DoNotTrack && !o.Spec.PreDNAT || invalid() {
			nameRules(c, o.Spec.Egress, invalid)
		}
		if invalid() {
			nameRules(c, o.Spec.Ingress, invalid)
		}
	case *v1alpha1.NetworkPolicy:
		nameRules(c, o.Spec.Egress, invalid)
	case *v1alpha1.GlobalNetworkSet:
		nameSet(c, &o.Spec, invalid)
	case *v1alpha1.NetworkSet:
		nameSet(c, &o.Spec, invalid)
	case *cnpv1alpha2.ClusterNetworkPolicy:
		for i := range o.Spec.Egress {
			r := &o.Spec.Egress[i]
			named := slices.ContainsFunc(r.Protocols, func(p cnpv1alpha2.ClusterNetworkPolicyProtocol) bool { return p.DestinationNamedPort != "" })
			if named || r.Action != cnpv1alpha2.ClusterNetworkPolicyRuleActionAccept && !invalid() || !c.of(0.3) {
				continue
			}
			var list []cnpv1alpha2.DomainName
			for _, text := range c.some(2, patternPool[:5]) { // those with * as the first label only
				list = append(list, cnpv1alpha2.DomainName(text))
			}
			r.To = append(r.To[:len(r.To):len(r.To)], cnpv1alpha2.ClusterNetworkPolicyEgressPeer{DomainNames: list})
		}
	}
	return o
}

func nameRules(c chances, rules []v1alpha1.Rule, invalid func() bool) {
	for i := range rules {
		r := &rules[i]
		if !c.of(0.35) || r.Action != v1alpha1.Allow && r.Action != v1alpha1.Log && !invalid() {
			continue
		}
		d := v1alpha1.EntityRule{Domains: c.some(3, patternPool), Ports: r.Destination.Ports, NotPorts: r.Destination.NotPorts}
		if c.of(0.3) {
			d.NotNets, d.NotSelector = r.Destination.NotNets, r.Destination.NotSelector
		}
		if c.of(0.1) {
			d.Domains[0] = "WWW.Example.com."
		}
		if invalid() {
			d.Domains = append(d.Domains, c.some(1, badPatterns)...)
		}
		if invalid() {
			d.Selector = "all()"
		}
		r.Destination = d
		if invalid() {
			r.Source, r.Destination = r.Destination, r.Source
		}
	}
}

func nameSet(c chances, spec *v1alpha1.NetworkSetSpec, invalid func() bool) {
	if !c.of(0.4) {
		return
	}
	spec.AllowedEgressDomains = c.some(3, patternPool)
	if invalid() {
		spec.AllowedEgressDomains = append(spec.AllowedEgressDomains, c.some(1, badPatterns)...)
	}
}

// Answers are what DNS has answered so far. They change now and then.
func (s *Stream) Answers() *v1alpha1.DNSAnswers {
	const often = 8 // events
	if s.answers == nil || s.events-s.answered >= often {
		s.answered = s.events
		c := chances{rand.New(rand.NewPCG(s.mixed, 0x616e73))}
		s.answers = &v1alpha1.DNSAnswers{ObjectMeta: metav1.ObjectMeta{Name: "answers"}}
		s.answers.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("DNSAnswers"))
		for _, name := range c.some(4, askedPool) {
			a := v1alpha1.DNSAnswer{Name: name, Addresses: c.some(3, outside)}
			if c.of(0.4) {
				a.Chain = c.some(2, chainPool)
			}
			s.answers.Spec.Answers = append(s.answers.Spec.Answers, a)
		}
	}
	return s.answers
}

// NameFlows returns connection attempts of pods to addresses that DNS answers have
// brought. Like names, they take their chances from what is there.
func (s *Stream) NameFlows(n int) []model.Flow {
	known, _ := s.addresses()
	var brought [2][]netip.Addr
	for _, x := range s.Answers().Spec.Answers {
		for _, a := range parseAddrs(x.Addresses) {
			family := 0
			if a.Is6() {
				family = 1
			}
			brought[family] = append(brought[family], a)
		}
	}
	c := chances{rand.New(rand.NewPCG(s.mixed, 0x666c6f77))}
	var out []model.Flow
	for range n {
		family := c.IntN(2)
		from, to := known[family], brought[family]
		if len(from) == 0 || len(to) == 0 {
			continue
		}
		f := model.Flow{Src: from[c.IntN(len(from))], Dst: to[c.IntN(len(to))], Protocol: model.TCP, SrcPort: 40000}
		if c.of(0.3) {
			f.Protocol = model.UDP
		}
		f.DstPort = []uint16{80, 80, 53, 443, 8080}[c.IntN(5)]
		out = append(out, f)
	}
	return out
}
