package oracle

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
	cnpv1alpha2 "sigs.k8s.io/network-policy-api/apis/v1alpha2"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/policy/model"
)

// World is a set of API objects, read once and never changed.
type World struct {
	namespaces map[string]*corev1.Namespace
	accounts   map[[2]string]*corev1.ServiceAccount
	slices     []*discoveryv1.EndpointSlice
	nodes      []*corev1.Node // by name
	tiers      []tier         // in order
	policies   []*policy      // in the order of evaluation within their tiers
	settings   settings
	links      map[string]*model.Links // by node
	// owners of addresses: pods, host endpoints, network sets and nodes, each kind by namespace and name.
	pods, hosts, sets, nodeOwners []*owner
	answers                       []v1alpha1.DNSAnswer // that DNS has given
}

// settings is what Tierwall/default says of verdicts (DESIGN 4, FACTS for the failsafe ports).
type settings struct {
	failsafeIn, failsafeOut []failsafe
	toHost                  v1alpha1.EndpointToHostAction
	allowUnknownWorkloads   bool
	// What each guard does, and whether tunnels between nodes are no failsafe ports.
	source, link, encapsulation, wildcard model.Guard
	noTunnels                             bool
	setsEverywhere                        bool // NetworkSets count in global rules without a namespaceSelector
}

type failsafe struct {
	protocol model.Protocol
	port     int32
	net      netip.Prefix // the zero Prefix means any
}

// owner is whatever an address can belong to, with all that selectors can ask of it.
type owner struct {
	ref       model.Ref
	kind      string // model.OwnerPod and so on
	namespace string // empty outside namespaces
	account   string // service account of a pod
	node      string
	iface     string // of host endpoints
	expected  bool   // a host endpoint's addresses are its own, not its node's
	allow     bool   // a host endpoint's defaultAction is Allow
	own       labels // the object's own and the implicit ones
	ofSpace   labels // of its namespace
	ofAccount labels // of its service account
	addrs     []netip.Addr
	nets      []netip.Prefix
	domains   [][]string // names of network sets, label by label
	ports     []model.NamedPort
}

func (o *owner) has(a netip.Addr) bool {
	return slices.Contains(o.addrs, a) ||
		slices.ContainsFunc(o.nets, func(n netip.Prefix) bool { return n.Contains(a) })
}

// New reads the objects. Kinds that have no part in verdicts are passed over.
// Of objects of the same kind and name the last one counts.
func New(objects []runtime.Object) *World {
	w := &World{
		namespaces: map[string]*corev1.Namespace{},
		accounts:   map[[2]string]*corev1.ServiceAccount{},
		settings:   defaultSettings(),
		links:      map[string]*model.Links{},
	}
	// First what the others refer to.
	for _, o := range objects {
		switch o := o.(type) {
		case *corev1.Namespace:
			w.namespaces[o.Name] = o
		case *corev1.ServiceAccount:
			w.accounts[[2]string{o.Namespace, o.Name}] = o
		case *corev1.Node:
			w.nodes = append(w.nodes, o)
			w.nodeOwners = append(w.nodeOwners, nodeOwner(o))
		case *NodeLinks:
			w.links[o.Links.Node] = &o.Links
		case *discoveryv1.EndpointSlice:
			w.slices = append(w.slices, o)
		case *v1alpha1.DNSAnswers:
			w.answers = append(w.answers, o.Spec.Answers...)
		case *v1alpha1.Tierwall:
			if o.Name == v1alpha1.TierwallName {
				w.settings = readSettings(o)
			}
		}
	}
	slices.SortFunc(w.nodes, func(a, b *corev1.Node) int { return cmp.Compare(a.Name, b.Name) })
	w.addLinks()
	for _, o := range objects {
		switch o := o.(type) {
		case *corev1.Pod:
			w.addPod(o)
		case *v1alpha1.HostEndpoint:
			w.addHostEndpoint(o)
		case *v1alpha1.GlobalNetworkSet:
			w.addSet(model.Ref{Kind: model.KindGlobalNetworkSet, Name: o.Name}, o.Labels, o.Spec)
		case *v1alpha1.NetworkSet:
			w.addSet(model.Ref{Kind: model.KindNetworkSet, Namespace: o.Namespace, Name: o.Name}, o.Labels, o.Spec)
		case *v1alpha1.GlobalNetworkPolicy:
			w.policies = append(w.policies, w.globalPolicy(o))
		case *v1alpha1.NetworkPolicy:
			w.policies = append(w.policies, w.namespacedPolicy(o))
		case *networkingv1.NetworkPolicy:
			w.policies = append(w.policies, w.nativePolicy(o))
		case *cnpv1alpha2.ClusterNetworkPolicy:
			w.policies = append(w.policies, w.clusterPolicy(o))
		}
	}
	for _, owners := range [][]*owner{w.pods, w.hosts, w.sets, w.nodeOwners} {
		slices.SortFunc(owners, func(a, b *owner) int { return a.ref.Compare(b.ref) })
	}
	w.tiers = tiersOf(objects, w.policies)
	w.budget(objects)
	slices.SortStableFunc(w.policies, func(a, b *policy) int {
		// DESIGN 3, Sorting: by order ascending, nil last, ties by kind, namespace, name.
		return cmp.Or(cmp.Compare(a.order, b.order), a.tie.Compare(b.tie), a.ref.Compare(b.ref))
	})
	return w
}

// addLinks gives nodes the addresses that only their kernels know of. A node without
// an object has no labels.
func (w *World) addLinks() {
	for node, l := range w.links {
		i := slices.IndexFunc(w.nodeOwners, func(o *owner) bool { return o.node == node })
		if i < 0 {
			i = len(w.nodeOwners)
			w.nodeOwners = append(w.nodeOwners, nodeOwner(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: node}}))
		}
		o := w.nodeOwners[i]
		for _, a := range l.Addrs {
			// Link-local and loopback addresses are those of every node.
			if !a.Addr.IsLinkLocalUnicast() && !a.Addr.IsLoopback() {
				o.addrs = append(o.addrs, a.Addr)
			}
		}
	}
}

// addPod: host-network pods, finished pods and pods without an address are no
// endpoints and no peers (DESIGN 3).
func (w *World) addPod(p *corev1.Pod) {
	if p.Spec.HostNetwork || p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed {
		return
	}
	var texts []string
	for _, ip := range p.Status.PodIPs {
		texts = append(texts, ip.IP)
	}
	if len(texts) == 0 {
		texts = []string{p.Status.PodIP}
	}
	o := &owner{
		ref:       model.Ref{Kind: model.KindPod, Namespace: p.Namespace, Name: p.Name},
		kind:      model.OwnerPod,
		namespace: p.Namespace,
		account:   p.Spec.ServiceAccountName,
		node:      p.Spec.NodeName,
		addrs:     parseAddrs(texts),
	}
	if len(o.addrs) == 0 {
		return
	}
	implicit := map[string]string{"tierwall.io/namespace": p.Namespace, "tierwall.io/orchestrator": "k8s"}
	if o.account != "" {
		implicit["tierwall.io/serviceaccount"] = o.account
		o.ofAccount = labels{values: map[string]string{}}
		if sa := w.accounts[[2]string{p.Namespace, o.account}]; sa != nil {
			maps.Copy(o.ofAccount.values, sa.Labels)
		}
		o.ofAccount.values["tierwall.io/name"] = o.account
	}
	o.own = labels{values: overlay(p.Labels, implicit)}
	o.ofSpace = w.namespaceLabels(p.Namespace)
	for _, c := range p.Spec.Containers {
		for _, port := range c.Ports {
			proto := model.TCP
			if port.Protocol != "" {
				proto, _ = protocolOf(intstr.FromString(string(port.Protocol)))
			}
			if port.Name != "" && port.ContainerPort >= 1 && port.ContainerPort <= 65535 {
				o.ports = append(o.ports, model.NamedPort{Name: port.Name, Protocol: proto, Port: uint16(port.ContainerPort)})
			}
		}
	}
	w.pods = append(w.pods, o)
}

// namespaceLabels are the labels of a namespace, whose object may be unknown:
// its name is known all the same.
func (w *World) namespaceLabels(name string) labels {
	l := map[string]string{"kubernetes.io/metadata.name": name}
	if ns := w.namespaces[name]; ns != nil {
		maps.Copy(l, ns.Labels)
	}
	l["tierwall.io/name"] = name
	return labels{values: l}
}

func (w *World) addHostEndpoint(h *v1alpha1.HostEndpoint) {
	o := &owner{
		ref:   model.Ref{Kind: model.KindHostEndpoint, Name: h.Name},
		kind:  model.OwnerHostEndpoint,
		node:  h.Spec.Node,
		iface: h.Spec.InterfaceName,
		own:   labels{values: overlay(h.Labels, nil), global: true},
		addrs: parseAddrs(h.Spec.ExpectedIPs),
	}
	if o.expected = len(o.addrs) > 0; !o.expected {
		for _, n := range w.nodeOwners {
			if n.node == h.Spec.Node {
				o.addrs = n.addrs
			}
		}
	}
	// A host endpoint takes its defaultAction, Deny unless set; the profile
	// projectcalico-default-allow reads as Allow (DESIGN 3).
	if h.Spec.DefaultAction != nil {
		o.allow = *h.Spec.DefaultAction == v1alpha1.Allow
	} else {
		o.allow = slices.Contains(h.Spec.Profiles, "projectcalico-default-allow")
	}
	for _, p := range h.Spec.Ports {
		proto, err := protocolOf(p.Protocol)
		if err == nil && p.Name != "" && p.Port >= 1 && p.Port <= 65535 {
			o.ports = append(o.ports, model.NamedPort{Name: p.Name, Protocol: proto, Port: uint16(p.Port)})
		}
	}
	w.hosts = append(w.hosts, o)
}

func (w *World) addSet(ref model.Ref, own map[string]string, spec v1alpha1.NetworkSetSpec) {
	o := &owner{ref: ref, kind: model.OwnerNetworkSet, namespace: ref.Namespace, own: labels{values: overlay(own, nil), global: true}}
	if ref.Namespace != "" {
		o.own = labels{values: overlay(own, map[string]string{"tierwall.io/namespace": ref.Namespace})}
		o.ofSpace = w.namespaceLabels(ref.Namespace)
	}
	for _, text := range spec.Nets {
		if n, err := netip.ParsePrefix(text); err == nil { // a bad one is left out
			o.nets = append(o.nets, n.Masked())
		}
	}
	if len(spec.AllowedEgressDomains) <= 500 {
		for _, text := range spec.AllowedEgressDomains {
			if n, err := readName(text); err == nil { // a bad one is left out
				o.domains = append(o.domains, n)
			}
		}
	}
	w.sets = append(w.sets, o)
}

func nodeOwner(n *corev1.Node) *owner {
	return &owner{
		ref: model.Ref{Kind: model.KindNode, Name: n.Name}, kind: model.OwnerNode, node: n.Name,
		own: labels{values: overlay(n.Labels, nil), global: true}, addrs: nodeAddrs(n),
	}
}

func nodeAddrs(n *corev1.Node) []netip.Addr {
	var texts []string
	for _, a := range n.Status.Addresses {
		if a.Type == corev1.NodeInternalIP || a.Type == corev1.NodeExternalIP {
			texts = append(texts, a.Address)
		}
	}
	return parseAddrs(texts)
}

// parseAddrs leaves out what is no address.
func parseAddrs(texts []string) []netip.Addr {
	var addrs []netip.Addr
	for _, t := range texts {
		if a, err := netip.ParseAddr(t); err == nil {
			addrs = append(addrs, a.Unmap())
		}
	}
	return addrs
}

// overlay puts implicit labels in the place of the object's own of these keys: what
// somebody writes there counts for nothing, also where the core adds no such label.
func overlay(own, implicit map[string]string) map[string]string {
	l := map[string]string{}
	maps.Copy(l, own)
	for _, k := range []string{"namespace", "orchestrator", "serviceaccount"} {
		delete(l, "tierwall.io/"+k)
	}
	maps.Copy(l, implicit)
	return l
}

func defaultSettings() settings {
	s := settings{toHost: v1alpha1.EndpointToHostAccept}
	for _, p := range []int32{22, 179, 2379, 2380, 5473, 6443, 6666, 6667, 10250} {
		s.failsafeIn = append(s.failsafeIn, failsafe{protocol: model.TCP, port: p})
	}
	s.failsafeIn = append(s.failsafeIn, failsafe{protocol: model.UDP, port: 68}, failsafe{protocol: model.UDP, port: 546})
	for _, p := range []int32{179, 2379, 2380, 5473, 6443, 6666, 6667} {
		s.failsafeOut = append(s.failsafeOut, failsafe{protocol: model.TCP, port: p})
	}
	s.failsafeOut = append(s.failsafeOut, failsafe{protocol: model.UDP, port: 53}, failsafe{protocol: model.UDP, port: 67},
		failsafe{protocol: model.UDP, port: 547})
	return s
}

func readSettings(t *v1alpha1.Tierwall) settings {
	s := defaultSettings()
	if t.Spec.Failsafe.Inbound != nil {
		s.failsafeIn = readFailsafe(*t.Spec.Failsafe.Inbound)
	}
	if t.Spec.Failsafe.Outbound != nil {
		s.failsafeOut = readFailsafe(*t.Spec.Failsafe.Outbound)
	}
	if t.Spec.EndpointToHostAction != "" {
		s.toHost = t.Spec.EndpointToHostAction
	}
	mode := t.Spec.NamespacedSets
	if mode == "" || mode == v1alpha1.NamespacedSetsAuto {
		mode = t.Status.NamespacedSets
	}
	s.setsEverywhere = mode == v1alpha1.NamespacedSetsEverywhere
	s.allowUnknownWorkloads = t.Spec.UnknownWorkloads == v1alpha1.Allow
	guard := func(m v1alpha1.GuardMode) model.Guard {
		if m == "" || m == v1alpha1.GuardAuto { // "what Auto means in this installation"
			m = t.Status.Guards
		}
		switch m {
		case v1alpha1.GuardCount:
			return model.GuardCount
		case v1alpha1.GuardOff:
			return model.GuardOff
		}
		return model.GuardEnforce
	}
	s.source, s.link = guard(t.Spec.SourceGuard), guard(t.Spec.LinkGuard)
	s.encapsulation, s.wildcard = guard(t.Spec.EncapsulationGuard), guard(t.Spec.WildcardGuard)
	s.noTunnels = t.Spec.Failsafe.Tunnels != nil && !*t.Spec.Failsafe.Tunnels
	return s
}

// readFailsafe leaves out entries that it cannot understand: a failsafe port opens.
func readFailsafe(in []v1alpha1.FailsafePort) []failsafe {
	var out []failsafe
	for _, p := range in {
		f := failsafe{protocol: model.TCP, port: p.Port}
		var err error
		if p.Protocol != (intstr.IntOrString{}) {
			f.protocol, err = protocolOf(p.Protocol)
		}
		if err == nil && p.Net != "" {
			f.net, err = netip.ParsePrefix(p.Net)
			f.net = f.net.Masked()
		}
		if err == nil && p.Port >= 1 && p.Port <= 65535 {
			out = append(out, f)
		}
	}
	return out
}

func isSafe(list []failsafe, f model.Flow, peer netip.Addr) bool {
	return slices.ContainsFunc(list, func(s failsafe) bool {
		return s.protocol == f.Protocol && s.port == int32(f.DstPort) && (s.net == netip.Prefix{} || s.net.Contains(peer))
	})
}
