package translate

import (
	"fmt"
	"net/netip"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/tierwall/tierwall/api/v1alpha1"
)

// ciliumGroupLabel is on the network set that a CiliumCIDRGroup becomes.
const ciliumGroupLabel = "cilium.io/cidr-group"

// insideCluster matches pods and nodes. Nodes have their labels on the host
// endpoints that stand for them.
const insideCluster = podsOnly + " || has(" + labelOfNodeName + ")"

// ciliumSide is one side of a rule, and what the rule must be like for it.
type ciliumSide struct {
	entity v1alpha1.EntityRule
	// ipVersion is 4, 6, or 0 for both.
	ipVersion int
	// alone says that the side takes no ports beside it.
	alone bool
}

// ciliumScope is what peers are translated for.
type ciliumScope struct {
	*ciliumDirection
	// namespace of a namespaced policy.
	namespace string
	// global says that the result is a global policy.
	global bool
	// host says that the policy is for nodes.
	host bool
	// allow says that the rule is an Allow.
	allow bool
	// limited says that the rule names ports or ICMP types.
	limited bool
	// nodes is set if the result speaks of nodes.
	nodes *bool
}

// needsGlobal reports whether a rule speaks of addresses outside the cluster.
// Only a global policy can say that an address belongs to no pod and no node.
func (r *ciliumRule) needsGlobal() bool {
	for _, e := range r.entities {
		switch e {
		case "world", "world-ipv4", "world-ipv6":
			return true
		}
	}
	for _, s := range r.endpoints {
		switch c, _ := ciliumSelector(&s); c.reserved {
		case "world", "world-ipv4", "world-ipv6":
			return true
		}
	}
	return len(r.cidr)+len(r.cidrSet)+len(r.groups) > 0
}

// peersField finds the field, without from or to, that names a rule's peers: there
// may be only one. It is empty if none does; given says then whether one is there
// all the same, as an empty list.
func (r *ciliumRule) peersField(path string, sc *ciliumScope) (name string, given bool, err error) {
	for _, f := range []struct {
		name string
		has  bool
		n    int
	}{
		{"Endpoints", r.hasEndpoints, len(r.endpoints)},
		{"Nodes", r.hasNodes, len(r.nodes)},
		{"CIDR", r.hasCIDR, len(r.cidr)},
		{"CIDRSet", r.hasCIDRSet, len(r.cidrSet)},
		{"Entities", r.hasEntities, len(r.entities)},
		{"Services", r.hasServices, len(r.services)},
		{"Groups", r.hasGroups, len(r.groups)},
		{"FQDNs", r.hasFQDNs, len(r.fqdns)},
	} {
		given = given || f.has
		if f.n == 0 {
			continue
		}
		if name != "" {
			return "", false, fmt.Errorf("%s: %s and %s cannot be combined in one rule", path, sc.peerField(name), sc.peerField(f.name))
		}
		name = f.name
	}
	return name, given, nil
}

// ciliumPeers translates the peers of a rule. None means that the rule matches nothing.
func (t *translation) ciliumPeers(path string, r *ciliumRule, sc *ciliumScope) ([]ciliumSide, error) {
	field, given, err := r.peersField(path, sc)
	switch {
	case err != nil:
		return nil, err
	case field == "" && !given && sc.limited:
		return []ciliumSide{{}}, nil
	case field == "":
		return nil, nil
	}
	at := path + "." + sc.peerField(field)
	switch field {
	case "Endpoints":
		return eachPeer(at, r.endpoints, sc, t.ciliumEndpoints)
	case "Nodes":
		return eachPeer(at, r.nodes, sc, t.ciliumNodes)
	case "CIDR":
		return sc.blocks(at, r.cidr)
	case "CIDRSet":
		return eachPeer(at, r.cidrSet, sc, t.ciliumCIDRSet)
	case "Entities":
		return t.ciliumEntities(at, r.entities, sc)
	case "Services":
		return eachPeer(at, r.services, sc, t.ciliumServices)
	case "Groups":
		if !sc.allow {
			t.lose(at, "groups of a cloud provider have no equivalent; all addresses outside the cluster are denied")
			return []ciliumSide{sc.outside()}, nil
		}
		t.lose(at, "groups of a cloud provider have no equivalent; they are not allowed")
	case "FQDNs":
		t.lose(at, "DNS names have no equivalent; they are not allowed")
	}
	return nil, nil
}

// eachPeer translates a list of peers, up to the first that cannot be.
func eachPeer[T any](at string, list []T, sc *ciliumScope, peer func(at string, p *T, sc *ciliumScope) ([]ciliumSide, error)) ([]ciliumSide, error) {
	var out []ciliumSide
	for i := range list {
		sides, err := peer(fmt.Sprintf("%s[%d]", at, i), &list[i], sc)
		if err != nil {
			return nil, err
		}
		out = append(out, sides...)
	}
	return out, nil
}

// outside is all addresses that belong to no pod and no node.
func (sc *ciliumScope) outside() ciliumSide {
	*sc.nodes = true
	return ciliumSide{entity: v1alpha1.EntityRule{NotSelector: insideCluster}}
}

// anyNode is all nodes; with terms, those whose labels match.
func (sc *ciliumScope) anyNode(terms ...string) ciliumSide {
	*sc.nodes = true
	return ciliumSide{entity: v1alpha1.EntityRule{
		NamespaceSelector: "global()",
		Selector:          join(append(terms, "has("+labelOfNodeName+")")),
	}}
}

// ciliumEndpoints translates a selector of pods.
func (t *translation) ciliumEndpoints(at string, s *metav1.LabelSelector, sc *ciliumScope) ([]ciliumSide, error) {
	c, err := ciliumSelector(s)
	switch {
	case err != nil:
		return nil, fmt.Errorf("%s.%w", at, err)
	case c.reserved != "":
		return t.ciliumEntity(at, c.reserved, false, sc)
	case c.never:
		return nil, nil
	}
	for _, key := range c.missing {
		if sc.allow {
			t.lose(at, "label %s has no equivalent; what is selected by it is not allowed", key)
		} else {
			t.lose(at, "label %s has no equivalent; what the other labels select is denied", key)
		}
	}
	if sc.allow && len(c.missing) > 0 {
		return nil, nil
	}
	e := v1alpha1.EntityRule{Selector: join(append(c.own, podsOnly))}
	switch terms := c.inNamespaces(); {
	case len(terms) > 0:
		e.NamespaceSelector = join(terms)
	case sc.namespace != "" && sc.global:
		own, err := inNamespace(sc.namespace)
		if err != nil {
			return nil, err
		}
		e.NamespaceSelector = own
	}
	return []ciliumSide{{entity: e}}, nil
}

// inNamespace is a namespaceSelector for one namespace.
func inNamespace(name string) (string, error) {
	v, err := quote(name)
	if err != nil {
		return "", fmt.Errorf("metadata.namespace: %w", err)
	}
	return labelOfNamespaceName + " == " + v, nil
}

// ciliumNodes translates a selector of nodes. It never means the pod's own node.
func (t *translation) ciliumNodes(at string, s *metav1.LabelSelector, sc *ciliumScope) ([]ciliumSide, error) {
	c, err := ciliumSelector(s)
	if err != nil {
		return nil, fmt.Errorf("%s.%w", at, err)
	}
	for _, key := range append(c.missing, reservedKey(c.reserved)...) {
		if sc.allow {
			t.lose(at, "label %s has no equivalent; the nodes are not allowed", key)
			return nil, nil
		}
		t.lose(at, "label %s has no equivalent; the nodes that the other labels select are denied", key)
	}
	switch {
	case sc.ingress || sc.host:
		// Traffic from a node to itself or its own pods is always allowed.
	case sc.allow:
		t.lose(at, "a rule cannot exclude the pod's own node, as this one does; the nodes are not allowed")
		return nil, nil
	default:
		t.lose(at, "a rule cannot exclude the pod's own node, as this one does; it is denied too if its labels match")
	}
	return []ciliumSide{sc.anyNode(append(c.own, c.inNamespaces()...)...)}, nil
}

func reservedKey(name string) []string {
	if name == "" {
		return nil
	}
	return []string{ciliumReserved + ":" + name}
}

// blocks translates address blocks or addresses. In Cilium they do not mean
// pods and nodes, whatever addresses those have.
func (sc *ciliumScope) blocks(at string, in []string) ([]ciliumSide, error) {
	var v4, v6 []string
	for i, s := range in {
		p, err := netip.ParsePrefix(cidr(s))
		if err != nil {
			return nil, fmt.Errorf("%s[%d]: %w", at, i, err)
		}
		if p.Addr().Is4() {
			v4 = append(v4, p.String())
		} else {
			v6 = append(v6, p.String())
		}
	}
	var out []ciliumSide
	for _, nets := range [][]string{v4, v6} {
		if len(nets) > 0 {
			side := sc.outside()
			side.entity.Nets = nets
			out = append(out, side)
		}
	}
	return out, nil
}

func (t *translation) ciliumCIDRSet(at string, r *ciliumCIDRRule, sc *ciliumScope) ([]ciliumSide, error) {
	set := 0
	for _, is := range []bool{r.CIDR != "", r.CIDRGroupRef != "", r.CIDRGroupSelector != nil} {
		if is {
			set++
		}
	}
	if set != 1 {
		return nil, fmt.Errorf("%s: needs one of cidr, cidrGroupRef, cidrGroupSelector", at)
	}
	if r.CIDR != "" {
		out, err := sc.blocks(at+".cidr", []string{r.CIDR})
		if err != nil {
			return nil, err
		}
		block := netip.MustParsePrefix(out[0].entity.Nets[0])
		for i, x := range r.Except {
			p, err := netip.ParsePrefix(x)
			switch {
			case err != nil:
				return nil, fmt.Errorf("%s.except[%d]: %w", at, i, err)
			case !block.Overlaps(p):
				return nil, fmt.Errorf("%s.except[%d]: %s is not in %s", at, i, x, block)
			}
			out[0].entity.NotNets = append(out[0].entity.NotNets, p.Masked().String())
		}
		return out, nil
	}
	side := sc.outside()
	switch {
	case r.CIDRGroupSelector != nil:
		terms, err := labelTerms(r.CIDRGroupSelector)
		if err != nil {
			return nil, fmt.Errorf("%s.cidrGroupSelector.%w", at, err)
		}
		side.entity.Selector = join(append(terms, "has("+ciliumGroupLabel+")", "global()"))
	case len(validation.IsValidLabelValue(r.CIDRGroupRef)) == 0:
		side.entity.Selector = ciliumGroupLabel + " == '" + r.CIDRGroupRef + "' && global()"
	case sc.allow:
		t.lose(at+".cidrGroupRef", "the name is not a valid label value, so no rule can select the network set; it is not allowed")
		return nil, nil
	default:
		t.lose(at+".cidrGroupRef", "the name is not a valid label value, so no rule can select the network set; all such sets are denied")
		side.entity.Selector = "has(" + ciliumGroupLabel + ") && global()"
	}
	return groupWithout(at, side, r.Except)
}

// groupWithout leaves address blocks out of a group: one side of each family that the
// blocks are of, for a rule is of the family of its blocks, and one of the other.
func groupWithout(at string, group ciliumSide, except []string) ([]ciliumSide, error) {
	if len(except) == 0 {
		return []ciliumSide{group}, nil
	}
	out := make([]ciliumSide, 2)
	for i, version := range []int{4, 6} {
		out[i] = ciliumSide{entity: *group.entity.DeepCopy(), ipVersion: version}
	}
	for i, x := range except {
		p, err := netip.ParsePrefix(x)
		if err != nil {
			return nil, fmt.Errorf("%s.except[%d]: %w", at, i, err)
		}
		side := &out[0]
		if !p.Addr().Is4() {
			side = &out[1]
		}
		side.entity.NotNets = append(side.entity.NotNets, p.Masked().String())
	}
	return out, nil
}

func (t *translation) ciliumServices(at string, s *ciliumService, sc *ciliumScope) ([]ciliumSide, error) {
	if (s.K8sService == nil) == (s.K8sServiceSelector == nil) {
		return nil, fmt.Errorf("%s: needs one of k8sService, k8sServiceSelector", at)
	}
	if s.K8sServiceSelector != nil {
		if sc.allow {
			t.lose(at+".k8sServiceSelector", "a rule names Services by name only; they are not allowed")
			return nil, nil
		}
		t.lose(at+".k8sServiceSelector", "a rule names Services by name only; every receiver is denied")
		return []ciliumSide{{}}, nil
	}
	name, namespace := s.K8sService.ServiceName, s.K8sService.Namespace
	if namespace == "" {
		namespace = sc.namespace
	}
	if name == "" || namespace == "" {
		return nil, fmt.Errorf("%s.k8sService: needs serviceName and namespace", at)
	}
	return t.service(at+".k8sService", name, namespace, sc), nil
}

// service matches the endpoints of a Service by address, and for outgoing
// traffic by port too; nothing else can stand on that side of a rule then.
func (t *translation) service(at, name, namespace string, sc *ciliumScope) []ciliumSide {
	side := ciliumSide{entity: v1alpha1.EntityRule{Services: &v1alpha1.ServiceMatch{Name: name, Namespace: namespace}}}
	if sc.ingress {
		return []ciliumSide{side}
	}
	side.alone = true
	switch {
	case sc.allow && sc.limited:
		t.lose(at, "a rule that names a Service cannot name ports; it is not allowed (write a rule with destination.services %s/%s for the Service's own ports)", namespace, name)
		return nil
	case sc.allow:
		t.lose(at, "only the ports of the Service are allowed, not all ports of its endpoints")
	default:
		t.lose(at, "only the ports of the Service are denied, not other ports of its endpoints")
	}
	return []ciliumSide{side}
}
