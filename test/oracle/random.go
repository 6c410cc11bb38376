package oracle

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sort"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/tierwall/tierwall/api/v1alpha1"
)

// Config bounds a random world. The zero Config is a useful one.
type Config struct {
	// Invalid is the chance, 0 to 1, that a policy holds something invalid.
	Invalid float64
	// Policies of each kind, at most; 0 means 3.
	Policies int
	// Shared lets pods have the same address, as they do for a moment when an
	// address goes from one to the next.
	Shared bool
	// Links lets nodes have NodeLinks.
	Links bool
	// Guards lets Tierwall/default set guards.
	Guards bool
}

// Event is a change of one object.
type Event struct {
	// Object after the change, or as it was last if Delete is set.
	Object runtime.Object
	Delete bool
}

// Stream is an endless stream of events of one world. It depends on nothing but
// its rng.
type Stream struct {
	rng     *rand.Rand
	cfg     Config
	objects map[string]runtime.Object
	slots   []slot
	events  int // so far
	// mixed is made of all objects so far; answers are those of the event answered.
	mixed    uint64
	answers  *v1alpha1.DNSAnswers
	answered int
}

// slot is an object that may or may not be there.
type slot struct {
	key  string
	make func() runtime.Object
}

// Random returns the stream of a world that is empty at first.
func Random(rng *rand.Rand, cfg Config) *Stream {
	if cfg.Policies == 0 {
		cfg.Policies = 3
	}
	s := &Stream{rng: rng, cfg: cfg, objects: map[string]runtime.Object{}}
	s.fillSlots()
	return s
}

// namespaces of every random world. The object of the last one never exists.
var namespaces = []string{"a", "b", "c"}

// fillSlots fixes which objects a world can have, and so how much its events collide.
func (s *Stream) fillSlots() {
	add := func(copies int, key string, f func() runtime.Object) {
		for range copies {
			s.slots = append(s.slots, slot{key, f})
		}
	}
	for _, ns := range namespaces[:2] {
		add(1, "ns/"+ns, func() runtime.Object { return s.namespace(ns) })
		add(1, "sa/"+ns, func() runtime.Object { return s.account(ns) })
		add(1, "set/"+ns, func() runtime.Object { return s.networkSet(ns) })
		for i := range 2 {
			add(1, fmt.Sprintf("slice/%s/%d", ns, i), func() runtime.Object { return s.slice(ns, i) })
		}
	}
	for _, ns := range namespaces {
		for i := range 3 {
			add(2, fmt.Sprintf("pod/%s/%d", ns, i), func() runtime.Object { return s.pod(ns, i) })
		}
	}
	for i := range 2 {
		add(1, fmt.Sprintf("node/%d", i), func() runtime.Object { return s.node(i) })
		add(1, fmt.Sprintf("gns/%d", i), func() runtime.Object { return s.globalSet(i) })
		if s.cfg.Links {
			add(2, fmt.Sprintf("links/%d", i), func() runtime.Object { return s.links(i) })
		}
	}
	for i := range 4 {
		add(1, fmt.Sprintf("hep/%d", i), func() runtime.Object { return s.hostEndpoint(i) })
	}
	for i, name := range []string{"t1", "t2", "default", "kube-admin"} {
		if i < 2 || s.chance(0.3) {
			add(1, "tier/"+name, func() runtime.Object { return s.tier(name) })
		}
	}
	add(1, "tierwall", func() runtime.Object { return s.tierwall() })
	for i := range s.cfg.Policies {
		add(2, fmt.Sprintf("gnp/%d", i), func() runtime.Object { return s.globalPolicy(i) })
		add(2, fmt.Sprintf("tnp/%d", i), func() runtime.Object { return s.namespacedPolicy(i) })
		add(1, fmt.Sprintf("knp/%d", i), func() runtime.Object { return s.nativePolicy(i) })
		add(1, fmt.Sprintf("cnp/%d", i), func() runtime.Object { return s.clusterPolicy(i) })
	}
}

// Next changes the world by one object and says how.
func (s *Stream) Next() Event {
	s.events++
	sl := s.slots[s.rng.IntN(len(s.slots))]
	old, ok := s.objects[sl.key]
	switch {
	case ok && s.chance(0.2):
		delete(s.objects, sl.key)
		return Event{Object: old, Delete: true}
	case ok && s.chance(0.1): // an update that changes nothing
		return Event{Object: old.DeepCopyObject()}
	case !ok && s.chance(0.02): // a deletion of what is not there
		return Event{Object: s.withNames(sl.make()), Delete: true}
	}
	o := s.withNames(sl.make())
	if ok && s.chance(0.5) {
		o = s.blend(old, o)
	}
	s.objects[sl.key] = o
	return Event{Object: o}
}

// Objects returns the world as it is, in a fixed order; what DNS has answered is the last.
func (s *Stream) Objects() []runtime.Object {
	keys := make([]string, 0, len(s.objects))
	for k := range s.objects {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	objects := make([]runtime.Object, 0, len(keys))
	for _, k := range keys {
		objects = append(objects, s.objects[k])
	}
	return append(objects, s.Answers())
}

// blend keeps most of an object and takes one part of another: a relabelled pod,
// a pod that finishes, a policy that changes tier, order or one rule.
func (s *Stream) blend(old, next runtime.Object) runtime.Object {
	switch o := old.DeepCopyObject().(type) {
	case *corev1.Pod:
		n := next.(*corev1.Pod)
		switch s.rng.IntN(5) {
		case 0:
			o.Labels = n.Labels
		case 1:
			o.Status.PodIPs, o.Status.PodIP = n.Status.PodIPs, n.Status.PodIP
		case 2:
			o.Status.Phase = n.Status.Phase
		case 3:
			o.Spec.NodeName, o.Spec.ServiceAccountName = n.Spec.NodeName, n.Spec.ServiceAccountName
		default:
			o.Spec.Containers = n.Spec.Containers
		}
		return o
	case *v1alpha1.GlobalNetworkPolicy:
		n := next.(*v1alpha1.GlobalNetworkPolicy)
		switch s.rng.IntN(5) {
		case 0:
			o.Spec.Tier = n.Spec.Tier
		case 1:
			o.Spec.Order = n.Spec.Order
		case 2:
			o.Spec.Selector = n.Spec.Selector
		case 3:
			o.Spec.Enforcement = n.Spec.Enforcement
		default:
			o.Spec.Ingress = n.Spec.Ingress
		}
		return o
	case *v1alpha1.NetworkPolicy:
		n := next.(*v1alpha1.NetworkPolicy)
		switch s.rng.IntN(4) {
		case 0:
			o.Spec.Tier = n.Spec.Tier
		case 1:
			o.Spec.Order = n.Spec.Order
		case 2:
			o.Spec.Selector = n.Spec.Selector
		default:
			o.Spec.Egress = n.Spec.Egress
		}
		return o
	case *v1alpha1.HostEndpoint:
		n := next.(*v1alpha1.HostEndpoint)
		if s.chance(0.5) {
			o.Labels = n.Labels
		} else {
			o.Spec.ExpectedIPs = n.Spec.ExpectedIPs
		}
		return o
	case *v1alpha1.GlobalNetworkSet:
		n := next.(*v1alpha1.GlobalNetworkSet)
		if s.chance(0.5) {
			o.Labels = n.Labels
		} else {
			o.Spec.Nets, o.Spec.AllowedEgressDomains = n.Spec.Nets, n.Spec.AllowedEgressDomains
		}
		return o
	}
	return next
}

func (s *Stream) chance(p float64) bool { return s.rng.Float64() < p }

func pick[T any](s *Stream, from ...T) T { return from[s.rng.IntN(len(from))] }

// some picks up to n of the values, each at most once.
func some[T any](s *Stream, n int, from ...T) []T {
	from = slices.Clone(from)
	s.rng.Shuffle(len(from), func(i, j int) { from[i], from[j] = from[j], from[i] })
	return from[:min(s.rng.IntN(n+1), len(from))]
}

func (s *Stream) labels(keys ...string) map[string]string {
	l := map[string]string{}
	for _, k := range keys {
		if s.chance(0.6) {
			l[k] = pick(s, "x", "y", "xy")
		}
	}
	if s.chance(0.04) { // an implicit label that is none
		l[pick(s, "tierwall.io/namespace", "tierwall.io/orchestrator", "tierwall.io/serviceaccount", "tierwall.io/name", "projectcalico.org/namespace")] =
			pick(s, "a", "web", "k8s")
	}
	return l
}

func meta(ns, name string, labels map[string]string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: ns, Name: name, Labels: labels}
}

func (s *Stream) namespace(name string) runtime.Object {
	l := s.labels("env", "app")
	if s.chance(0.7) {
		l["kubernetes.io/metadata.name"] = name
	}
	return &corev1.Namespace{ObjectMeta: meta("", name, l)}
}

func (s *Stream) account(ns string) runtime.Object {
	return &corev1.ServiceAccount{ObjectMeta: meta(ns, "web", s.labels("env", "app"))}
}

// The addresses that pods, hosts and the world outside have. Pods of different
// namespaces share one now and then.
var (
	podAddrs4 = []string{"10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.6", "10.0.0.7", "10.0.1.1", "10.0.1.2", "10.0.1.130"}
	podAddrs6 = []string{"fd00::1", "fd00::2", "fd00::3", "fd00::8", "fd00:0:0:1::1", "fd00:0:0:1::2"}
	hostAddrs = []string{"192.168.0.1", "192.168.0.2", "192.168.0.9", "fd01::1", "fd01::2"}
	outside   = []string{"203.0.113.1", "203.0.113.5", "198.51.100.1", "2001:db8::1", "2001:db8:0:1::1", "10.0.0.9", "fd00::f"}
	nets4     = []string{"0.0.0.0/0", "10.0.0.0/8", "10.0.0.0/24", "10.0.0.5/29", "10.0.0.2/31", "10.0.0.3/32", "10.0.1.0/25",
		"203.0.113.0/24", "203.0.113.4/30", "192.168.0.0/16", "192.168.0.1/32"}
	nets6 = []string{"::/0", "fd00::/16", "fd00::/64", "fd00::2/127", "fd00::8/128", "fd01::/64", "2001:db8::/32", "2001:db8:0:1::/64"}
)

func (s *Stream) pod(ns string, i int) runtime.Object {
	p := &corev1.Pod{ObjectMeta: meta(ns, fmt.Sprintf("p%d", i), s.labels("app", "role"))}
	p.Spec.NodeName = pick(s, "n0", "n0", "n1", "n1", "")
	p.Spec.ServiceAccountName = pick(s, "", "web", "db")
	p.Spec.HostNetwork = s.chance(0.05)
	p.Status.Phase = pick(s, corev1.PodRunning, corev1.PodRunning, corev1.PodRunning, corev1.PodRunning, corev1.PodPending,
		corev1.PodSucceeded, corev1.PodFailed)
	own4, own6 := podAddrs4, podAddrs6
	if !s.cfg.Shared {
		n := slices.Index(namespaces, ns)
		own4 = []string{fmt.Sprintf("10.0.%d.%d", n, i+1), fmt.Sprintf("10.0.%d.%d", n, i+130)}
		own6 = []string{fmt.Sprintf("fd00:0:0:%d::%d", n, i+1), fmt.Sprintf("fd00:0:0:%d::1%d", n, i+1)}
	}
	for _, family := range [][]string{own4, own6} {
		if s.chance(0.8) {
			p.Status.PodIPs = append(p.Status.PodIPs, corev1.PodIP{IP: pick(s, family...)})
		}
	}
	if s.cfg.Shared && s.chance(0.04) {
		p.Status.PodIPs = []corev1.PodIP{{IP: "::ffff:10.0.0.2"}} // an IPv4 address all the same
	}
	if p.Spec.HostNetwork {
		p.Status.PodIPs = []corev1.PodIP{{IP: hostAddrs[0]}}
	}
	if len(p.Status.PodIPs) > 0 && s.chance(0.5) {
		p.Status.PodIP = p.Status.PodIPs[0].IP
	}
	for _, ports := range some(s, 2, []corev1.ContainerPort{
		{Name: "http", ContainerPort: 80},
		{Name: "http", ContainerPort: 8080, Protocol: corev1.ProtocolTCP},
		{Name: "dns", ContainerPort: 53, Protocol: corev1.ProtocolUDP},
		{Name: "dns", ContainerPort: 53, Protocol: corev1.ProtocolTCP},
		{ContainerPort: 443},
	}, []corev1.ContainerPort{{Name: "http", ContainerPort: 8081}, {Name: "dns", ContainerPort: 80, Protocol: corev1.ProtocolSCTP}}) {
		p.Spec.Containers = append(p.Spec.Containers, corev1.Container{
			Name: fmt.Sprintf("c%d", len(p.Spec.Containers)), Ports: some(s, 4, ports...),
		})
	}
	return p
}

func (s *Stream) node(i int) runtime.Object {
	n := &corev1.Node{ObjectMeta: meta("", fmt.Sprintf("n%d", i), s.labels("app", "role"))}
	n.Status.Addresses = []corev1.NodeAddress{
		{Type: corev1.NodeHostName, Address: n.Name},
		{Type: corev1.NodeInternalIP, Address: hostAddrs[i]},
	}
	if s.chance(0.6) {
		n.Status.Addresses = append(n.Status.Addresses, corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: hostAddrs[3+i]})
	}
	if s.chance(0.2) {
		n.Status.Addresses = append(n.Status.Addresses, corev1.NodeAddress{Type: corev1.NodeExternalIP, Address: "192.168.0.9"})
	}
	if s.chance(0.6) {
		n.Spec.PodCIDRs = []string{fmt.Sprintf("10.0.%d.0/24", i), fmt.Sprintf("fd00:0:0:%d::/64", i)}
		n.Spec.PodCIDR = n.Spec.PodCIDRs[0]
	}
	return n
}

func (s *Stream) hostEndpoint(i int) runtime.Object {
	h := &v1alpha1.HostEndpoint{ObjectMeta: meta("", fmt.Sprintf("h%d", i), s.labels("app", "role"))}
	h.Spec.Node = pick(s, "n0", "n0", "n1", "n2")
	h.Spec.InterfaceName = pick(s, "*", "*", "*", "eth0", "eth0", "eth1", "cni0", "")
	if h.Spec.InterfaceName == "" || s.chance(0.3) {
		h.Spec.ExpectedIPs = some(s, 2, hostAddrs...)
		if s.invalid() {
			h.Spec.ExpectedIPs = append(h.Spec.ExpectedIPs, pick(s, "192.168.0.0/24", "", "192.168.0.300"))
		}
	}
	switch s.rng.IntN(4) {
	case 0:
		h.Spec.DefaultAction = ptr(v1alpha1.Allow)
	case 1:
		h.Spec.DefaultAction = ptr(v1alpha1.Deny)
	case 2:
		h.Spec.Profiles = []string{"projectcalico-default-allow"}
	}
	if s.invalid() {
		h.Spec.Profiles = pick(s, []string{"kns.default"}, []string{"kns.default", "projectcalico-default-allow"})
	}
	if s.invalid() {
		h.Spec.DefaultAction = ptr(pick(s, v1alpha1.Pass, v1alpha1.Action("allow")))
	}
	if s.chance(0.4) {
		h.Spec.Ports = []v1alpha1.EndpointPort{{Name: "http", Protocol: intstr.FromString("TCP"), Port: 81}}
	}
	return h
}

func (s *Stream) nets(n int) []string { return some(s, n, slices.Concat(nets4, nets6)...) }

func (s *Stream) globalSet(i int) runtime.Object {
	return &v1alpha1.GlobalNetworkSet{ObjectMeta: meta("", fmt.Sprintf("g%d", i), s.labels("app", "role")), Spec: s.setSpec()}
}

func (s *Stream) networkSet(ns string) runtime.Object {
	return &v1alpha1.NetworkSet{ObjectMeta: meta(ns, "set", s.labels("app", "role")), Spec: s.setSpec()}
}

func (s *Stream) setSpec() v1alpha1.NetworkSetSpec {
	nets := s.nets(4)
	if s.chance(s.cfg.Invalid) {
		nets = append(nets, pick(s, "10.0.0.0/33", "10.0.0.300/24", "", "fd00::/129"))
	}
	return v1alpha1.NetworkSetSpec{Nets: nets}
}

func (s *Stream) slice(ns string, i int) runtime.Object {
	e := &discoveryv1.EndpointSlice{ObjectMeta: meta(ns, fmt.Sprintf("s%d", i), nil), AddressType: discoveryv1.AddressTypeIPv4}
	if s.chance(0.9) {
		e.Labels = map[string]string{discoveryv1.LabelServiceName: pick(s, "svc", "svc", "other")}
	}
	addrs := slices.Concat(podAddrs4, hostAddrs[:2], outside[:2])
	if s.chance(0.3) {
		e.AddressType, addrs = discoveryv1.AddressTypeIPv6, slices.Concat(podAddrs6, outside[3:4])
	}
	if s.chance(0.05) {
		e.AddressType, addrs = discoveryv1.AddressTypeFQDN, []string{"example.org"}
	}
	for _, a := range some(s, 3, addrs...) {
		e.Endpoints = append(e.Endpoints, discoveryv1.Endpoint{Addresses: []string{a}})
	}
	e.Ports = some(s, 2,
		discoveryv1.EndpointPort{Port: ptr(int32(80))},
		discoveryv1.EndpointPort{Port: ptr(int32(53)), Protocol: ptr(corev1.ProtocolUDP)},
		discoveryv1.EndpointPort{Protocol: ptr(corev1.ProtocolSCTP)},
	)
	return e
}

func (s *Stream) tier(name string) runtime.Object {
	t := &v1alpha1.Tier{ObjectMeta: meta("", name, nil)}
	t.Spec.Order = s.order(500, 1000, 1_000_000, 20_000_000)
	switch s.rng.IntN(3) {
	case 0:
		t.Spec.DefaultAction = ptr(v1alpha1.Pass)
	case 1:
		t.Spec.DefaultAction = ptr(v1alpha1.Deny)
	}
	if s.invalid() {
		t.Spec.DefaultAction = ptr(pick(s, v1alpha1.Allow, v1alpha1.Log, v1alpha1.Action("pass")))
	}
	return t
}

func (s *Stream) order(values ...float64) *float64 {
	if s.chance(0.2) {
		return nil
	}
	return ptr(pick(s, values...))
}

// invalid is asked wherever something invalid could be put; an object has about
// ten such places, or fewer.
func (s *Stream) invalid() bool { return s.chance(s.cfg.Invalid / 10) }

func ptr[T any](v T) *T { return &v }
