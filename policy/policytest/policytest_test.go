package policytest

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/policy/convert"
	"github.com/tierwall/tierwall/policy/index"
	"github.com/tierwall/tierwall/policy/model"
)

func addrs(s ...string) []netip.Addr {
	var out []netip.Addr
	for _, a := range s {
		out = append(out, netip.MustParseAddr(a))
	}
	return out
}

// testWorld has pods of every sort, a node and a host endpoint without
// addresses of its own.
func testWorld() *World {
	ix := index.New(index.Options{})
	podRef := func(name string) model.Ref { return model.Ref{Kind: model.KindPod, Namespace: "n", Name: name} }
	ix.Upsert(&model.Endpoint{Ref: podRef("four"), Addrs: addrs("10.0.0.4")})
	ix.Upsert(&model.Endpoint{Ref: podRef("six"), Addrs: addrs("fd00::6"), Ports: []model.NamedPort{
		{Name: "http", Protocol: model.UDP, Port: 81}, {Name: "http", Protocol: model.TCP, Port: 80}}})
	ix.Upsert(&model.Endpoint{Ref: podRef("dual"), Addrs: addrs("fd00::d", "10.0.0.13")})
	ix.Upsert(&model.Node{Name: "k", Addrs: addrs("192.0.2.1")})
	ix.Upsert(&model.Node{Name: "bare"})
	ix.Upsert(&model.Endpoint{Ref: model.Ref{Kind: model.KindHostEndpoint, Name: "h"}, Node: "k",
		Host:  &model.HostEndpoint{Interface: "*", DefaultAction: model.Allow},
		Ports: []model.NamedPort{{Name: "ssh", Protocol: model.TCP, Port: 22}}})
	ix.Upsert(&model.Endpoint{Ref: model.Ref{Kind: model.KindHostEndpoint, Name: "lost"}, Node: "nowhere", Host: &model.HostEndpoint{Interface: "*"}})
	ix.Flush()
	pod := func(name string, spec corev1.PodSpec, status corev1.PodStatus) runtime.Object {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: name}, Spec: spec, Status: status}
	}
	return NewWorld(ix, []runtime.Object{
		pod("four", corev1.PodSpec{}, corev1.PodStatus{}),
		pod("done", corev1.PodSpec{}, corev1.PodStatus{Phase: corev1.PodSucceeded}),
		pod("pending", corev1.PodSpec{}, corev1.PodStatus{}),
		pod("host", corev1.PodSpec{HostNetwork: true, NodeName: "k", Containers: []corev1.Container{{Ports: []corev1.ContainerPort{{Name: "x", ContainerPort: 9}}}}}, corev1.PodStatus{}),
		pod("lost", corev1.PodSpec{HostNetwork: true}, corev1.PodStatus{}),
	}, nil)
}

func ptr[T any](v T) *T { return &v }

func number(n int32) *intstr.IntOrString { return ptr(intstr.FromInt32(n)) }
func name(s string) *intstr.IntOrString  { return ptr(intstr.FromString(s)) }

type (
	peer   = v1alpha1.PolicyTestPeer
	target = v1alpha1.PolicyTestTarget
)

func TestResolve(t *testing.T) {
	w := testWorld()
	tests := []struct {
		name string
		from peer
		to   target
		want string // the flow, or field: message of the error
	}{
		{"TCP by default", peer{Pod: "n/four"}, target{PolicyTestPeer: peer{Pod: "n/dual"}, Port: number(80)}, "TCP 10.0.0.4:49152 > 10.0.0.13:80"},
		{"IPv4 before IPv6", peer{Pod: "n/dual"}, target{PolicyTestPeer: peer{Pod: "n/dual"}, Port: number(80)}, "TCP 10.0.0.13:49152 > 10.0.0.13:80"},
		{"the family that both have", peer{Pod: "n/dual"}, target{PolicyTestPeer: peer{Pod: "n/six"}, Port: number(80)}, "TCP [fd00::d]:49152 > [fd00::6]:80"},
		{"the family that is asked for", peer{Pod: "n/dual"}, target{PolicyTestPeer: peer{Pod: "n/dual"}, Port: number(80), IPVersion: ptr(6)}, "TCP [fd00::d]:49152 > [fd00::d]:80"},
		{"named port of the protocol", peer{Pod: "n/six"}, target{PolicyTestPeer: peer{Pod: "n/six"}, Port: name("http"), Protocol: name("udp")}, "UDP [fd00::6]:49152 > [fd00::6]:81"},
		{"named port of an address", peer{Pod: "n/dual"}, target{PolicyTestPeer: peer{IP: "fd00::6"}, Port: name("http")}, "TCP [fd00::d]:49152 > [fd00::6]:80"},
		{"a number as text", peer{IP: "1.1.1.1"}, target{PolicyTestPeer: peer{IP: "::ffff:2.2.2.2"}, Port: name("80"), Protocol: number(132)}, "SCTP 1.1.1.1:49152 > 2.2.2.2:80"},
		{"source port", peer{IP: "1.1.1.1"}, target{PolicyTestPeer: peer{IP: "2.2.2.2"}, Port: number(65535), SourcePort: ptr(int32(1))}, "TCP 1.1.1.1:1 > 2.2.2.2:65535"},
		{"ping", peer{Pod: "n/dual"}, target{PolicyTestPeer: peer{Pod: "n/dual"}, Protocol: name("ICMP")}, "ICMP 10.0.0.13 > 10.0.0.13 8/0"},
		{"ping over IPv6", peer{Pod: "n/dual"}, target{PolicyTestPeer: peer{Pod: "n/dual"}, Protocol: name("ICMPv6")}, "ICMPv6 fd00::d > fd00::d 128/0"},
		{"ICMP type and code", peer{Pod: "n/dual"}, target{PolicyTestPeer: peer{Pod: "n/dual"}, Protocol: number(1), ICMPType: ptr(3), ICMPCode: ptr(4)}, "ICMP 10.0.0.13 > 10.0.0.13 3/4"},
		{"a protocol by number", peer{IP: "1.1.1.1"}, target{PolicyTestPeer: peer{IP: "2.2.2.2"}, Protocol: number(47)}, "47 1.1.1.1 > 2.2.2.2"},
		{"a node", peer{Node: "k"}, target{PolicyTestPeer: peer{Node: "k"}, Port: name("ssh")}, "TCP 192.0.2.1:49152 > 192.0.2.1:22"},
		{"a host endpoint at its node's address", peer{Pod: "n/four"}, target{PolicyTestPeer: peer{HostEndpoint: "h"}, Port: name("ssh")}, "TCP 10.0.0.4:49152 > 192.0.2.1:22"},
		{"a pod on the host's network", peer{Pod: "n/host"}, target{PolicyTestPeer: peer{Pod: "n/host"}, Port: name("x")}, "TCP 192.0.2.1:49152 > 192.0.2.1:9"},

		{"no sender", peer{}, target{PolicyTestPeer: peer{Node: "k"}, Port: number(1)}, "from: is empty: want one of pod, ip, hostEndpoint, node, or namespace or selector"},
		{"two receivers", peer{Node: "k"}, target{PolicyTestPeer: peer{Node: "k", IP: "1.1.1.1"}, Port: number(1)}, "to: has ip and node: want exactly one"},
		{"a pod without namespace", peer{Pod: "four"}, target{PolicyTestPeer: peer{Node: "k"}, Port: number(1)}, `from.pod: "four" is not namespace/name, nor kind/namespace/name of a workload`},
		{"an unknown pod", peer{Pod: "n/fuor"}, target{PolicyTestPeer: peer{Node: "k"}, Port: number(1)}, "from.pod: n/fuor: there is no such pod; did you mean n/four?"},
		{"a pod of another namespace", peer{Pod: "m/four"}, target{PolicyTestPeer: peer{Node: "k"}, Port: number(1)}, "from.pod: m/four: there is no such pod; did you mean n/four?"},
		{"a pod like no other", peer{Pod: "m/x"}, target{PolicyTestPeer: peer{Node: "k"}, Port: number(1)}, "from.pod: m/x: there is no such pod"},
		{"a finished pod", peer{Pod: "n/done"}, target{PolicyTestPeer: peer{Node: "k"}, Port: number(1)}, "from.pod: n/done: the pod has finished (phase Succeeded): it sends and receives nothing"},
		{"a pod without address", peer{Pod: "n/pending"}, target{PolicyTestPeer: peer{Node: "k"}, Port: number(1)}, "from.pod: n/pending: the pod has no address"},
		{"a host-network pod of no node", peer{Pod: "n/lost"}, target{PolicyTestPeer: peer{Node: "k"}, Port: number(1)}, "from.pod: n/lost: the pod is on the host network, and its node (none) has no address"},
		{"no address", peer{IP: "1.2.3"}, target{PolicyTestPeer: peer{Node: "k"}, Port: number(1)}, `from.ip: invalid value "1.2.3": want an IP address`},
		{"an address with a zone", peer{IP: "fe80::1%eth0"}, target{PolicyTestPeer: peer{Node: "k"}, Port: number(1)}, `from.ip: invalid value "fe80::1%eth0": want an IP address`},
		{"an unknown node", peer{Node: "x"}, target{PolicyTestPeer: peer{Node: "k"}, Port: number(1)}, "from.node: x: node not found"},
		{"a node without address", peer{Node: "bare"}, target{PolicyTestPeer: peer{Node: "k"}, Port: number(1)}, "from.node: bare: the node has no address"},
		{"an unknown host endpoint", peer{HostEndpoint: "x"}, target{PolicyTestPeer: peer{Node: "k"}, Port: number(1)}, "from.hostEndpoint: x: host endpoint not found"},
		{"a host endpoint without address", peer{HostEndpoint: "lost"}, target{PolicyTestPeer: peer{Node: "k"}, Port: number(1)}, "from.hostEndpoint: lost: neither the host endpoint nor its node has an address"},
		{"nothing in common", peer{Pod: "n/four"}, target{PolicyTestPeer: peer{Pod: "n/six"}, Port: number(1)}, "to: the two sides have no IP version in common: from 10.0.0.4, to fd00::6"},
		{"no address of the version", peer{Pod: "n/four"}, target{PolicyTestPeer: peer{Pod: "n/dual"}, Port: number(1), IPVersion: ptr(6)}, "to.ipVersion: not both sides have an IPv6 address: from 10.0.0.4, to 10.0.0.13, fd00::d"},
		{"no such version", peer{Pod: "n/four"}, target{PolicyTestPeer: peer{Pod: "n/dual"}, Port: number(1), IPVersion: ptr(5)}, "to.ipVersion: 5 is neither 4 nor 6"},
		{"ICMP without IPv4", peer{Pod: "n/six"}, target{PolicyTestPeer: peer{Pod: "n/dual"}, Protocol: name("ICMP")}, "to: the two sides have no addresses between which ICMP is possible: from fd00::6, to 10.0.0.13, fd00::d"},
		{"ICMP over IPv6", peer{Pod: "n/six"}, target{PolicyTestPeer: peer{Pod: "n/six"}, Protocol: name("ICMP"), IPVersion: ptr(6)}, "to.ipVersion: ICMP is not a protocol of IPv6"},
		{"no protocol", peer{Node: "k"}, target{PolicyTestPeer: peer{Node: "k"}, Port: number(1), Protocol: name("HTTP")}, `to.protocol: unsupported protocol "HTTP": want TCP, UDP, SCTP, ICMP, ICMPv6, UDPLite or a number 1-255`},
		{"no port", peer{Node: "k"}, target{PolicyTestPeer: peer{Node: "k"}}, "to.port: is missing: TCP needs one"},
		{"port 0", peer{Node: "k"}, target{PolicyTestPeer: peer{Node: "k"}, Port: number(0)}, "to.port: 0 is not in the range 1-65535"},
		{"port 70000", peer{Node: "k"}, target{PolicyTestPeer: peer{Node: "k"}, Port: name("70000")}, "to.port: 70000 is not in the range 1-65535"},
		{"source port 70000", peer{Node: "k"}, target{PolicyTestPeer: peer{Node: "k"}, Port: number(1), SourcePort: ptr(int32(70000))}, "to.sourcePort: 70000 is not in the range 1-65535"},
		{"an unknown port name", peer{Pod: "n/six"}, target{PolicyTestPeer: peer{Pod: "n/six"}, Port: name("https")}, `to.port: the receiver has no TCP port named "https"; it has "http" (TCP 80), "http" (UDP 81)`},
		{"a port name of nobody", peer{IP: "1.1.1.1"}, target{PolicyTestPeer: peer{IP: "1.1.1.2"}, Port: name("https")}, `to.port: the receiver has no TCP port named "https"`},
		{"ICMP with port", peer{Node: "k"}, target{PolicyTestPeer: peer{Node: "k"}, Port: number(1), Protocol: name("ICMP")}, "to.port: ICMP has no ports"},
		{"ICMP with source port", peer{Node: "k"}, target{PolicyTestPeer: peer{Node: "k"}, SourcePort: ptr(int32(1)), Protocol: name("ICMP")}, "to.sourcePort: ICMP has no ports"},
		{"TCP with ICMP type", peer{Node: "k"}, target{PolicyTestPeer: peer{Node: "k"}, Port: number(1), ICMPType: ptr(8)}, "to.icmpType: needs protocol ICMP or ICMPv6"},
		{"TCP with ICMP code", peer{Node: "k"}, target{PolicyTestPeer: peer{Node: "k"}, Port: number(1), ICMPCode: ptr(8)}, "to.icmpCode: needs protocol ICMP or ICMPv6"},
		{"ICMP type 256", peer{Node: "k"}, target{PolicyTestPeer: peer{Node: "k"}, Protocol: name("ICMP"), ICMPType: ptr(256)}, "to.icmpType: 256 is not in the range 0-255"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f, err := w.Resolve(&v1alpha1.PolicyTestCase{Name: "x", From: tt.from, To: tt.to, Expect: v1alpha1.Allow})
			got := flowText(f)
			if err != nil {
				var field *FieldError
				if !errors.As(err, &field) {
					t.Fatalf("%T", err)
				}
				got = err.Error()
			}
			if got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

func flowText(f model.Flow) string {
	s := f.Protocol.String() + " "
	if f.Protocol.HasPorts() {
		return s + netip.AddrPortFrom(f.Src, f.SrcPort).String() + " > " + netip.AddrPortFrom(f.Dst, f.DstPort).String()
	}
	s += f.Src.String() + " > " + f.Dst.String()
	if f.Protocol == model.ICMPv4 || f.Protocol == model.ICMPv6 {
		s += " " + fmt.Sprintf("%d/%d", f.ICMPType, f.ICMPCode)
	}
	return s
}

func TestValidate(t *testing.T) {
	ok := v1alpha1.PolicyTestCase{Name: "x", From: peer{Node: "k"}, To: target{PolicyTestPeer: peer{Node: "k"}}, Expect: v1alpha1.Deny}
	tests := []struct {
		name   string
		change func(*v1alpha1.PolicyTestCase)
		want   string
	}{
		{"all is well", func(*v1alpha1.PolicyTestCase) {}, ""},
		{"no name", func(c *v1alpha1.PolicyTestCase) { c.Name = "" }, "name: is missing"},
		{"two lines", func(c *v1alpha1.PolicyTestCase) { c.Name = "a\nb" }, "name: must be one line of printable text"},
		{"nothing expected", func(c *v1alpha1.PolicyTestCase) { c.Expect = "" }, "expect: is missing: want Allow or Deny"},
		{"a pass", func(c *v1alpha1.PolicyTestCase) { c.Expect = v1alpha1.Pass }, `expect: "Pass" is neither Allow nor Deny`},
		{"a policy without kind", func(c *v1alpha1.PolicyTestCase) {
			c.DecidedBy = &v1alpha1.DecidedBy{Egress: &v1alpha1.Decider{Policy: "x"}}
		}, `decidedBy.egress.policy: "x" is neither Kind/name nor Kind/namespace/name`},
		{"a negative rule", func(c *v1alpha1.PolicyTestCase) {
			c.DecidedBy = &v1alpha1.DecidedBy{Ingress: &v1alpha1.Decider{Rule: number(-1)}}
		}, `decidedBy.ingress.rule: "-1" must be an index from 0, end-of-tier or default`},
		{"a good decider", func(c *v1alpha1.PolicyTestCase) {
			c.DecidedBy = &v1alpha1.DecidedBy{Ingress: &v1alpha1.Decider{Tier: "t", Policy: "Kind/a/b", Rule: name("end-of-tier")}}
		}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := ok
			tt.change(&c)
			got := ""
			if err := validate(&c); err != nil {
				got = err.Error()
			}
			if got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestCompare(t *testing.T) {
	gnp := model.Ref{Kind: model.KindGlobalNetworkPolicy, Name: "g"}
	egress := model.Verdict{Action: model.Allow, Direction: model.Egress, Stage: model.StageWorkload, Reason: model.ReasonRule, Tier: "a", Policy: gnp, Rule: 2, RuleName: "dns"}
	ingress := model.Verdict{Action: model.Deny, Direction: model.Ingress, Stage: model.StageForward, Reason: model.ReasonEndOfTier, Tier: "b", Policy: gnp, Rule: model.RuleEndOfTier}
	denied := model.Decision{Action: model.Deny, Stages: []model.Verdict{egress, ingress}}
	half := model.Decision{Action: model.Allow, Stages: []model.Verdict{egress}}
	decider := func(tier, policy string, rule *intstr.IntOrString) *v1alpha1.Decider {
		return &v1alpha1.Decider{Tier: tier, Policy: policy, Rule: rule}
	}
	tests := []struct {
		name   string
		d      model.Decision
		expect v1alpha1.Action
		by     *v1alpha1.DecidedBy
		want   string
	}{
		{"as expected", denied, v1alpha1.Deny, nil, ""},
		{"other action", denied, v1alpha1.Allow, nil, "expected Allow, got Deny"},
		{"as expected, all of it", denied, v1alpha1.Deny, &v1alpha1.DecidedBy{Egress: decider("a", "GlobalNetworkPolicy/g", number(2)), Ingress: decider("b", "GlobalNetworkPolicy/g", name("end-of-tier"))}, ""},
		{"all differs", denied, v1alpha1.Allow, &v1alpha1.DecidedBy{Egress: decider("x", "GlobalNetworkPolicy/h", number(3)), Ingress: decider("y", "", name("default"))},
			"expected Allow, got Deny; egress tier: expected x, got a; egress policy: expected GlobalNetworkPolicy/h, got GlobalNetworkPolicy/g; egress rule: expected 3, got 2; ingress tier: expected y, got b; ingress rule: expected default, got end-of-tier"},
		{"a direction that was not evaluated", half, v1alpha1.Allow, &v1alpha1.DecidedBy{Ingress: decider("y", "", nil)}, "ingress was not evaluated"},
		{"no policy", model.Decision{Action: model.Allow, Stages: []model.Verdict{{Action: model.Allow, Direction: model.Ingress, Reason: model.ReasonDefault, Rule: model.RuleDefault}}},
			v1alpha1.Allow, &v1alpha1.DecidedBy{Ingress: decider("y", "GlobalNetworkPolicy/g", name("default"))}, "ingress tier: expected y, got none; ingress policy: expected GlobalNetworkPolicy/g, got none"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := strings.Join(Compare(&v1alpha1.PolicyTestCase{Expect: tt.expect, DecidedBy: tt.by}, &tt.d), "; ")
			if got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}

	for _, tt := range []struct {
		d    model.Decision
		want string
	}{
		{denied, "ingress (forward) tier b GlobalNetworkPolicy/g end-of-tier"},
		{half, "egress tier a GlobalNetworkPolicy/g rule 2 (dns)"},
		{model.Decision{Action: model.Allow}, "no policy applies"},
		{model.Decision{Action: model.Allow, Stages: []model.Verdict{egress, {Action: model.Allow, Direction: model.Ingress, Reason: model.ReasonDefault}}},
			"egress tier a GlobalNetworkPolicy/g rule 2 (dns); ingress default"},
		{model.Decision{Action: model.Allow, Stages: []model.Verdict{{Action: model.Allow, Direction: model.Egress, Reason: model.ReasonNoEndpoint}}}, "no policy applies"},
	} {
		if got := Describe(&tt.d); got != tt.want {
			t.Errorf("Describe: got %q, want %q", got, tt.want)
		}
	}
}

// TestNamesOfWorkloads: the name of a workload stands for a pod of it.
func TestNamesOfWorkloads(t *testing.T) {
	labels := map[string]string{"app": "web", "tier": "front"}
	deployment := func(ns string) *appsv1.Deployment {
		return &appsv1.Deployment{
			ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "web"},
			Spec:       appsv1.DeploymentSpec{Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}}},
		}
	}
	pod := func(ns, name, ip string, phase corev1.PodPhase, labels map[string]string) *corev1.Pod {
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name, Labels: labels}}
		p.Status.Phase, p.Status.PodIP = phase, ip
		return p
	}
	running := pod("q", "web-1", "10.0.0.1", corev1.PodRunning, labels)
	for _, test := range []struct {
		name, ask, want string
		objects         []runtime.Object
	}{
		{"a pod by its own name", "q/web-1", "10.0.0.1", []runtime.Object{deployment("q"), running}},
		{"a workload", "q/web", "10.0.0.1", []runtime.Object{deployment("q"), running}},
		{"a workload by its kind", "deploy/web", "10.0.0.1", []runtime.Object{deployment("q"), running}},
		{"a workload by its kind, spelled out", "Deployments/web", "10.0.0.1", []runtime.Object{deployment("q"), running}},
		{"a workload beside a finished pod of its name", "q/web", "10.0.0.1", []runtime.Object{deployment("q"), running, pod("q", "web", "", corev1.PodFailed, labels)}},
		{"a pod before a workload of its name", "q/web", "10.0.0.2", []runtime.Object{deployment("q"), running, pod("q", "web", "10.0.0.2", corev1.PodRunning, nil)}},
		{"a pod in a namespace called like a kind", "deploy/web", "10.0.0.3", []runtime.Object{deployment("q"), running, pod("deploy", "web", "10.0.0.3", corev1.PodRunning, nil)}},
		{"finished", "q/web", "from.pod: q/web: the pod has finished (phase Failed): it sends and receives nothing", []runtime.Object{pod("q", "web", "", corev1.PodFailed, labels)}},
		{"of two namespaces", "deploy/web", "from.pod: deploy/web: namespaces q and r both have a Deployment of this name; want NAMESPACE/web", []runtime.Object{deployment("q"), deployment("r"), running}},
		{"nobody", "sts/web", "from.pod: sts/web: there is no StatefulSet of this name with a running pod", []runtime.Object{deployment("q"), running}},
	} {
		ix := index.New(index.Options{})
		for _, o := range test.objects {
			if m, _, ok := convert.Object(o); ok && m != nil {
				ix.Upsert(m)
			}
		}
		ix.Flush()
		port := intstr.FromInt32(80)
		c := &v1alpha1.PolicyTestCase{Name: "x", Expect: v1alpha1.Allow, From: v1alpha1.PolicyTestPeer{Pod: test.ask}}
		c.To.IP, c.To.Port = "192.0.2.1", &port
		f, err := NewWorld(ix, test.objects, nil).Resolve(c)
		got := f.Src.String()
		if err != nil {
			got = err.Error()
		}
		if got != test.want {
			t.Errorf("%s: got %s, want %s", test.name, got, test.want)
		}
	}
}
