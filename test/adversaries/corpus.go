package adversaries

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/tierwall/tierwall/api/v1alpha1"
)

// Namespace is the adversary's.
const Namespace = "evil"

// World is what an adversary writes.
type World struct {
	Name string
	// Owned are objects of the cluster's owner, which are there before; nil: none.
	Owned []client.Object
	// Objects are the tenant's. Pods have their address in their status, which a client
	// writes apart.
	Objects []client.Object
}

// Corpus returns the worlds for a node of a name, with all their numbers divided by part:
// 1 is all of it. Every pod's address is in 10.66.0.0/16.
func Corpus(node string, part int) []World {
	n := func(full int) int { return max(full/part, 2) }
	return []World{
		{Name: "grid of 500 rules over 500 sets", Objects: grid(n(500), n(500))},
		{Name: "grid of 1,024 rules over 1,000 addresses", Objects: grid(n(1024), n(1000))},
		{Name: "grid of 1,024 rules over 2,000 addresses", Objects: grid(n(1024), n(2000))},
		{Name: "grid within the budget", Objects: smallGrid(n(90))},
		{Name: "a native policy of 1.4 MB", Objects: []client.Object{large(1_400_000 / part)}},
		{Name: "300 policies of 500 rules", Objects: many(n(300), n(500))},
		{Name: "blocks × ports within the budget", Objects: []client.Object{blocksByPorts("wide", 1, n(4900), n(4900)), blocksByPorts("tall", n(64), 8, 8)}},
		{Name: "prefixes that overlap", Objects: []client.Object{nested(n(1500))}},
		{Name: "Pass through 24 tiers", Owned: tiers(24), Objects: subsets(node, n(400), 24)},
		{Name: "pods of 50 labels", Objects: labelled(node, n(500))},
		{Name: "EndpointSlices", Objects: endpoints(n(60), n(1000))},
		{Name: "NetworkSets of the largest size", Objects: sets(n(6), n(50_000))},
	}
}

func in(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: Namespace, Name: name}
}

// address is the i-th of a block of 2^24.
func address(i int) string { return fmt.Sprintf("198.%d.%d.%d", i>>16&255, i>>8&255, i&255) }

func port(n int) *intstr.IntOrString { return new(intstr.FromInt(1 + n%65_535)) }

// grid is a policy of rules of a set each, and sets of two in five of so many addresses,
// so that nearly every address is in sets of its own.
func grid(rules, addresses int) []client.Object {
	return gridOf(rules, func(i int) (nets []string) {
		for a := range addresses {
			if (a*7+i*13+a*i)%5 < 2 {
				nets = append(nets, address(a))
			}
		}
		return nets
	})
}

// smallGrid is a grid that fits into a namespace's budget.
func smallGrid(rules int) []client.Object {
	return gridOf(rules, func(i int) (nets []string) {
		for a := range 100 {
			nets = append(nets, address(i*31+a*7))
		}
		return nets
	})
}

func gridOf(rules int, nets func(i int) []string) (out []client.Object) {
	tcp := intstr.FromString("TCP")
	p := &v1alpha1.NetworkPolicy{ObjectMeta: in("grid"), Spec: v1alpha1.NetworkPolicySpec{Types: []v1alpha1.PolicyType{v1alpha1.PolicyTypeIngress}}}
	for i := range rules {
		s := &v1alpha1.NetworkSet{ObjectMeta: in(fmt.Sprint("set-", i))}
		s.Labels = map[string]string{"set": fmt.Sprint(i)}
		s.Spec.Nets = nets(i)
		out = append(out, s)
		p.Spec.Ingress = append(p.Spec.Ingress, v1alpha1.Rule{
			Action: v1alpha1.Allow, Protocol: &tcp, Source: v1alpha1.EntityRule{Selector: fmt.Sprintf("set == '%d'", i)},
			Destination: v1alpha1.EntityRule{Ports: []intstr.IntOrString{*port(i)}},
		})
	}
	return append(out, p)
}

// large is one native policy of so many bytes as they are stored.
func large(bytes int) *networkingv1.NetworkPolicy {
	p := &networkingv1.NetworkPolicy{ObjectMeta: in("large")}
	p.Spec.Ingress = make([]networkingv1.NetworkPolicyIngressRule, 1)
	rule := &p.Spec.Ingress[0]
	for i := range 2000 {
		rule.Ports = append(rule.Ports, networkingv1.NetworkPolicyPort{Port: port(i * 2)})
	}
	for i, size := 0, p.Size(); size < bytes; i++ {
		peer := networkingv1.NetworkPolicyPeer{IPBlock: &networkingv1.IPBlock{CIDR: address(i*2) + "/32"}}
		size += peer.Size() + 3
		rule.From = append(rule.From, peer)
	}
	return p
}

// many are native policies of rules of a block and a port of their own.
func many(policies, rules int) (out []client.Object) {
	for i := range policies {
		p := &networkingv1.NetworkPolicy{ObjectMeta: in(fmt.Sprint("p-", i))}
		for r := range rules {
			p.Spec.Ingress = append(p.Spec.Ingress, networkingv1.NetworkPolicyIngressRule{
				From:  []networkingv1.NetworkPolicyPeer{{IPBlock: &networkingv1.IPBlock{CIDR: fmt.Sprintf("198.%d.%d.0/24", r>>8, (i+r)&255)}}},
				Ports: []networkingv1.NetworkPolicyPort{{Port: port(i*rules + r)}},
			})
		}
		out = append(out, p)
	}
	return out
}

// blocksByPorts is a native policy in which each of the blocks of a rule goes with each of
// its ports. Rules share half of their blocks with the next.
func blocksByPorts(name string, rules, blocks, ports int) *networkingv1.NetworkPolicy {
	p := &networkingv1.NetworkPolicy{ObjectMeta: in(name)}
	for r := range rules {
		var rule networkingv1.NetworkPolicyIngressRule
		for b := range blocks {
			rule.From = append(rule.From, networkingv1.NetworkPolicyPeer{IPBlock: &networkingv1.IPBlock{CIDR: address((r*blocks/2+b)*4) + "/31"}})
		}
		for t := range ports {
			rule.Ports = append(rule.Ports, networkingv1.NetworkPolicyPort{Port: port((r*ports/2 + t) * 2)})
		}
		p.Spec.Ingress = append(p.Spec.Ingress, rule)
	}
	return p
}

// nested is a native policy of rules of a block each, the blocks within one another 24 deep,
// with an exception and a port of their own.
func nested(rules int) *networkingv1.NetworkPolicy {
	p := &networkingv1.NetworkPolicy{ObjectMeta: in("nested")}
	for r := range rules {
		length, path := 8+r%23, r/23*40_503
		p.Spec.Ingress = append(p.Spec.Ingress, networkingv1.NetworkPolicyIngressRule{
			From: []networkingv1.NetworkPolicyPeer{{IPBlock: &networkingv1.IPBlock{
				CIDR: masked(path, length), Except: []string{masked(path, length+2)},
			}}},
			Ports: []networkingv1.NetworkPolicyPort{{Port: port(r * 3)}},
		})
	}
	return p
}

// masked is a block of 198.0.0.0/8 around an address.
func masked(i, length int) string {
	keep := i &^ (1<<(32-length) - 1)
	return fmt.Sprintf("198.%d.%d.%d/%d", keep>>16&255, keep>>8&255, keep&255, length)
}

// tiers are tiers of the cluster's owner, each with a policy that asks for a label and
// passes what comes from pods with it, port by port.
func tiers(n int) (out []client.Object) {
	tcp := intstr.FromString("TCP")
	for t := range n {
		name := fmt.Sprint("adversary-", t)
		out = append(out, &v1alpha1.Tier{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1alpha1.TierSpec{Order: new(float64(t + 1)), DefaultAction: new(v1alpha1.Pass)}})
		g := &v1alpha1.GlobalNetworkPolicy{ObjectMeta: metav1.ObjectMeta{Name: name}}
		g.Spec.Tier, g.Spec.Selector = name, fmt.Sprintf("has(t%d)", t)
		g.Spec.Types = []v1alpha1.PolicyType{v1alpha1.PolicyTypeIngress, v1alpha1.PolicyTypeEgress}
		for i := range 12 {
			g.Spec.Ingress = append(g.Spec.Ingress, v1alpha1.Rule{
				Action: v1alpha1.Pass, Protocol: &tcp, Source: v1alpha1.EntityRule{Selector: fmt.Sprintf("has(t%d)", (t+i)%n)},
				Destination: v1alpha1.EntityRule{Ports: []intstr.IntOrString{*port(100*t + i)}},
			})
		}
		g.Spec.Egress = []v1alpha1.Rule{{Action: v1alpha1.Pass}}
		out = append(out, g)
	}
	return out
}

// subsets are pods of which each has labels of its own choice of the tiers'.
func subsets(node string, pods, tiers int) (out []client.Object) {
	for i := range pods {
		p := pod(node, i)
		for t := range tiers {
			if (i*2_654_435_761>>t)&1 == 1 {
				p.Labels[fmt.Sprint("t", t)] = "x"
			}
		}
		out = append(out, p)
	}
	return out
}

// labelled are pods of 50 labels each that no other has, and a policy of its own for each.
func labelled(node string, pods int) (out []client.Object) {
	for i := range pods {
		p := pod(node, i)
		for l := range 49 {
			p.Labels[fmt.Sprintf("l%d-%d", i, l)] = fmt.Sprint("value-", i*l)
		}
		np := blocksByPorts(fmt.Sprint("own-", i), 2, 2, 2)
		np.Spec.PodSelector.MatchLabels = map[string]string{fmt.Sprintf("l%d-1", i): fmt.Sprint("value-", i)}
		out = append(out, p, np)
	}
	return out
}

func pod(node string, i int) *corev1.Pod {
	ip := fmt.Sprintf("10.66.%d.%d", 1+i>>8, i&255)
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: Namespace, Name: fmt.Sprint("pod-", i), Labels: map[string]string{"app": fmt.Sprint("app-", i)}},
		Spec:       corev1.PodSpec{NodeName: node, Containers: []corev1.Container{{Name: "c", Image: "i"}}},
		Status:     corev1.PodStatus{Phase: corev1.PodRunning, PodIP: ip, PodIPs: []corev1.PodIP{{IP: ip}}},
	}
}

// endpoints are slices of so many addresses each, half of them behind one Service, and a
// policy whose rules name the Services.
func endpoints(count, size int) (out []client.Object) {
	tnp := &v1alpha1.NetworkPolicy{ObjectMeta: in("services"), Spec: v1alpha1.NetworkPolicySpec{Types: []v1alpha1.PolicyType{v1alpha1.PolicyTypeEgress}}}
	for i := range count {
		service := fmt.Sprint("service-", i%(count/2+1))
		s := &discoveryv1.EndpointSlice{ObjectMeta: in(fmt.Sprint("slice-", i)), AddressType: discoveryv1.AddressTypeIPv4}
		s.Labels = map[string]string{discoveryv1.LabelServiceName: service}
		s.Ports = []discoveryv1.EndpointPort{{Name: new("http"), Port: new(int32(1000 + i)), Protocol: new(corev1.ProtocolTCP)}}
		for e := range size {
			s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{Addresses: []string{address(i*size/2 + e)}})
		}
		out = append(out, s)
		if i < count/2+1 {
			tnp.Spec.Egress = append(tnp.Spec.Egress, v1alpha1.Rule{Action: v1alpha1.Allow, Destination: v1alpha1.EntityRule{Services: &v1alpha1.ServiceMatch{Name: service, Namespace: Namespace}}})
		}
	}
	return append(out, tnp)
}

// sets are NetworkSets of so many addresses each that overlap by half, and a policy that
// uses all of them.
func sets(count, size int) (out []client.Object) {
	p := &v1alpha1.NetworkPolicy{ObjectMeta: in("sets"), Spec: v1alpha1.NetworkPolicySpec{Types: []v1alpha1.PolicyType{v1alpha1.PolicyTypeIngress}}}
	for i := range count {
		s := &v1alpha1.NetworkSet{ObjectMeta: in(fmt.Sprint("large-", i))}
		s.Labels = map[string]string{"set": fmt.Sprint(i)}
		for a := range size {
			s.Spec.Nets = append(s.Spec.Nets, address((i*size/2+a)*2))
		}
		out = append(out, s)
		p.Spec.Ingress = append(p.Spec.Ingress, v1alpha1.Rule{Action: v1alpha1.Allow, Source: v1alpha1.EntityRule{Selector: fmt.Sprintf("set == '%d'", i)}})
	}
	return append(out, p)
}

// Alter changes an object a little, differently each time, as a tenant would who keeps a
// node busy.
func Alter(o client.Object, time int) {
	switch o := o.(type) {
	case *networkingv1.NetworkPolicy:
		if rules := o.Spec.Ingress; len(rules) > 0 {
			rules[0].Ports = append(rules[0].Ports[:0:0], networkingv1.NetworkPolicyPort{Port: port(30_000 + time)})
		}
	case *v1alpha1.NetworkPolicy:
		o.Spec.Order = new(float64(time % 1000))
	case *v1alpha1.NetworkSet:
		if len(o.Spec.Nets) > 0 {
			o.Spec.Nets[0] = fmt.Sprintf("203.0.113.%d", time&255)
		}
	case *discoveryv1.EndpointSlice:
		if len(o.Endpoints) > 0 {
			o.Endpoints[0].Addresses = []string{fmt.Sprintf("203.0.113.%d", time&255)}
		}
	default:
		l := o.GetLabels()
		if l == nil {
			l = map[string]string{}
		}
		l["turn"] = fmt.Sprint(time)
		o.SetLabels(l)
	}
}
