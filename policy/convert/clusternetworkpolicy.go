package convert

import (
	"net/netip"
	"slices"
	"unicode/utf8"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	clusterv1alpha2 "sigs.k8s.io/network-policy-api/apis/v1alpha2"

	"github.com/tierwall/tierwall/api/selector"
	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/policy/model"
)

// maxPriority is the highest priority number of a ClusterNetworkPolicy.
const maxPriority = 1000

// clusterNetworkPolicy converts a policy.networking.k8s.io/v1alpha2
// ClusterNetworkPolicy. It governs a direction if it has rules for it; the
// tiers that it can be in pass on what no rule decides.
func clusterNetworkPolicy(o *clusterv1alpha2.ClusterNetworkPolicy, r *report) model.Object {
	path := field.NewPath("spec")
	p := &model.Policy{
		Ref:        r.ref,
		Order:      float64(o.Spec.Priority),
		Generation: o.Generation,
		Ingress:    len(o.Spec.Ingress) > 0,
		Egress:     len(o.Spec.Egress) > 0,
	}
	before := r.errors
	switch o.Spec.Tier {
	case clusterv1alpha2.AdminTier:
		p.Tier = model.TierKubeAdmin
	case clusterv1alpha2.BaselineTier:
		p.Tier = model.TierKubeBaseline
	default:
		// The first tier is the one in which a denial cannot be overridden.
		p.Tier = model.TierKubeAdmin
		r.errorf(path.Child("tier"), "unsupported value %s: want %s; the policy is read as one in Admin, and allows and passes nothing",
			quote(string(o.Spec.Tier)), list(clusterv1alpha2.AdminTier, clusterv1alpha2.BaselineTier))
	}
	p.Selector = r.subject(path.Child("subject"), &o.Spec.Subject)
	closed := r.errors > before

	if n := o.Spec.Priority; n < 0 || n > maxPriority {
		r.errorf(path.Child("priority"), "%d is out of range: want 0-%d", n, maxPriority)
	}
	if o.Annotations[v1alpha1.EnforcementAnnotation] != "" {
		r.warnf(metadataPath.Child("annotations").Key(v1alpha1.EnforcementAnnotation), "has no effect on this kind: the policy is enforced")
	}
	r.atMost(path, "ingress", len(o.Spec.Ingress), maxClusterList)
	for i := range o.Spec.Ingress {
		in := &o.Spec.Ingress[i]
		c := clusterRule{report: r, path: path.Child("ingress").Index(i), dir: model.Ingress}
		peers := make([]clusterv1alpha2.ClusterNetworkPolicyEgressPeer, len(in.From))
		for j := range in.From {
			peers[j].Namespaces, peers[j].Pods = in.From[j].Namespaces, in.From[j].Pods
		}
		p.IngressRules = append(p.IngressRules, c.convert(i, in.Name, in.Action, "from", peers, in.Protocols)...)
	}
	r.atMost(path, "egress", len(o.Spec.Egress), maxClusterList)
	for i := range o.Spec.Egress {
		in := &o.Spec.Egress[i]
		c := clusterRule{report: r, path: path.Child("egress").Index(i), dir: model.Egress}
		p.EgressRules = append(p.EgressRules, c.convert(i, in.Name, in.Action, "to", in.To, in.Protocols)...)
	}
	if closed {
		p.IngressRules, p.EgressRules = distrust(p.IngressRules), distrust(p.EgressRules)
	}
	return p
}

// subject is the selector of a policy's pods; what cannot be understood of it
// leaves no mark, so that it selects more.
func (r *report) subject(path *field.Path, in *clusterv1alpha2.ClusterNetworkPolicySubject) *selector.Selector {
	if (in.Namespaces == nil) == (in.Pods == nil) {
		what := "has neither namespaces nor pods"
		if in.Pods != nil {
			what = "has both namespaces and pods"
		}
		r.errorf(path, "%s: want one of them; the policy selects all pods", what)
		return isPod
	}
	return r.podPeer(path, in.Namespaces, in.Pods)
}

// podPeer selects pods by their namespaces, or by both namespace and pod labels.
func (r *report) podPeer(path *field.Path, namespaces *metav1.LabelSelector, pods *clusterv1alpha2.NamespacedPod) *selector.Selector {
	terms := []*selector.Selector{isPod}
	add := func(at *field.Path, ls *metav1.LabelSelector, prefix string) {
		if s := r.labelSelector(at, ls, prefix); s != nil {
			terms = append(terms, s)
		}
	}
	if namespaces != nil {
		add(path.Child("namespaces"), namespaces, model.PrefixNamespace)
	}
	if pods != nil {
		add(path.Child("pods", "namespaceSelector"), &pods.NamespaceSelector, model.PrefixNamespace)
		add(path.Child("pods", "podSelector"), &pods.PodSelector, "")
	}
	return selector.And(terms...)
}

// clusterRule converts one rule of a ClusterNetworkPolicy.
type clusterRule struct {
	*report
	path *field.Path
	dir  model.Direction
}

// convert gives one rule of the model for every pair of a peer and a protocol.
// Peers come in the form of egress rules, which has all the fields of the other.
func (c *clusterRule) convert(index int, name string, action clusterv1alpha2.ClusterNetworkPolicyRuleAction, peersField string,
	in []clusterv1alpha2.ClusterNetworkPolicyEgressPeer, protocols []clusterv1alpha2.ClusterNetworkPolicyProtocol,
) []model.Rule {
	before := c.errors
	rule := model.Rule{Index: index, Name: oneLine(name)}
	if n := utf8.RuneCountInString(name); n > maxRuleName {
		c.warnf(c.path.Child("name"), "has %d characters; an API server accepts at most %d", n, maxRuleName)
	}
	switch action {
	case clusterv1alpha2.ClusterNetworkPolicyRuleActionAccept:
		rule.Action = model.Allow
	case clusterv1alpha2.ClusterNetworkPolicyRuleActionDeny:
		rule.Action = model.Deny
	case clusterv1alpha2.ClusterNetworkPolicyRuleActionPass:
		rule.Action = model.Pass
	default:
		c.errorf(c.path.Child("action"), "unsupported value %s: want %s", quote(string(action)),
			list(clusterv1alpha2.ClusterNetworkPolicyRuleActionAccept, clusterv1alpha2.ClusterNetworkPolicyRuleActionDeny, clusterv1alpha2.ClusterNetworkPolicyRuleActionPass))
	}
	at := c.path.Child(peersField)
	if len(in) == 0 {
		c.errorf(at, "is empty: want at least one peer; an empty namespaces selector is all pods")
	}
	c.atMost(c.path, peersField, len(in), maxClusterList)
	var peers []model.Peer
	unnamed := "" // a kind of peer that has no named ports
	for i := range in {
		peers = append(peers, c.peer(at.Index(i), &in[i])...)
		switch {
		case in[i].Networks != nil:
			unnamed = "networks"
		case in[i].Nodes != nil:
			unnamed = "nodes"
		}
	}
	groups := c.protocols(protocols, unnamed)
	if c.errors > before {
		return []model.Rule{failClosed(rule)}
	}
	return expand(rule, c.dir, peers, groups)
}

// peer converts one peer; networks of both IP versions become two.
func (c *clusterRule) peer(path *field.Path, in *clusterv1alpha2.ClusterNetworkPolicyEgressPeer) []model.Peer {
	want := "want namespaces or pods"
	if c.dir == model.Egress {
		want = "want one of namespaces, pods, nodes and networks"
	}
	switch n := count(in.Namespaces != nil, in.Pods != nil, in.Nodes != nil, in.Networks != nil, in.DomainNames != nil); {
	case n == 0:
		c.errorf(path, "is empty or of an unknown kind: %s", want)
		return nil
	case n > 1:
		c.errorf(path, "has %d kinds of peers: %s", n, want)
	}
	var out []model.Peer
	if in.Namespaces != nil || in.Pods != nil {
		out = append(out, model.Peer{Selector: c.podPeer(path, in.Namespaces, in.Pods)})
	}
	if in.Nodes != nil {
		if s := c.labelSelector(path.Child("nodes"), in.Nodes, ""); s != nil {
			out = append(out, model.Peer{Selector: selector.And(isNode, s)})
		}
	}
	if in.Networks != nil {
		out = append(out, c.networks(path, in.Networks)...)
	}
	if in.DomainNames != nil {
		c.errorf(path.Child("domainNames"), "is not supported: want addresses in networks")
	}
	return out
}

func (c *clusterRule) networks(peer *field.Path, in []clusterv1alpha2.CIDR) []model.Peer {
	if len(in) == 0 {
		c.errorf(peer.Child("networks"), "is empty: want at least one address block")
	}
	c.atMost(peer, "networks", len(in), maxClusterList)
	texts := make([]string, len(in))
	for i := range in {
		texts[i] = string(in[i])
	}
	var v4, v6 []netip.Prefix
	for _, p := range c.nets(peer, "networks", texts, cidrOnly) {
		if p.Addr().Is4() {
			v4 = append(v4, p)
		} else {
			v6 = append(v6, p)
		}
	}
	var out []model.Peer
	for _, nets := range [][]netip.Prefix{v4, v6} {
		if nets != nil {
			out = append(out, model.Peer{Nets: nets})
		}
	}
	return out
}

// protocols groups the protocol matches. Nil means any protocol. A named port
// says nothing about its protocol, so it stands in a group of every protocol
// that ports have. unnamed is the kind of peer that rules named ports out.
func (c *clusterRule) protocols(in []clusterv1alpha2.ClusterNetworkPolicyProtocol, unnamed string) []protocolPorts {
	if in == nil {
		return nil
	}
	path := c.path.Child("protocols")
	if len(in) == 0 {
		c.errorf(path, "is empty: want at least one entry, or omit the field for all protocols")
	}
	c.atMost(c.path, "protocols", len(in), maxClusterList)
	var out []protocolPorts
	add := func(at *field.Path, p model.Protocol, port model.Port) {
		g := slices.IndexFunc(out, func(pp protocolPorts) bool { return pp.protocol == p })
		if g < 0 {
			g = len(out)
			out = append(out, protocolPorts{protocol: p})
		}
		if slices.Contains(out[g].ports, port) {
			if port.Name == "" {
				c.warnf(at, "duplicate value")
			}
			return
		}
		out[g].ports = append(out[g].ports, port)
	}
	for i := range in {
		at, e := path.Index(i), &in[i]
		if n := count(e.TCP != nil, e.UDP != nil, e.SCTP != nil, e.DestinationNamedPort != ""); n != 1 {
			what := "is empty or of an unknown kind"
			if n > 1 {
				what = "has more than one protocol"
			}
			c.errorf(at, "%s: want one of tcp, udp, sctp and destinationNamedPort", what)
			continue
		}
		switch {
		case e.TCP != nil:
			if port, ok := c.port(at.Child("tcp"), e.TCP.DestinationPort); ok {
				add(at, model.TCP, port)
			}
		case e.UDP != nil:
			if port, ok := c.port(at.Child("udp"), e.UDP.DestinationPort); ok {
				add(at, model.UDP, port)
			}
		case e.SCTP != nil:
			if port, ok := c.port(at.Child("sctp"), e.SCTP.DestinationPort); ok {
				add(at, model.SCTP, port)
			}
		default:
			named := at.Child("destinationNamedPort")
			if c.portName(named, e.DestinationNamedPort, unnamed) {
				for _, p := range []model.Protocol{model.TCP, model.UDP, model.SCTP} {
					add(named, p, model.Port{Name: e.DestinationNamedPort})
				}
			}
		}
	}
	return out
}

// portName checks the name of a port; unnamed is the kind of peer beside it that
// has none, or "".
func (c *clusterRule) portName(path *field.Path, name, unnamed string) bool {
	switch {
	case unnamed != "":
		c.errorf(path, "%s cannot be combined with a peer of kind %s, which has no named ports: want a number, or a separate rule", quote(name), unnamed)
	case !isContainerPortName(name):
		c.errorf(path, "invalid value %s: %s", quote(name), containerPortNames)
	default:
		return true
	}
	return false
}

// port reads the port of a protocol match, which is its only field: without
// it, it is not known what was meant.
func (c *clusterRule) port(path *field.Path, in *clusterv1alpha2.Port) (model.Port, bool) {
	path = path.Child("destinationPort")
	if in == nil {
		c.errorf(path, "is missing: want a port number or range")
		return model.Port{}, false
	}
	if (in.Number == 0) == (in.Range == nil) {
		what := "has neither number nor range"
		if in.Range != nil {
			what = "has both number and range"
		}
		c.errorf(path, "%s: want one of them, with ports 1-65535", what)
		return model.Port{}, false
	}
	before := c.errors
	first, last := int64(in.Number), int64(in.Number)
	firstPath, lastPath := path.Child("number"), (*field.Path)(nil)
	if in.Range != nil {
		first, last = int64(in.Range.Start), int64(in.Range.End)
		firstPath, lastPath = path.Child("range", "start"), path.Child("range", "end")
	}
	port := model.Port{}
	var err error
	if port.First, err = portNumber(first); err != nil {
		c.errorf(firstPath, "%v", err)
	}
	if port.Last, err = portNumber(last); err != nil && lastPath != nil {
		c.errorf(lastPath, "%v", err)
	}
	if c.errors > before {
		return model.Port{}, false
	}
	switch {
	case last < first:
		c.errorf(lastPath, "%d is below start %d: want an ascending range", last, first)
		return model.Port{}, false
	case lastPath != nil && last == first:
		c.warnf(lastPath, "is equal to start: want number for a single port; an API server refuses this")
	}
	return port, true
}

// count is how many of the conditions hold.
func count(set ...bool) int {
	n := 0
	for _, s := range set {
		if s {
			n++
		}
	}
	return n
}
