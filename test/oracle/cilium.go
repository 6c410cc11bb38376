package oracle

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/tierwall/tierwall/policy/model"
)

// Cilium decides under Cilium's policies as Cilium's documentation has it: for each end
// that is a pod, or a node that a policy of nodes selects, a Deny of any policy wins,
// then an Allow of any, then default deny if any policy asks for it. It shares nothing
// with what translates these policies.
type Cilium struct {
	world    *World
	policies []ciliumPolicy
	groups   []ciliumManifest
}

// ciliumManifest is a CiliumNetworkPolicy, CiliumClusterwideNetworkPolicy or
// CiliumCIDRGroup, as far as layers 3 and 4 go.
type ciliumManifest struct {
	Kind     string `json:"kind"`
	Metadata struct {
		Name      string            `json:"name"`
		Namespace string            `json:"namespace,omitempty"`
		Labels    map[string]string `json:"labels,omitempty"`
	} `json:"metadata"`
	Spec struct {
		EndpointSelector  *metav1.LabelSelector `json:"endpointSelector"`
		NodeSelector      *metav1.LabelSelector `json:"nodeSelector"`
		Ingress           []ciliumRule          `json:"ingress"`
		IngressDeny       []ciliumRule          `json:"ingressDeny"`
		Egress            []ciliumRule          `json:"egress"`
		EgressDeny        []ciliumRule          `json:"egressDeny"`
		EnableDefaultDeny struct {
			Ingress *bool `json:"ingress"`
			Egress  *bool `json:"egress"`
		} `json:"enableDefaultDeny"`
		ExternalCIDRs []string `json:"externalCIDRs"`
	} `json:"spec"`
}

// ciliumRule is a rule of either direction; only one of the two sets of peers is used. A
// list of peers that is there and empty selects nobody.
type ciliumRule struct {
	FromEndpoints []metav1.LabelSelector `json:"fromEndpoints"`
	ToEndpoints   []metav1.LabelSelector `json:"toEndpoints"`
	FromNodes     []metav1.LabelSelector `json:"fromNodes"`
	ToNodes       []metav1.LabelSelector `json:"toNodes"`
	FromEntities  []string               `json:"fromEntities"`
	ToEntities    []string               `json:"toEntities"`
	FromCIDR      []string               `json:"fromCIDR"`
	ToCIDR        []string               `json:"toCIDR"`
	FromCIDRSet   []ciliumBlock          `json:"fromCIDRSet"`
	ToCIDRSet     []ciliumBlock          `json:"toCIDRSet"`
	ToServices    []struct {
		K8sService struct {
			ServiceName string `json:"serviceName"`
			Namespace   string `json:"namespace"`
		} `json:"k8sService"`
	} `json:"toServices"`
	ToPorts []struct {
		Ports []struct {
			Port     string `json:"port"`
			EndPort  int    `json:"endPort"`
			Protocol string `json:"protocol"`
		} `json:"ports"`
	} `json:"toPorts"`
	ICMPs []struct {
		Fields []struct {
			Family string             `json:"family"`
			Type   intstr.IntOrString `json:"type"`
		} `json:"fields"`
	} `json:"icmps"`
}

type ciliumBlock struct {
	CIDR              string                `json:"cidr"`
	CIDRGroupRef      string                `json:"cidrGroupRef"`
	CIDRGroupSelector *metav1.LabelSelector `json:"cidrGroupSelector"`
	Except            []string              `json:"except"`
}

// ciliumPolicy is a policy with its two directions, by model.Direction.
type ciliumPolicy struct {
	namespace string // empty: clusterwide
	subject   *metav1.LabelSelector
	nodes     bool // it is for nodes
	allow     [2][]ciliumRule
	deny      [2][]ciliumRule
	enforces  [2]bool // puts its subjects into default deny
}

// NewCilium reads the objects of a cluster and, as JSON, Cilium's.
func NewCilium(objects []runtime.Object, manifests [][]byte) (*Cilium, error) {
	c := &Cilium{world: New(objects)}
	for _, text := range manifests {
		var m ciliumManifest
		if err := json.Unmarshal(text, &m); err != nil {
			return nil, fmt.Errorf("%s: %w", text, err)
		}
		if m.Kind == "CiliumCIDRGroup" {
			c.groups = append(c.groups, m)
			continue
		}
		p := ciliumPolicy{namespace: m.Metadata.Namespace, subject: m.Spec.EndpointSelector}
		if m.Spec.NodeSelector != nil {
			p.nodes, p.subject = true, m.Spec.NodeSelector
		}
		p.allow[model.Ingress], p.deny[model.Ingress] = m.Spec.Ingress, m.Spec.IngressDeny
		p.allow[model.Egress], p.deny[model.Egress] = m.Spec.Egress, m.Spec.EgressDeny
		for dir, asked := range map[model.Direction]*bool{model.Ingress: m.Spec.EnableDefaultDeny.Ingress, model.Egress: m.Spec.EnableDefaultDeny.Egress} {
			p.enforces[dir] = len(p.allow[dir])+len(p.deny[dir]) > 0
			if asked != nil {
				p.enforces[dir] = *asked
			}
		}
		c.policies = append(c.policies, p)
	}
	return c, nil
}

// Allows decides a connection attempt between two places that are not a node and
// something of that node, which Cilium lets talk as it is configured.
func (c *Cilium) Allows(f model.Flow) bool {
	return c.side(f, model.Egress) && c.side(f, model.Ingress)
}

// side decides for the end whose policies are those of the direction.
func (c *Cilium) side(f model.Flow, dir model.Direction) bool {
	self, other := f.Src, f.Dst
	if dir == model.Ingress {
		self, other = f.Dst, f.Src
	}
	end := c.owner(self)
	if end == nil {
		return true // nobody's policies
	}
	allowed, enforced := false, false
	for i := range c.policies {
		p := &c.policies[i]
		if !p.selects(end) {
			continue
		}
		if slices.ContainsFunc(p.deny[dir], func(r ciliumRule) bool { return c.matches(p, &r, f, end, other) }) {
			return false
		}
		allowed = allowed || slices.ContainsFunc(p.allow[dir], func(r ciliumRule) bool { return c.matches(p, &r, f, end, other) })
		enforced = enforced || p.enforces[dir]
	}
	return allowed || !enforced
}

// owner is the pod or node of an address; nil for all others.
func (c *Cilium) owner(a netip.Addr) *owner {
	for _, owners := range [][]*owner{c.world.pods, c.world.nodeOwners} {
		if i := slices.IndexFunc(owners, func(o *owner) bool { return o.has(a) }); i >= 0 {
			return owners[i]
		}
	}
	return nil
}

func (p *ciliumPolicy) selects(o *owner) bool {
	if p.nodes {
		return o.kind == model.OwnerNode && ciliumSelects(p.subject, o)
	}
	return o.kind == model.OwnerPod && (p.namespace == "" || p.namespace == o.namespace) && ciliumSelects(p.subject, o)
}

func (c *Cilium) matches(p *ciliumPolicy, r *ciliumRule, f model.Flow, end *owner, other netip.Addr) bool {
	limited := len(r.ToPorts)+len(r.ICMPs) > 0
	if limited && !c.traffic(r, f) {
		return false
	}
	peer := c.owner(other)
	given, found := false, false
	try := func(there, match bool) { given, found = given || there, found || there && match }
	for _, list := range [][]metav1.LabelSelector{r.FromEndpoints, r.ToEndpoints} {
		try(list != nil, slices.ContainsFunc(list, func(s metav1.LabelSelector) bool { return c.endpoint(p, &s, end, peer, other) }))
	}
	for _, list := range [][]metav1.LabelSelector{r.FromNodes, r.ToNodes} {
		try(list != nil, slices.ContainsFunc(list, func(s metav1.LabelSelector) bool {
			return peer != nil && peer.kind == model.OwnerNode && peer.node != end.node && ciliumSelects(&s, peer)
		}))
	}
	for _, list := range [][]string{r.FromEntities, r.ToEntities} {
		try(list != nil, slices.ContainsFunc(list, func(e string) bool { return entity(e, end, peer, other) }))
	}
	// Blocks are addresses outside the cluster alone.
	for _, list := range [][]string{r.FromCIDR, r.ToCIDR} {
		try(list != nil, peer == nil && inAny(list, other))
	}
	for _, list := range [][]ciliumBlock{r.FromCIDRSet, r.ToCIDRSet} {
		try(list != nil, peer == nil && slices.ContainsFunc(list, func(b ciliumBlock) bool { return c.block(b, other) }))
	}
	for _, s := range r.ToServices {
		try(true, c.world.inService([2]string{s.K8sService.Namespace, s.K8sService.ServiceName}, other, false, f.Protocol, f.DstPort))
	}
	if !given {
		return limited // an empty rule matches nothing
	}
	return found
}

// endpoint asks a selector of pods; one of a reserved label is an entity.
func (c *Cilium) endpoint(p *ciliumPolicy, s *metav1.LabelSelector, end, peer *owner, other netip.Addr) bool {
	for k := range s.MatchLabels {
		if e, ok := strings.CutPrefix(k, "reserved:"); ok {
			return entity(e, end, peer, other)
		}
	}
	if peer == nil || peer.kind != model.OwnerPod || !ciliumSelects(s, peer) {
		return false
	}
	// In a policy of a namespace, its own is meant unless the selector speaks of namespaces.
	return p.namespace == "" || namesNamespace(s) || peer.namespace == p.namespace
}

func entity(name string, end, peer *owner, other netip.Addr) bool {
	node := peer != nil && peer.kind == model.OwnerNode
	switch name {
	case "all":
		return true
	case "world":
		return peer == nil
	case "world-ipv4":
		return peer == nil && other.Is4()
	case "world-ipv6":
		return peer == nil && other.Is6()
	case "cluster":
		return peer != nil
	case "host":
		return node && peer.node == end.node
	case "remote-node":
		return node && peer.node != end.node
	}
	return false
}

func inAny(blocks []string, a netip.Addr) bool {
	return slices.ContainsFunc(blocks, func(s string) bool {
		p, err := netip.ParsePrefix(s)
		return err == nil && p.Contains(a)
	})
}

func (c *Cilium) block(b ciliumBlock, a netip.Addr) bool {
	if inAny(b.Except, a) {
		return false
	}
	if b.CIDR != "" {
		return inAny([]string{b.CIDR}, a)
	}
	return slices.ContainsFunc(c.groups, func(g ciliumManifest) bool {
		named := b.CIDRGroupRef != "" && b.CIDRGroupRef == g.Metadata.Name
		labelled := b.CIDRGroupSelector != nil && requirements(b.CIDRGroupSelector, func(key string) (string, bool) {
			v, ok := g.Metadata.Labels[key]
			return v, ok
		})
		return (named || labelled) && inAny(g.Spec.ExternalCIDRs, a)
	})
}

// traffic asks the ports and ICMP types of a rule. Names of ports are the receiver's.
func (c *Cilium) traffic(r *ciliumRule, f model.Flow) bool {
	for _, list := range r.ToPorts {
		for _, p := range list.Ports {
			protocols := []model.Protocol{model.TCP, model.UDP, model.SCTP}
			if one, err := protocolOf(intstr.FromString(p.Protocol)); p.Protocol != "" && p.Protocol != "ANY" && err == nil {
				protocols = []model.Protocol{one}
			}
			if !slices.Contains(protocols, f.Protocol) {
				continue
			}
			n, err := strconv.Atoi(p.Port)
			switch to := c.owner(f.Dst); {
			case err == nil && n == 0,
				err == nil && n <= int(f.DstPort) && int(f.DstPort) <= max(n, p.EndPort),
				err != nil && to != nil && slices.Contains(to.ports, model.NamedPort{Name: p.Port, Protocol: f.Protocol, Port: f.DstPort}):
				return true
			}
		}
	}
	for _, list := range r.ICMPs {
		for _, t := range list.Fields {
			want, types := model.ICMPv4, map[string]uint8{"EchoRequest": 8, "EchoReply": 0}
			if t.Family == "IPv6" {
				want, types = model.ICMPv6, map[string]uint8{"EchoRequest": 128, "EchoReply": 129}
			}
			number, named := types[t.Type.String()]
			if !named {
				number = uint8(t.Type.IntValue())
			}
			if f.Protocol == want && f.ICMPType == number {
				return true
			}
		}
	}
	return false
}

const (
	ciliumNamespace  = "io.kubernetes.pod.namespace"
	ciliumNamespaces = "io.cilium.k8s.namespace.labels."
	ciliumAccount    = "io.cilium.k8s.policy.serviceaccount"
)

// bare takes the source off a key.
func bare(key string) string {
	return strings.TrimPrefix(strings.TrimPrefix(key, "k8s:"), "any:")
}

func namesNamespace(s *metav1.LabelSelector) bool {
	about := func(key string) bool {
		return bare(key) == ciliumNamespace || strings.HasPrefix(bare(key), ciliumNamespaces)
	}
	for k := range s.MatchLabels {
		if about(k) {
			return true
		}
	}
	return slices.ContainsFunc(s.MatchExpressions, func(e metav1.LabelSelectorRequirement) bool { return about(e.Key) })
}

// ciliumSelects asks a selector of a pod or a node. Keys reach beyond its own labels.
func ciliumSelects(s *metav1.LabelSelector, o *owner) bool {
	return requirements(s, func(key string) (string, bool) {
		key = bare(key)
		switch label, ok := strings.CutPrefix(key, ciliumNamespaces); {
		case ok:
			v, has := o.ofSpace.values[label]
			return v, has
		case key == ciliumNamespace:
			return o.namespace, o.namespace != ""
		case key == ciliumAccount:
			return o.account, o.account != ""
		}
		v, ok := o.own.values[key]
		return v, ok
	})
}

// requirements asks all that a selector wants of labels.
func requirements(s *metav1.LabelSelector, get func(string) (string, bool)) bool {
	for k, want := range s.MatchLabels {
		if v, ok := get(k); !ok || v != want {
			return false
		}
	}
	for _, e := range s.MatchExpressions {
		v, ok := get(e.Key)
		in := ok && slices.Contains(e.Values, v)
		switch e.Operator {
		case metav1.LabelSelectorOpIn:
			ok = in
		case metav1.LabelSelectorOpNotIn:
			ok = !in
		case metav1.LabelSelectorOpDoesNotExist:
			ok = !ok
		}
		if !ok {
			return false
		}
	}
	return true
}
