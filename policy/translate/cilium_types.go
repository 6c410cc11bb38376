package translate

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// ciliumPolicy is a CiliumNetworkPolicy or a CiliumClusterwideNetworkPolicy.
type ciliumPolicy struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`

	Spec   *ciliumSpec   `json:"spec,omitempty"`
	Specs  []*ciliumSpec `json:"specs,omitempty"`
	Status any           `json:"status,omitempty"`
}

type ciliumSpec struct {
	EndpointSelector  *metav1.LabelSelector `json:"endpointSelector,omitempty"`
	NodeSelector      *metav1.LabelSelector `json:"nodeSelector,omitempty"`
	Ingress           []ciliumIngress       `json:"ingress,omitempty"`
	IngressDeny       []ciliumIngressDeny   `json:"ingressDeny,omitempty"`
	Egress            []ciliumEgress        `json:"egress,omitempty"`
	EgressDeny        []ciliumEgressDeny    `json:"egressDeny,omitempty"`
	EnableDefaultDeny struct {
		Ingress *bool `json:"ingress,omitempty"`
		Egress  *bool `json:"egress,omitempty"`
	} `json:"enableDefaultDeny,omitempty"`
	Labels      []any  `json:"labels,omitempty"`
	Description string `json:"description,omitempty"`
	Log         any    `json:"log,omitempty"`
}

// ciliumFrom is what rules for incoming traffic say about the sender. A list
// that is there and empty selects nobody; one that is not there says nothing.
type ciliumFrom struct {
	FromEndpoints []metav1.LabelSelector `json:"fromEndpoints,omitempty"`
	FromRequires  []metav1.LabelSelector `json:"fromRequires,omitempty"`
	FromCIDR      []string               `json:"fromCIDR,omitempty"`
	FromCIDRSet   []ciliumCIDRRule       `json:"fromCIDRSet,omitempty"`
	FromEntities  []string               `json:"fromEntities,omitempty"`
	FromGroups    []any                  `json:"fromGroups,omitempty"`
	FromNodes     []metav1.LabelSelector `json:"fromNodes,omitempty"`
}

// ciliumTo is what rules for outgoing traffic say about the receiver.
type ciliumTo struct {
	ToEndpoints []metav1.LabelSelector `json:"toEndpoints,omitempty"`
	ToRequires  []metav1.LabelSelector `json:"toRequires,omitempty"`
	ToCIDR      []string               `json:"toCIDR,omitempty"`
	ToCIDRSet   []ciliumCIDRRule       `json:"toCIDRSet,omitempty"`
	ToEntities  []string               `json:"toEntities,omitempty"`
	ToServices  []ciliumService        `json:"toServices,omitempty"`
	ToGroups    []any                  `json:"toGroups,omitempty"`
	ToNodes     []metav1.LabelSelector `json:"toNodes,omitempty"`
}

type ciliumIngress struct {
	ciliumFrom     `json:",inline"`
	ToPorts        []ciliumPortRule `json:"toPorts,omitempty"`
	ICMPs          []ciliumICMPRule `json:"icmps,omitempty"`
	Authentication *ciliumAuth      `json:"authentication,omitempty"`
}

type ciliumIngressDeny struct {
	ciliumFrom `json:",inline"`
	ToPorts    []ciliumPortDenyRule `json:"toPorts,omitempty"`
	ICMPs      []ciliumICMPRule     `json:"icmps,omitempty"`
}

type ciliumEgress struct {
	ciliumTo       `json:",inline"`
	ToPorts        []ciliumPortRule `json:"toPorts,omitempty"`
	ToFQDNs        []any            `json:"toFQDNs,omitempty"`
	ICMPs          []ciliumICMPRule `json:"icmps,omitempty"`
	Authentication *ciliumAuth      `json:"authentication,omitempty"`
}

type ciliumEgressDeny struct {
	ciliumTo `json:",inline"`
	ToPorts  []ciliumPortDenyRule `json:"toPorts,omitempty"`
	ICMPs    []ciliumICMPRule     `json:"icmps,omitempty"`
}

// ciliumCIDRRule names addresses in one of three ways.
type ciliumCIDRRule struct {
	CIDR              string                `json:"cidr,omitempty"`
	CIDRGroupRef      string                `json:"cidrGroupRef,omitempty"`
	CIDRGroupSelector *metav1.LabelSelector `json:"cidrGroupSelector,omitempty"`
	Except            []string              `json:"except,omitempty"`
}

type ciliumService struct {
	K8sService *struct {
		ServiceName string `json:"serviceName,omitempty"`
		Namespace   string `json:"namespace,omitempty"`
	} `json:"k8sService,omitempty"`
	K8sServiceSelector *struct {
		Selector  metav1.LabelSelector `json:"selector"`
		Namespace string               `json:"namespace,omitempty"`
	} `json:"k8sServiceSelector,omitempty"`
}

type ciliumPortRule struct {
	Ports          []ciliumPort    `json:"ports,omitempty"`
	TerminatingTLS any             `json:"terminatingTLS,omitempty"`
	OriginatingTLS any             `json:"originatingTLS,omitempty"`
	ServerNames    []string        `json:"serverNames,omitempty"`
	Listener       any             `json:"listener,omitempty"`
	Rules          *map[string]any `json:"rules,omitempty"`
}

type ciliumPortDenyRule struct {
	Ports []ciliumPort `json:"ports,omitempty"`
}

type ciliumPort struct {
	Port     intstr.IntOrString `json:"port,omitempty"`
	EndPort  int32              `json:"endPort,omitempty"`
	Protocol string             `json:"protocol,omitempty"`
}

type ciliumICMPRule struct {
	Fields []struct {
		Family string              `json:"family,omitempty"`
		Type   *intstr.IntOrString `json:"type,omitempty"`
	} `json:"fields,omitempty"`
}

type ciliumAuth struct {
	Mode string `json:"mode,omitempty"`
}

type ciliumCIDRGroup struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`

	Spec struct {
		ExternalCIDRs []string `json:"externalCIDRs,omitempty"`
	} `json:"spec"`
	Status any `json:"status,omitempty"`
}

// ciliumKinds are Cilium's kinds, of both versions.
var ciliumKinds = map[string]func() foreign{
	"CiliumNetworkPolicy":            func() foreign { return &ciliumPolicy{} },
	"CiliumClusterwideNetworkPolicy": func() foreign { return &ciliumPolicy{} },
	"CiliumCIDRGroup":                func() foreign { return &ciliumCIDRGroup{} },
}

func (o *ciliumPolicy) meta() (*metav1.TypeMeta, *metav1.ObjectMeta) {
	return &o.TypeMeta, &o.ObjectMeta
}
func (o *ciliumCIDRGroup) meta() (*metav1.TypeMeta, *metav1.ObjectMeta) {
	return &o.TypeMeta, &o.ObjectMeta
}

// ciliumRule is a rule of either direction and action, brought into one form.
type ciliumRule struct {
	endpoints, requires, nodes selectorList
	cidr                       []string
	cidrSet                    []ciliumCIDRRule
	entities                   []string
	services                   []ciliumService
	groups, fqdns              []any

	ports []ciliumPortRule
	icmps []ciliumICMPRule
	auth  *ciliumAuth
	// hasCIDR … say that a list is there, if empty.
	hasEndpoints, hasNodes, hasCIDR, hasCIDRSet, hasEntities, hasServices, hasGroups, hasFQDNs bool
}

type selectorList = []metav1.LabelSelector

func (f *ciliumFrom) rule() ciliumRule {
	return ciliumRule{
		endpoints: f.FromEndpoints, requires: f.FromRequires, nodes: f.FromNodes,
		cidr: f.FromCIDR, cidrSet: f.FromCIDRSet, entities: f.FromEntities, groups: f.FromGroups,
		hasEndpoints: f.FromEndpoints != nil, hasNodes: f.FromNodes != nil, hasCIDR: f.FromCIDR != nil,
		hasCIDRSet: f.FromCIDRSet != nil, hasEntities: f.FromEntities != nil, hasGroups: f.FromGroups != nil,
	}
}

func (f *ciliumTo) rule() ciliumRule {
	return ciliumRule{
		endpoints: f.ToEndpoints, requires: f.ToRequires, nodes: f.ToNodes,
		cidr: f.ToCIDR, cidrSet: f.ToCIDRSet, entities: f.ToEntities, services: f.ToServices, groups: f.ToGroups,
		hasEndpoints: f.ToEndpoints != nil, hasNodes: f.ToNodes != nil, hasCIDR: f.ToCIDR != nil,
		hasCIDRSet: f.ToCIDRSet != nil, hasEntities: f.ToEntities != nil, hasServices: f.ToServices != nil,
		hasGroups: f.ToGroups != nil,
	}
}

// denyPorts brings the ports of a Deny rule into the form of the others.
func denyPorts(in []ciliumPortDenyRule) []ciliumPortRule {
	var out []ciliumPortRule
	for _, r := range in {
		out = append(out, ciliumPortRule{Ports: r.Ports})
	}
	return out
}

// ciliumDirection is one direction of a spec.
type ciliumDirection struct {
	ingress     bool
	allow, deny []ciliumRule
	// defaultDeny reports whether the policy puts endpoints into default deny.
	defaultDeny bool
}

// name of the direction's fields, and of the fields that name peers.
func (d *ciliumDirection) name() string {
	if d.ingress {
		return "ingress"
	}
	return "egress"
}

func (d *ciliumDirection) peerField(what string) string {
	if d.ingress {
		return "from" + what
	}
	return "to" + what
}

// directions brings a spec into two directions.
func (s *ciliumSpec) directions() (in, out ciliumDirection) {
	in.ingress = true
	for i := range s.Ingress {
		r := s.Ingress[i].rule()
		r.ports, r.icmps, r.auth = s.Ingress[i].ToPorts, s.Ingress[i].ICMPs, s.Ingress[i].Authentication
		in.allow = append(in.allow, r)
	}
	for i := range s.IngressDeny {
		r := s.IngressDeny[i].rule()
		r.ports, r.icmps = denyPorts(s.IngressDeny[i].ToPorts), s.IngressDeny[i].ICMPs
		in.deny = append(in.deny, r)
	}
	for i := range s.Egress {
		e := &s.Egress[i]
		r := e.rule()
		r.ports, r.icmps, r.auth = e.ToPorts, e.ICMPs, e.Authentication
		r.fqdns, r.hasFQDNs = e.ToFQDNs, e.ToFQDNs != nil
		out.allow = append(out.allow, r)
	}
	for i := range s.EgressDeny {
		r := s.EgressDeny[i].rule()
		r.ports, r.icmps = denyPorts(s.EgressDeny[i].ToPorts), s.EgressDeny[i].ICMPs
		out.deny = append(out.deny, r)
	}
	in.defaultDeny = len(in.allow)+len(in.deny) > 0
	if b := s.EnableDefaultDeny.Ingress; b != nil {
		in.defaultDeny = *b
	}
	out.defaultDeny = len(out.allow)+len(out.deny) > 0
	if b := s.EnableDefaultDeny.Egress; b != nil {
		out.defaultDeny = *b
	}
	return in, out
}
