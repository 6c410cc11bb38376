package oracle

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/policy/model"
)

// Calico decides under Calico's policies of pods as Calico's documentation has it, from
// its objects as they are stored: tiers, orders, ties by name, Pass, the end of a tier,
// and the profile of a namespace, which allows, after the last. Staged policies count for
// nothing. It shares nothing with what translates these objects but the types of rules.
type Calico struct {
	world    *World
	tiers    []calicoTier
	policies []calicoPolicy
}

type calicoTier struct {
	name  string
	order float64
	pass  bool
}

// calicoPolicy is a policy of either kind.
type calicoPolicy struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Metadata   struct {
		Name      string `json:"name"`
		Namespace string `json:"namespace"`
	} `json:"metadata"`
	Spec struct {
		Tier                   string          `json:"tier"`
		Order                  *float64        `json:"order"`
		DefaultAction          string          `json:"defaultAction"` // of a Tier
		Selector               string          `json:"selector"`
		NamespaceSelector      string          `json:"namespaceSelector"`
		ServiceAccountSelector string          `json:"serviceAccountSelector"`
		Types                  []string        `json:"types"`
		Ingress                []v1alpha1.Rule `json:"ingress"`
		Egress                 []v1alpha1.Rule `json:"egress"`
	} `json:"spec"`
}

// NewCalico reads the objects of a cluster and, as JSON, Calico's.
func NewCalico(objects []runtime.Object, manifests [][]byte) (*Calico, error) {
	c := &Calico{tiers: []calicoTier{{"default", 1_000_000, false}}}
	for _, text := range manifests {
		var m calicoPolicy
		if err := json.Unmarshal(text, &m); err != nil {
			return nil, fmt.Errorf("%s: %w", text, err)
		}
		var set runtime.Object
		var nets *[]string
		switch m.Kind {
		case "Tier":
			c.tiers = append(c.tiers, calicoTier{m.Metadata.Name, orderOf(m.Spec.Order), m.Spec.DefaultAction == "Pass"})
		case "GlobalNetworkPolicy", "NetworkPolicy":
			if strings.HasPrefix(m.APIVersion, "crd.") { // stored with the default tier before the name, whatever the tier
				m.Metadata.Name = strings.TrimPrefix(m.Metadata.Name, "default.")
			}
			c.policies = append(c.policies, m)
		case "GlobalNetworkSet":
			o := &v1alpha1.GlobalNetworkSet{}
			set, nets = o, &o.Spec.Nets
		case "NetworkSet":
			o := &v1alpha1.NetworkSet{}
			set, nets = o, &o.Spec.Nets
		}
		if set == nil {
			continue
		}
		if err := json.Unmarshal(text, set); err != nil {
			return nil, fmt.Errorf("%s: %w", text, err)
		}
		for i, n := range *nets {
			if a, err := netip.ParseAddr(n); err == nil {
				(*nets)[i] = netip.PrefixFrom(a, a.BitLen()).String()
			}
		}
		objects = append(objects, set)
	}
	c.world = New(objects)
	slices.SortFunc(c.tiers, func(a, b calicoTier) int { return cmp.Or(cmp.Compare(a.order, b.order), cmp.Compare(a.name, b.name)) })
	slices.SortFunc(c.policies, func(a, b calicoPolicy) int {
		// Ties go by name. Which of the kinds comes first is documented by Tierwall alone.
		return cmp.Or(cmp.Compare(orderOf(a.Spec.Order), orderOf(b.Spec.Order)), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Metadata.Name, b.Metadata.Name))
	})
	return c, nil
}

// Allows decides a connection attempt between two places that are not a node and
// something of that node.
func (c *Calico) Allows(f model.Flow) bool {
	return c.direction(f, f.Src, model.Egress) && c.direction(f, f.Dst, model.Ingress)
}

func (c *Calico) direction(f model.Flow, self netip.Addr, dir model.Direction) bool {
	i := slices.IndexFunc(c.world.pods, func(o *owner) bool { return o.has(self) })
	if i < 0 {
		return true // no workload endpoint
	}
	for _, t := range c.tiers {
		switch c.tier(&t, f, c.world.pods[i], dir) {
		case model.Allow:
			return true
		case model.Deny:
			return false
		}
	}
	return true // the profile of its namespace
}

// tier decides in one tier; Pass where it is left to the next.
func (c *Calico) tier(t *calicoTier, f model.Flow, pod *owner, dir model.Direction) model.Action {
	governed := false
	for i := range c.policies {
		p := &c.policies[i]
		if cmp.Or(p.Spec.Tier, "default") != t.name || !p.governs(dir) || !c.selects(p, pod) {
			continue
		}
		governed = true
		rules := p.Spec.Egress
		if dir == model.Ingress {
			rules = p.Spec.Ingress
		}
		for _, r := range rules {
			action := strings.ToLower(string(r.Action))
			if action == "log" || !c.matches(p, &r, f) {
				continue
			}
			return map[string]model.Action{"allow": model.Allow, "deny": model.Deny, "pass": model.Pass}[action]
		}
	}
	if governed && !t.pass {
		return model.Deny
	}
	return model.Pass
}

// governs: unset types are filled in from the rules by the v3 API alone; what is stored
// without them governs both directions.
func (p *calicoPolicy) governs(dir model.Direction) bool {
	want := map[model.Direction]string{model.Ingress: "ingress", model.Egress: "egress"}[dir]
	switch {
	case len(p.Spec.Types) > 0:
		return slices.ContainsFunc(p.Spec.Types, func(s string) bool { return strings.ToLower(s) == want })
	case strings.HasPrefix(p.APIVersion, "crd."):
		return true
	case dir == model.Egress:
		return len(p.Spec.Egress) > 0
	}
	return len(p.Spec.Ingress) > 0 || len(p.Spec.Egress) == 0
}

func (c *Calico) selects(p *calicoPolicy, o *owner) bool {
	return (p.Metadata.Namespace == "" || p.Metadata.Namespace == o.namespace) &&
		calicoSelects(p.Spec.Selector, o.own) &&
		(p.Spec.NamespaceSelector == "" || calicoNamespace(p.Spec.NamespaceSelector, o)) &&
		(p.Spec.ServiceAccountSelector == "" || calicoSelects(p.Spec.ServiceAccountSelector, o.ofAccount))
}

func calicoSelects(text string, l labels) bool {
	e, err := parseSelector(text)
	return err == nil && e.match(l)
}

// calicoNamespace asks the labels of an owner's namespace: what has none has no labels.
func calicoNamespace(text string, o *owner) bool {
	switch text {
	case "all()":
		return o.namespace != ""
	case "global()":
		return o.namespace == ""
	}
	return calicoSelects(text, o.ofSpace)
}

func (c *Calico) matches(p *calicoPolicy, r *v1alpha1.Rule, f model.Flow) bool {
	if r.IPVersion != nil && *r.IPVersion != family(f.Src) {
		return false
	}
	if r.Protocol != nil {
		if want, err := protocolOf(*r.Protocol); err != nil || want != f.Protocol {
			return false
		}
	}
	if r.NotProtocol != nil {
		if not, err := protocolOf(*r.NotProtocol); err != nil || not == f.Protocol {
			return false
		}
	}
	icmp := func(x *v1alpha1.ICMPFields) bool {
		return (x.Type == nil || *x.Type == int(f.ICMPType)) && (x.Code == nil || *x.Code == int(f.ICMPCode))
	}
	if r.ICMP != nil && !icmp(r.ICMP) || r.NotICMP != nil && icmp(r.NotICMP) {
		return false
	}
	return c.side(p, &r.Source, f.Src, f.Protocol, f.SrcPort, false) && c.side(p, &r.Destination, f.Dst, f.Protocol, f.DstPort, true)
}

// side asks one side of a rule about an address. receiver: a Service says its ports too.
func (c *Calico) side(p *calicoPolicy, e *v1alpha1.EntityRule, a netip.Addr, protocol model.Protocol, port uint16, receiver bool) bool {
	if len(e.Nets) > 0 && !inBlocks(e.Nets, a) || inBlocks(e.NotNets, a) || otherFamily(e.NotNets, a) {
		return false
	}
	if e.Services != nil {
		ns := cmp.Or(e.Services.Namespace, p.Metadata.Namespace)
		if !c.world.inService([2]string{ns, e.Services.Name}, a, receiver, protocol, port) {
			return false
		}
	}
	// Whose namespace: that which is selected, or the policy's own where anything is.
	scoped := e.NamespaceSelector != "" || p.Metadata.Namespace != "" && (e.Selector+e.NotSelector != "" || e.ServiceAccounts != nil)
	within := func(o *owner) bool {
		if e.NamespaceSelector != "" {
			return calicoNamespace(e.NamespaceSelector, o)
		}
		return !scoped || o.namespace == p.Metadata.Namespace
	}
	positive := func(o *owner) bool {
		return within(o) && calicoSelects(e.Selector, o.own) && (e.ServiceAccounts == nil || calicoAccount(e.ServiceAccounts, o))
	}
	wants := scoped || e.Selector != "" || e.ServiceAccounts != nil
	if wants && !c.any(a, positive) {
		return false
	}
	if e.NotSelector != "" && c.any(a, func(o *owner) bool { return calicoSelects(e.NotSelector, o.own) }) {
		return false
	}
	is := func(name string, first, last int) bool {
		if name == "" {
			return hasPorts(protocol) && first <= int(port) && int(port) <= last
		}
		return c.any(a, func(o *owner) bool {
			return (!wants || positive(o)) && slices.Contains(o.ports, model.NamedPort{Name: name, Protocol: protocol, Port: port})
		})
	}
	among := func(list []portRange) bool {
		return slices.ContainsFunc(list, func(r portRange) bool { return is(r.name, r.first, r.last) })
	}
	ports, err := parsePorts(e.Ports)
	notPorts, err2 := parsePorts(e.NotPorts)
	if err != nil || err2 != nil {
		return false
	}
	return (len(e.Ports) == 0 || among(ports)) && !among(notPorts)
}

// any asks the pods and network sets of an address.
func (c *Calico) any(a netip.Addr, matches func(*owner) bool) bool {
	for _, owners := range [][]*owner{c.world.pods, c.world.sets} {
		if slices.ContainsFunc(owners, func(o *owner) bool { return o.has(a) && matches(o) }) {
			return true
		}
	}
	return false
}

func calicoAccount(m *v1alpha1.ServiceAccountMatch, o *owner) bool {
	if len(m.Names) > 0 && !slices.Contains(m.Names, o.account) {
		return false
	}
	return m.Selector == "" || calicoSelects(m.Selector, o.ofAccount)
}

// inBlocks reads blocks, host bits and bare addresses included.
func inBlocks(blocks []string, a netip.Addr) bool {
	return slices.ContainsFunc(blocks, func(s string) bool {
		if b, err := netip.ParseAddr(s); err == nil {
			return b == a
		}
		p, err := netip.ParsePrefix(s)
		return err == nil && p.Masked().Contains(a)
	})
}

// otherFamily: a rule that excludes blocks is a rule of their IP version.
func otherFamily(blocks []string, a netip.Addr) bool {
	return len(blocks) > 0 && strings.Contains(blocks[0], ":") == a.Is4()
}
