package oracle

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"unicode"

	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/policy/model"
)

// globalPolicy reads a GlobalNetworkPolicy (DESIGN 4).
func (w *World) globalPolicy(o *v1alpha1.GlobalNetworkPolicy) *policy {
	s := o.Spec
	p := &policy{
		ref:       model.Ref{Kind: model.KindGlobalNetworkPolicy, Name: o.Name},
		tier:      s.Tier,
		order:     orderOf(s.Order),
		audit:     s.Enforcement == v1alpha1.Audit,
		untracked: s.DoNotTrack, preDNAT: s.PreDNAT, forward: s.ApplyOnForward,
	}
	if p.tier == "" {
		p.tier = v1alpha1.DefaultTier
	}
	p.tie = p.ref
	p.ref = qualified(p, o.APIVersion)
	valid := true
	scope := []func(*owner) bool{anyOwner}
	add := func(m func(*owner) bool, err error) {
		if err != nil {
			valid = false
			return
		}
		scope = append(scope, m)
	}
	add(ownSelector(s.Selector))
	if s.NamespaceSelector != "" {
		add(namespaceSelector(s.NamespaceSelector))
	}
	if s.ServiceAccountSelector != "" {
		add(accountSelector(s.ServiceAccountSelector))
	}
	if s.DoNotTrack && s.PreDNAT { // cannot be both: the first counts, and lets nothing through
		p.preDNAT, valid = false, false
	}
	p.selects = allOf(scope)
	w.tierwallRules(p, "", s.Types, s.Ingress, s.Egress, valid)
	if p.preDNAT { // ingress only, whatever types say
		p.governs = [2]bool{model.Ingress: true}
	}
	return p
}

// qualified is the name of a policy in output: with its group and tier if it is
// translated and another policy has its name (semantics, names in output).
func qualified(p *policy, apiVersion string) model.Ref {
	r := p.ref
	if kind, _, _ := strings.Cut(string(r.Kind), "."); apiVersion == "projectcalico.org/v3" {
		r.Kind, r.Name = model.Kind(kind+".projectcalico.org"), p.tier+":"+r.Name
	}
	return r
}

// namespacedPolicy reads a NetworkPolicy of group tierwall.io: pods of its namespace only.
func (w *World) namespacedPolicy(o *v1alpha1.NetworkPolicy) *policy {
	s := o.Spec
	p := &policy{
		ref:   model.Ref{Kind: model.KindTierwallNetworkPolicy, Namespace: o.Namespace, Name: o.Name},
		tier:  s.Tier,
		order: orderOf(s.Order),
		audit: s.Enforcement == v1alpha1.Audit,
	}
	if p.tier == "" {
		p.tier = v1alpha1.DefaultTier
	}
	p.tie = p.ref
	p.ref = qualified(p, o.APIVersion)
	valid := true
	scope := []func(*owner) bool{podsOf(o.Namespace)}
	if m, err := ownSelector(s.Selector); err != nil {
		valid = false
	} else {
		scope = append(scope, m)
	}
	if s.ServiceAccountSelector != "" {
		if m, err := accountSelector(s.ServiceAccountSelector); err != nil {
			valid = false
		} else {
			scope = append(scope, m)
		}
	}
	p.selects = allOf(scope)
	w.tierwallRules(p, o.Namespace, s.Types, s.Ingress, s.Egress, valid)
	return p
}

// tierwallRules fills in what the two kinds have in common. valid is false if a
// selector of the policy was not understood: then it lets nothing through.
func (w *World) tierwallRules(p *policy, namespace string, types []v1alpha1.PolicyType, ingress, egress []v1alpha1.Rule, valid bool) {
	// "Unset types: no egress rules → Ingress; only egress rules → Egress; both → both."
	if len(types) == 0 {
		p.governs[model.Ingress] = len(ingress) > 0 || len(egress) == 0
		p.governs[model.Egress] = len(egress) > 0
	}
	for _, t := range types {
		switch t {
		case v1alpha1.PolicyTypeIngress:
			p.governs[model.Ingress] = true
		case v1alpha1.PolicyTypeEgress:
			p.governs[model.Egress] = true
		default: // not understood: govern all
			p.governs = [2]bool{true, true}
		}
	}
	for dir, rules := range [2][]v1alpha1.Rule{model.Ingress: ingress, model.Egress: egress} {
		for i, r := range rules {
			out := w.tierwallRule(p, namespace, model.Direction(dir), r)
			out.index = i
			p.rules[dir] = append(p.rules[dir], out)
		}
		if !valid {
			failClosed(p.rules[dir])
		}
	}
}

// failClosed is what becomes of the rules of a policy that nobody can tell whom it
// selects: Allow matches nothing, Pass denies all, Deny stands.
func failClosed(rules []rule) {
	for i, r := range rules {
		if r.action == model.Allow || r.action == model.Pass {
			rules[i] = broken(r)
		}
	}
}

// broken is a rule that cannot be understood: "an Allow rule that cannot be
// understood matches nothing; a Deny or Pass rule that cannot be understood denies
// all in its direction" (DESIGN 4). Log matches nothing, an unknown action denies.
func broken(r rule) rule {
	if r.action == model.Allow || r.action == model.Log {
		r.matches = func(model.Flow) bool { return false }
	} else {
		r.action = model.Deny
		r.matches = func(model.Flow) bool { return true }
	}
	return r
}

func (w *World) tierwallRule(p *policy, namespace string, dir model.Direction, r v1alpha1.Rule) rule {
	actions := map[v1alpha1.Action]model.Action{
		v1alpha1.Allow: model.Allow, v1alpha1.Deny: model.Deny, v1alpha1.Log: model.Log, v1alpha1.Pass: model.Pass,
	}
	out := rule{action: actions[r.Action]}
	if out.action == model.NoAction {
		return broken(out)
	}
	m, err := w.tierwallMatch(p, namespace, dir, r)
	if err != nil {
		return broken(out)
	}
	out.matches = m
	return out
}

// tierwallMatch is "all the criteria of a rule must match (positives and negatives together)".
func (w *World) tierwallMatch(p *policy, namespace string, dir model.Direction, r v1alpha1.Rule) (func(model.Flow) bool, error) {
	var criteria []func(model.Flow) bool
	if r.HTTP != nil {
		return nil, fmt.Errorf("http is not built")
	}
	families := map[int]bool{}
	if r.IPVersion != nil {
		version := *r.IPVersion
		if version != 4 && version != 6 {
			return nil, fmt.Errorf("ipVersion %d", version)
		}
		families[version] = true
	}
	var proto model.Protocol
	if r.Protocol != nil {
		var err error
		if proto, err = protocolOf(*r.Protocol); err != nil {
			return nil, err
		}
		criteria = append(criteria, func(f model.Flow) bool { return f.Protocol == proto })
	}
	if r.NotProtocol != nil {
		not, err := protocolOf(*r.NotProtocol)
		if err != nil {
			return nil, err
		}
		criteria = append(criteria, func(f model.Flow) bool { return f.Protocol != not })
	}
	for i, fields := range []*v1alpha1.ICMPFields{r.ICMP, r.NotICMP} {
		if fields == nil {
			continue
		}
		m, err := icmpMatch(proto, *fields)
		if err != nil {
			return nil, err
		}
		positive := i == 0
		criteria = append(criteria, func(f model.Flow) bool { return m(f) == positive })
	}
	portsOf := proto
	if r.Protocol == nil && namesOnly(r) {
		// "A rule whose ports are all names needs none": any that such ports have.
		portsOf = model.TCP
		criteria = append(criteria, func(f model.Flow) bool {
			return f.Protocol == model.TCP || f.Protocol == model.UDP || f.Protocol == model.SCTP
		})
	}
	for i, e := range []v1alpha1.EntityRule{r.Source, r.Destination} {
		source := i == 0
		s, err := w.side(namespace, e, portsOf)
		if err != nil {
			return nil, err
		}
		if err := s.sideNames(e, !source && takesNames(p, dir, r.Action)); err != nil {
			return nil, err
		}
		own := source == (dir == model.Egress)
		if e.Services != nil && own {
			return nil, fmt.Errorf("services on the policy's own side")
		}
		if e.Services != nil && !source && len(e.Ports)+len(e.NotPorts) > 0 {
			return nil, fmt.Errorf("services of a receiver beside ports")
		}
		s.portsOfService = !source
		if own {
			s.named = p.namesPorts
		}
		for _, n := range append(slices.Clone(s.nets), s.notNets...) {
			families[family(n.Addr())] = true
		}
		criteria = append(criteria, func(f model.Flow) bool {
			if source {
				return s.matches(f.Src, f.Protocol, f.SrcPort)
			}
			return s.matches(f.Dst, f.Protocol, f.DstPort)
		})
	}
	if len(families) > 1 {
		return nil, fmt.Errorf("IPv4 and IPv6 in one rule")
	}
	// A rule that names blocks, be it to exclude them, is a rule of their family.
	for version := range families {
		criteria = append(criteria, func(f model.Flow) bool { return family(f.Src) == version })
	}
	return allOf(criteria), nil
}

// namesOnly says whether a rule wants ports, and all ports that it speaks of are names.
func namesOnly(r v1alpha1.Rule) bool {
	for _, list := range [][]intstr.IntOrString{r.Source.Ports, r.Source.NotPorts, r.Destination.Ports, r.Destination.NotPorts} {
		for _, p := range list {
			if p.Type == intstr.Int || !strings.ContainsFunc(p.StrVal, unicode.IsLetter) {
				return false
			}
		}
	}
	return len(r.Source.Ports)+len(r.Destination.Ports) > 0
}

// side is one side of a rule, understood.
type side struct {
	world          *World
	nets, notNets  []netip.Prefix
	positive       func(*owner) bool // nil: any address
	negative       func(*owner) bool // nil: none is excluded
	service        *[2]string        // namespace and name
	portsOfService bool
	named          func(*owner) bool // whose port names count
	ports          []portRange
	notPorts       []portRange
	domains        [][]string // nil: any address
	byName         bool       // names of network sets count
}

func (s *side) matches(a netip.Addr, proto model.Protocol, port uint16) bool {
	in := func(n netip.Prefix) bool { return n.Contains(a) }
	named := func(o *owner) bool { return s.named(o) && (s.positive == nil || s.positive(o)) }
	portIs := func(r portRange) bool { return s.world.portMatches(r, named, a, proto, port) }
	switch {
	case s.nets != nil && !slices.ContainsFunc(s.nets, in),
		slices.ContainsFunc(s.notNets, in),
		s.positive != nil && !s.world.belongs(a, s.positive) && !(s.byName && s.world.belongsByName(a, s.positive)),
		s.domains != nil && !s.world.brought(s.domains, a),
		s.negative != nil && s.world.belongs(a, s.negative),
		s.service != nil && !s.world.inService(*s.service, a, s.portsOfService, proto, port),
		(s.ports != nil || s.notPorts != nil) && !hasPorts(proto),
		s.ports != nil && !slices.ContainsFunc(s.ports, portIs),
		slices.ContainsFunc(s.notPorts, portIs):
		return false
	}
	return true
}

// belongs says whether an address belongs to an owner that a selector matches:
// "a positive selector matches known endpoints and network sets only".
func (w *World) belongs(a netip.Addr, matches func(*owner) bool) bool {
	for _, owners := range [][]*owner{w.pods, w.hosts, w.sets, w.nodeOwners} {
		for _, o := range owners {
			if o.has(a) && matches(o) {
				return true
			}
		}
	}
	return false
}

func (w *World) side(namespace string, e v1alpha1.EntityRule, proto model.Protocol) (*side, error) {
	s := &side{world: w, named: anyOwner}
	var err error
	if s.nets, err = parseNets(e.Nets); err != nil {
		return nil, err
	}
	if s.notNets, err = parseNets(e.NotNets); err != nil {
		return nil, err
	}
	if s.ports, err = parsePorts(e.Ports); err != nil {
		return nil, err
	}
	if s.notPorts, err = parsePorts(e.NotPorts); err != nil {
		return nil, err
	}
	if (s.ports != nil || s.notPorts != nil) && !hasPorts(proto) {
		return nil, fmt.Errorf("ports without a protocol that has them")
	}
	if e.Services != nil {
		if len(e.Nets)+len(e.NotNets) > 0 || e.ServiceAccounts != nil ||
			e.Selector+e.NotSelector+e.NamespaceSelector != "" {
			return nil, fmt.Errorf("services beside other criteria")
		}
		s.service = &[2]string{e.Services.Namespace, e.Services.Name}
		if s.service[0] == "" {
			s.service[0] = namespace
		}
		if s.service[0] == "" || s.service[1] == "" {
			return nil, fmt.Errorf("services without name or namespace")
		}
	}

	// "A rule's selector in a namespaced policy means the policy's own namespace
	// unless a namespaceSelector is given."
	scope := anyOwner
	switch {
	case e.NamespaceSelector != "":
		if scope, err = namespaceSelector(e.NamespaceSelector); err != nil {
			return nil, err
		}
	case namespace != "":
		scope = func(o *owner) bool { return o.namespace == namespace }
	}
	// "A namespaced set counts in a global rule only where the rule has a
	// namespaceSelector", or a selector that names the label of namespaces.
	scoped := func(text string) func(*owner) bool {
		x, err := parseSelector(text)
		if namespace != "" || e.NamespaceSelector != "" || w.settings.setsEverywhere || err == nil && x.namespaces {
			return scope
		}
		return func(o *owner) bool { return o.ref.Kind != model.KindNetworkSet && scope(o) }
	}
	if e.Selector != "" || e.ServiceAccounts != nil || e.NamespaceSelector != "" {
		positive := []func(*owner) bool{notNode, scoped(e.Selector)}
		m, err := ownSelector(e.Selector)
		if err != nil {
			return nil, err
		}
		positive = append(positive, m)
		if e.ServiceAccounts != nil {
			if positive, err = addAccounts(positive, *e.ServiceAccounts); err != nil {
				return nil, err
			}
		}
		s.positive = allOf(positive)
	}
	if e.NotSelector != "" {
		m, err := ownSelector(e.NotSelector)
		if err != nil {
			return nil, err
		}
		s.negative = allOf([]func(*owner) bool{notNode, scoped(e.NotSelector), m})
	}
	return s, nil
}

func addAccounts(positive []func(*owner) bool, m v1alpha1.ServiceAccountMatch) ([]func(*owner) bool, error) {
	positive = append(positive, func(o *owner) bool { return o.account != "" })
	if len(m.Names) > 0 {
		positive = append(positive, func(o *owner) bool { return slices.Contains(m.Names, o.account) })
	}
	if m.Selector != "" {
		sel, err := accountSelector(m.Selector)
		if err != nil {
			return nil, err
		}
		positive = append(positive, sel)
	}
	return positive, nil
}

func anyOwner(*owner) bool  { return true }
func notNode(o *owner) bool { return o.kind != model.OwnerNode }

func podsOf(namespace string) func(*owner) bool {
	return func(o *owner) bool { return o.kind == model.OwnerPod && o.namespace == namespace }
}

func allOf[T any](tests []func(T) bool) func(T) bool {
	return func(x T) bool {
		for _, t := range tests {
			if !t(x) {
				return false
			}
		}
		return true
	}
}

// ownSelector matches by the owner's own and implicit labels.
func ownSelector(text string) (func(*owner) bool, error) {
	e, err := parseSelector(text)
	return func(o *owner) bool { return e.match(o.own) }, err
}

// namespaceSelector matches by the labels of the owner's namespace. Owners outside
// namespaces match only where global() has been asked for.
func namespaceSelector(text string) (func(*owner) bool, error) {
	e, err := parseSelector(text)
	return func(o *owner) bool {
		if o.namespace == "" {
			return e.global && e.match(labels{global: true})
		}
		return e.match(o.ofSpace)
	}, err
}

// accountSelector matches by the labels of a pod's service account.
func accountSelector(text string) (func(*owner) bool, error) {
	e, err := parseSelector(text)
	return func(o *owner) bool { return o.account != "" && e.match(o.ofAccount) }, err
}
