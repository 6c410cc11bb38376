package cyclonus

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"strconv"
	"testing"

	"github.com/mattfenwick/cyclonus/pkg/matcher"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/tierwall/tierwall/policy/convert"
	"github.com/tierwall/tierwall/policy/index"
	"github.com/tierwall/tierwall/policy/model"
	"github.com/tierwall/tierwall/policy/verdict"
	"github.com/tierwall/tierwall/test/oracle"
)

// queries a cluster of random pods and policies is asked.
const queries = 60

// TestNativePolicies asks three implementations the same questions about random
// native policies. TIERWALL_CLUSTERS sets the number of clusters, TIERWALL_SEED
// runs one alone.
func TestNativePolicies(t *testing.T) {
	clusters := number(t, "TIERWALL_CLUSTERS", 3000)
	first := uint64(1)
	if os.Getenv("TIERWALL_SEED") != "" {
		first = number(t, "TIERWALL_SEED", 1)
		clusters = 1
	}
	allowed, denied := 0, 0
	for seed := first; seed < first+clusters; seed++ {
		c := newCluster(seed)
		objects := c.objects()
		naive := oracle.New(objects)
		ix := index.New(index.Options{})
		for _, o := range objects {
			obj, problems, known := convert.Object(o)
			for _, p := range problems {
				if !p.Warning {
					t.Fatalf("seed %d: the random object is invalid: %v", seed, p)
				}
			}
			if !known || obj == nil {
				t.Fatalf("seed %d: %T takes no part", seed, o)
			}
			ix.Upsert(obj)
		}
		ix.Flush()
		third := matcher.BuildNetworkPolicies(false, c.effective())
		for range queries {
			q := c.query()
			want := third.IsTrafficAllowed(q.traffic).IsAllowed()
			byNaive, byIndex := naive.Decide(q.flow), verdict.Decide(ix, q.flow)
			if want {
				allowed++
			} else {
				denied++
			}
			if (byNaive.Action == model.Allow) != want || (byIndex.Action == model.Allow) != want {
				t.Fatalf("seed %d (TIERWALL_SEED=%d go test ./...): cyclonus allows: %v\nquery %s\nnaive %s\nindex %s\nobjects %s",
					seed, seed, want, asJSON(q.traffic), asJSON(byNaive), asJSON(byIndex), asJSON(objects))
			}
		}
	}
	t.Logf("seeds %d to %d: %d queries, %d allowed, %d denied", first, first+clusters-1, allowed+denied, allowed, denied)
	if first == 1 && clusters > 100 && (allowed < denied/10 || denied < allowed/10) {
		t.Errorf("the questions are one-sided: %d allowed, %d denied", allowed, denied)
	}
}

func number(t *testing.T, env string, def uint64) uint64 {
	text := os.Getenv(env)
	if text == "" {
		return def
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", env, err)
	}
	return n
}

func asJSON(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// cluster is pods without nodes (cyclonus knows no exemption for a pod's own node)
// and native policies with their types filled in (cyclonus has no default for them).
type cluster struct {
	rng        *rand.Rand
	namespaces []*corev1.Namespace
	pods       []*corev1.Pod
	policies   []*networkingv1.NetworkPolicy
}

func newCluster(seed uint64) *cluster {
	c := &cluster{rng: rand.New(rand.NewPCG(seed, 0x6379636c6f6e7573))}
	for i := range 3 {
		name := fmt.Sprintf("ns%d", i)
		labels := c.labels("env")
		labels[corev1.LabelMetadataName] = name
		c.namespaces = append(c.namespaces, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}})
		for j := range 1 + c.rng.IntN(3) {
			c.pods = append(c.pods, c.pod(name, i, j))
		}
	}
	for i := range 1 + c.rng.IntN(5) {
		c.policies = append(c.policies, c.policy(i))
	}
	return c
}

func (c *cluster) objects() []runtime.Object {
	var objects []runtime.Object
	for _, o := range c.namespaces {
		objects = append(objects, o)
	}
	for _, o := range c.pods {
		objects = append(objects, o)
	}
	for _, o := range c.policies {
		objects = append(objects, o)
	}
	return objects
}

// effective are the policies with policyTypes as the API server defaults them.
func (c *cluster) effective() []*networkingv1.NetworkPolicy {
	var out []*networkingv1.NetworkPolicy
	for _, p := range c.policies {
		p = p.DeepCopy()
		if len(p.Spec.PolicyTypes) == 0 {
			p.Spec.PolicyTypes = []networkingv1.PolicyType{networkingv1.PolicyTypeIngress}
			if len(p.Spec.Egress) > 0 {
				p.Spec.PolicyTypes = append(p.Spec.PolicyTypes, networkingv1.PolicyTypeEgress)
			}
		}
		out = append(out, p)
	}
	return out
}

func pick[T any](c *cluster, from ...T) T { return from[c.rng.IntN(len(from))] }

func ptr[T any](v T) *T { return &v }

// labels: every key is always there, because cyclonus' NotIn, unlike that of
// Kubernetes, does not match where the label is absent. Absence is tried with
// Exists and DoesNotExist of keys that labels() is not given.
func (c *cluster) labels(keys ...string) map[string]string {
	l := map[string]string{}
	for _, k := range keys {
		l[k] = pick(c, "x", "y", "z")
	}
	if c.rng.IntN(2) == 0 {
		l["extra"] = "x"
	}
	return l
}

func (c *cluster) pod(ns string, i, j int) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: fmt.Sprintf("p%d", j), Labels: c.labels("app", "role")}}
	// "http" and "dns" mean one port of one protocol in all the cluster, so that a
	// query, which can carry but one name, is the same question everywhere; which
	// pods have them differs.
	for _, port := range []corev1.ContainerPort{
		{Name: "http", ContainerPort: 80, Protocol: corev1.ProtocolTCP},
		{Name: "dns", ContainerPort: 53, Protocol: corev1.ProtocolUDP},
		{Name: "sig", ContainerPort: 80, Protocol: corev1.ProtocolSCTP},
	} {
		if c.rng.IntN(3) > 0 {
			p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: port.Name, Ports: []corev1.ContainerPort{port}})
		}
	}
	p.Status.Phase = corev1.PodRunning
	p.Status.PodIP = fmt.Sprintf("10.0.%d.%d", i, j+1)
	p.Status.PodIPs = []corev1.PodIP{{IP: p.Status.PodIP}, {IP: fmt.Sprintf("fd00:0:0:%d::%d", i, j+1)}}
	return p
}

// blocks with blocks strictly within them.
var blocks = []networkingv1.IPBlock{
	{CIDR: "0.0.0.0/0", Except: []string{"10.0.0.0/16", "203.0.113.0/25"}},
	{CIDR: "10.0.0.0/8", Except: []string{"10.0.1.0/24", "10.0.0.2/32"}},
	{CIDR: "10.0.0.0/30", Except: []string{"10.0.0.1/32"}},
	{CIDR: "203.0.113.0/24", Except: []string{"203.0.113.128/25", "203.0.113.64/27"}},
	{CIDR: "10.0.2.1/32"},
	{CIDR: "::/0", Except: []string{"fd00::/32"}},
	{CIDR: "fd00::/56", Except: []string{"fd00:0:0:1::/64", "fd00::1/128"}},
	{CIDR: "2001:db8::/32", Except: []string{"2001:db8:1::/48"}},
}

func (c *cluster) policy(i int) *networkingv1.NetworkPolicy {
	p := &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: fmt.Sprintf("ns%d", c.rng.IntN(3)), Name: fmt.Sprintf("np%d", i)}}
	p.Spec.PodSelector = c.selector("app", "role")
	p.Spec.PolicyTypes = pick(c, nil, []networkingv1.PolicyType{"Ingress"}, []networkingv1.PolicyType{"Egress"}, []networkingv1.PolicyType{"Ingress", "Egress"})
	for range c.rng.IntN(3) {
		p.Spec.Ingress = append(p.Spec.Ingress, networkingv1.NetworkPolicyIngressRule{From: c.peers(), Ports: c.ports()})
	}
	for range c.rng.IntN(3) {
		p.Spec.Egress = append(p.Spec.Egress, networkingv1.NetworkPolicyEgressRule{To: c.peers(), Ports: c.ports()})
	}
	return p
}

func (c *cluster) selector(keys ...string) metav1.LabelSelector {
	var s metav1.LabelSelector
	if c.rng.IntN(4) == 0 {
		return s
	}
	if c.rng.IntN(2) == 0 {
		s.MatchLabels = map[string]string{pick(c, keys...): pick(c, "x", "y")}
	}
	for range c.rng.IntN(2) {
		r := metav1.LabelSelectorRequirement{Key: pick(c, keys...), Operator: pick(c, metav1.LabelSelectorOpIn, metav1.LabelSelectorOpNotIn)}
		r.Values = pick(c, []string{"x"}, []string{"x", "y"}, []string{"z"})
		if c.rng.IntN(3) == 0 {
			r = metav1.LabelSelectorRequirement{Key: pick(c, "extra", "none"), Operator: pick(c, metav1.LabelSelectorOpExists, metav1.LabelSelectorOpDoesNotExist)}
		}
		s.MatchExpressions = append(s.MatchExpressions, r)
	}
	return s
}

func (c *cluster) peers() []networkingv1.NetworkPolicyPeer {
	var peers []networkingv1.NetworkPolicyPeer
	for range c.rng.IntN(4) {
		var p networkingv1.NetworkPolicyPeer
		if c.rng.IntN(3) == 0 {
			p.IPBlock = ptr(blocks[c.rng.IntN(len(blocks))])
			if c.rng.IntN(2) == 0 {
				p.IPBlock.Except = nil
			}
		} else {
			which := 1 + c.rng.IntN(3)
			if which&1 != 0 {
				p.PodSelector = ptr(c.selector("app", "role"))
			}
			if which&2 != 0 {
				p.NamespaceSelector = ptr(c.selector("env", corev1.LabelMetadataName))
				if c.rng.IntN(4) == 0 {
					p.NamespaceSelector.MatchLabels = map[string]string{corev1.LabelMetadataName: pick(c, "ns0", "ns1", "ns2")}
				}
			}
		}
		peers = append(peers, p)
	}
	return peers
}

func (c *cluster) ports() []networkingv1.NetworkPolicyPort {
	var ports []networkingv1.NetworkPolicyPort
	for range c.rng.IntN(4) {
		p := networkingv1.NetworkPolicyPort{Protocol: pick(c, nil, ptr(corev1.ProtocolTCP), ptr(corev1.ProtocolUDP), ptr(corev1.ProtocolSCTP))}
		switch c.rng.IntN(4) {
		case 0:
		case 1:
			p.Port = ptr(intstr.FromString(pick(c, "http", "dns", "sig")))
		case 2:
			p.Port, p.EndPort = ptr(intstr.FromInt32(79)), ptr(int32(82))
		default:
			p.Port = ptr(intstr.FromInt32(pick(c, int32(80), 53, 443)))
		}
		ports = append(ports, p)
	}
	return ports
}

// query is one question in both languages.
type query struct {
	flow    model.Flow
	traffic *matcher.Traffic
}

func (c *cluster) query() query {
	family := c.rng.IntN(2)
	src, from := c.end(family)
	dst, to := c.end(family)
	for from == to {
		dst, to = c.end(family)
	}
	proto, name := corev1.ProtocolTCP, model.TCP
	switch c.rng.IntN(4) {
	case 0:
		proto, name = corev1.ProtocolUDP, model.UDP
	case 1:
		proto, name = corev1.ProtocolSCTP, model.SCTP
	}
	port := pick(c, 80, 80, 53, 53, 443, 79, 82, 83, 78, 65535)
	return query{
		flow: model.Flow{Src: src, Dst: dst, Protocol: name, SrcPort: 40000, DstPort: uint16(port)},
		traffic: &matcher.Traffic{
			Source: c.peer(src, from), Destination: c.peer(dst, to), Protocol: proto,
			ResolvedPort: port, ResolvedPortName: portName(to, proto, port),
		},
	}
}

// end is the address of a pod, or one outside and nil.
func (c *cluster) end(family int) (netip.Addr, *corev1.Pod) {
	if c.rng.IntN(4) == 0 {
		outside := [][]string{{"203.0.113.1", "203.0.113.70", "203.0.113.200", "9.9.9.9", "10.0.7.7"}, {"2001:db8::1", "2001:db8:1::1", "fd00:0:0:9::9", "fe00::1"}}
		return netip.MustParseAddr(pick(c, outside[family]...)), nil
	}
	p := c.pods[c.rng.IntN(len(c.pods))]
	return netip.MustParseAddr(p.Status.PodIPs[family].IP), p
}

func (c *cluster) peer(a netip.Addr, p *corev1.Pod) *matcher.TrafficPeer {
	peer := &matcher.TrafficPeer{IP: a.String()}
	if p == nil {
		return peer
	}
	for _, ns := range c.namespaces {
		if ns.Name == p.Namespace {
			peer.Internal = &matcher.InternalPeer{PodLabels: p.Labels, NamespaceLabels: ns.Labels, Namespace: ns.Name}
		}
	}
	return peer
}

// portName is the name that the destination pod gives the port, if it has one.
func portName(p *corev1.Pod, proto corev1.Protocol, port int) string {
	if p == nil {
		return ""
	}
	for _, container := range p.Spec.Containers {
		for _, cp := range container.Ports {
			if int(cp.ContainerPort) == port && cp.Protocol == proto {
				return cp.Name
			}
		}
	}
	return ""
}
