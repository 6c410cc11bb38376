package convert

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clusterv1alpha2 "sigs.k8s.io/network-policy-api/apis/v1alpha2"
	"sigs.k8s.io/yaml"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/policy/model"
)

// newObject makes an empty object of every kind that the package converts, by
// the name of the kind in model.
var newObject = map[model.Kind]func() runtime.Object{
	model.KindPod:                   func() runtime.Object { return &corev1.Pod{} },
	model.KindNamespace:             func() runtime.Object { return &corev1.Namespace{} },
	model.KindNode:                  func() runtime.Object { return &corev1.Node{} },
	model.KindServiceAccount:        func() runtime.Object { return &corev1.ServiceAccount{} },
	model.KindService:               func() runtime.Object { return &corev1.Service{} },
	model.KindEndpointSlice:         func() runtime.Object { return &discoveryv1.EndpointSlice{} },
	model.KindNetworkPolicy:         func() runtime.Object { return &networkingv1.NetworkPolicy{} },
	model.KindClusterNetworkPolicy:  func() runtime.Object { return &clusterv1alpha2.ClusterNetworkPolicy{} },
	model.KindTier:                  func() runtime.Object { return &v1alpha1.Tier{} },
	model.KindGlobalNetworkPolicy:   func() runtime.Object { return &v1alpha1.GlobalNetworkPolicy{} },
	model.KindTierwallNetworkPolicy: func() runtime.Object { return &v1alpha1.NetworkPolicy{} },
	model.KindGlobalNetworkSet:      func() runtime.Object { return &v1alpha1.GlobalNetworkSet{} },
	model.KindNetworkSet:            func() runtime.Object { return &v1alpha1.NetworkSet{} },
	model.KindHostEndpoint:          func() runtime.Object { return &v1alpha1.HostEndpoint{} },
	model.KindTierwall:              func() runtime.Object { return &v1alpha1.Tierwall{} },
	model.KindNodeLinks:             func() runtime.Object { return &v1alpha1.NodeReport{} },
}

// namespacedKinds get a namespace from read if the text gives none.
var namespacedKinds = []model.Kind{
	model.KindPod, model.KindServiceAccount, model.KindService, model.KindEndpointSlice,
	model.KindNetworkPolicy, model.KindTierwallNetworkPolicy, model.KindNetworkSet,
}

// read makes an object of a kind from YAML. Without metadata in the text, the
// object is called x, in namespace shop if its kind has one.
func read(t *testing.T, kind model.Kind, text string) runtime.Object {
	t.Helper()
	o := newObject[kind]()
	if err := yaml.UnmarshalStrict([]byte(text), o); err != nil {
		t.Fatalf("test input: %v\n%s", err, text)
	}
	if m := o.(metav1.Object); !strings.Contains("\n"+text, "\nmetadata:") {
		m.SetName("x")
		if slices.Contains(namespacedKinds, kind) {
			m.SetNamespace("shop")
		}
	}
	return o
}

// example is one conversion: the object as YAML, what describe says of the
// result, and the problems as "field: message", warnings after "warning: ".
type example struct {
	name, in string
	want     string
	problems []string
}

func runExamples(t *testing.T, kind model.Kind, examples []example) {
	t.Helper()
	seen := map[string]bool{}
	for _, ex := range examples {
		if seen[ex.name] {
			t.Errorf("two examples are called %q", ex.name)
		}
		seen[ex.name] = true
		t.Run(ex.name, func(t *testing.T) {
			o := read(t, kind, ex.in)
			ref, ok := RefOf(o)
			if !ok || ref.Kind != kind {
				t.Fatalf("RefOf = %v, %v", ref, ok)
			}
			obj, problems, known := Object(o)
			if !known {
				t.Fatal("the kind is not known")
			}
			if obj != nil && obj.Key() != ref {
				t.Errorf("key of the result is %v, RefOf says %v", obj.Key(), ref)
			}
			if got, want := describe(obj), trim(ex.want); got != want {
				t.Errorf("got\n%s\nwant\n%s", indent(got), indent(want))
			}
			got := describeProblems(problems)
			if !slices.Equal(got, ex.problems) {
				t.Errorf("problems:\n%s\nwant\n%s", indent(strings.Join(got, "\n")), indent(strings.Join(ex.problems, "\n")))
			}
			for _, p := range problems {
				if p.Object != ref {
					t.Errorf("problem names %v, not %v", p.Object, ref)
				}
			}
			if p, ok := obj.(*model.Policy); ok && !slices.Equal(p.Problems, problems) {
				t.Errorf("Policy.Problems = %v, want %v", p.Problems, problems)
			}
		})
	}
}

// trim removes the indentation that examples have in the source.
func trim(s string) string {
	var out []string
	for line := range strings.Lines(s) {
		if line = strings.TrimSpace(line); line != "" {
			out = append(out, line)
		}
	}
	return strings.Join(out, "\n")
}

func indent(s string) string {
	if s == "" {
		return "    (nothing)"
	}
	return "    " + strings.ReplaceAll(s, "\n", "\n    ")
}

func describeProblems(problems []model.Problem) []string {
	var out []string
	for _, p := range problems {
		s := p.Message
		if p.Field != "" {
			s = p.Field + ": " + s
		}
		if p.Warning {
			s = "warning: " + s
		}
		out = append(out, s)
	}
	return out
}

// describe says all that is in a converted object, in a form that examples
// can state: one line for the object, one for each rule of a policy.
func describe(o model.Object) string {
	var f fields
	switch o := o.(type) {
	case nil:
		return "nothing"
	case *model.Endpoint:
		f.add("node", o.Node)
		f.add("labels", describeLabels(o.Labels))
		f.add("account", o.ServiceAccount)
		f.add("addrs", join(o.Addrs))
		for _, p := range o.Ports {
			f.add("port", fmt.Sprintf("%s=%s/%d", p.Name, p.Protocol, p.Port))
		}
		if o.Host != nil {
			f.add("interface", o.Host.Interface)
			f.add("default", o.Host.DefaultAction.String())
		}
	case *model.NetworkSet:
		f.add("labels", describeLabels(o.Labels))
		f.add("nets", join(o.Nets))
		f.add("domains", join(o.Domains))
	case *model.Namespace:
		f.add("labels", describeLabels(o.Labels))
	case *model.ServiceAccount:
		f.add("labels", describeLabels(o.Labels))
	case *model.ServiceSlice:
		f.add("service", o.Service)
		f.add("addrs", join(o.Addrs))
		for _, p := range o.Ports {
			f.add("port", fmt.Sprintf("%s/%d", p.Protocol, p.Port))
		}
	case *model.Node:
		f.add("labels", describeLabels(o.Labels))
		f.add("addrs", join(o.Addrs))
		f.add("podCIDRs", join(o.PodCIDRs))
	case *model.Links:
		for _, a := range o.Addrs {
			f.add("addr", a.Addr.String()+"="+a.Interface)
		}
		for _, r := range o.Routes {
			f.add("route", r.Net.String()+"="+r.Interface)
		}
		for _, t := range o.Tunnels {
			f.add("tunnel", fmt.Sprintf("%s=%s/%d", t.Interface, t.Protocol, t.Port))
		}
	case *model.Tier:
		f.add("order", fmt.Sprint(o.Order))
		f.add("default", o.DefaultAction.String())
	case *model.Settings:
		return describeSettings(o)
	case *model.Policy:
		return describePolicy(o)
	}
	return strings.Join(f, " ")
}

type fields []string

func (f *fields) add(name, value string) {
	if value != "" {
		*f = append(*f, name+" "+value)
	}
}

func join[T fmt.Stringer](items []T) string {
	var out []string
	for _, it := range items {
		out = append(out, it.String())
	}
	return strings.Join(out, ",")
}

func describeLabels(m map[string]string) string {
	var out []string
	for k, v := range m {
		out = append(out, k+"="+v)
	}
	slices.Sort(out)
	return strings.Join(out, ",")
}

func describeSettings(s *model.Settings) string {
	var f fields
	ports := func(name string, list []model.FailsafePort) {
		for _, p := range list {
			text := fmt.Sprintf("%s/%d", p.Protocol, p.Port)
			if p.Net != (netip.Prefix{}) {
				text += "@" + p.Net.String()
			}
			f.add(name, text)
		}
	}
	ports("in", s.FailsafeInbound)
	ports("out", s.FailsafeOutbound)
	f.add("toHost", [...]string{"Accept", "Drop", "Return"}[s.EndpointToHost])
	f.add("unknown", s.UnknownWorkloads.String())
	if s.AutoHostEndpoints {
		f.add("auto", "true")
	}
	for _, n := range model.GuardNames {
		if g := s.Guards.Of(n); g != model.GuardEnforce {
			f.add(string(n), g.String())
		}
	}
	if s.Guards.NoTunnelFailsafe {
		f.add("tunnels", "closed")
	}
	if d := s.DNS; !d.Same(model.DefaultDNS()) {
		f.add("dns", fmt.Sprintf("%v %s %s %s %d %d %d %v %v", d.TrustedServers, d.ExtraTTL, d.MinTTL, d.MaxTTL, d.MaxAddressesPerName, d.MaxNamesPerWildcard, d.MaxNames, d.ObserveOnly, d.TakeInternal))
	}
	if s.Flows != model.DefaultFlows() {
		f.add("flows", fmt.Sprintf("%v %v %s %q %d %q %d", s.Flows.On, s.Flows.Stdout, s.Flows.Keep, s.Flows.Path, s.Flows.MaxBytes, s.Flows.OTLPEndpoint, len(s.Flows.OTLPAuthorities)))
	}
	if s.Marks != 0 {
		f.add("marks", fmt.Sprintf("%#x", s.Marks))
	}
	if s.Logging.RatePerRule != 10 {
		f.add("lines", fmt.Sprint(s.Logging.RatePerRule))
	}
	if s.Logging.Text {
		f.add("format", "text")
	}
	return strings.Join(f, " ")
}

func describePolicy(p *model.Policy) string {
	head := fields{p.Tier, fmt.Sprint(p.Order)}
	for _, v := range []struct {
		name string
		set  bool
	}{
		{"ingress", p.Ingress},
		{"egress", p.Egress},
		{"audit", p.Audit},
		{"doNotTrack", p.DoNotTrack},
		{"preDNAT", p.PreDNAT},
		{"applyOnForward", p.ApplyOnForward},
	} {
		if v.set {
			head = append(head, v.name)
		}
	}
	if p.Generation != 0 {
		head.add("generation", fmt.Sprint(p.Generation))
	}
	lines := []string{strings.Join(head, " "), "selects " + p.Selector.String()}
	for _, r := range p.IngressRules {
		lines = append(lines, "ingress "+describeRule(r))
	}
	for _, r := range p.EgressRules {
		lines = append(lines, "egress "+describeRule(r))
	}
	return strings.Join(lines, "\n")
}

func describeRule(r model.Rule) string {
	f := fields{fmt.Sprint(r.Index)}
	if r.Name != "" {
		f = append(f, r.Name)
	}
	f = append(f, r.Action.String())
	if r.Annotations != nil {
		f.add("annotated", describeLabels(r.Annotations))
	}
	m := r.Match
	if m.Never {
		f = append(f, "never")
	}
	if m.IPVersion != 0 {
		f.add("ip", fmt.Sprint(m.IPVersion))
	}
	if m.Protocol != 0 {
		f = append(f, m.Protocol.String())
	}
	if m.NotProtocol != 0 {
		f.add("not", m.NotProtocol.String())
	}
	icmp := func(name string, i *model.ICMP) {
		if i == nil {
			return
		}
		s := fmt.Sprint(i.Type)
		if i.Code != nil {
			s += fmt.Sprintf("/%d", *i.Code)
		}
		f.add(name, s)
	}
	icmp("icmp", m.ICMP)
	icmp("not icmp", m.NotICMP)
	peer := func(name string, p model.Peer) {
		var q fields
		q.add("nets", join(p.Nets))
		q.add("notNets", join(p.NotNets))
		if p.Selector != nil {
			q = append(q, p.Selector.String())
		}
		if p.NotSelector != nil {
			q.add("not", "("+p.NotSelector.String()+")")
		}
		if p.Service != (model.ServiceRef{}) {
			q.add("service", p.Service.Namespace+"/"+p.Service.Name)
		}
		if p.ServicePorts {
			q = append(q, "with ports")
		}
		q.add("domains", join(p.Domains))
		q.add("ports", describePorts(p.Ports))
		q.add("notPorts", describePorts(p.NotPorts))
		if q != nil {
			f = append(f, name+"["+strings.Join(q, "; ")+"]")
		}
	}
	peer("from", m.Source)
	peer("to", m.Destination)
	return strings.Join(f, " ")
}

func describePorts(ports []model.Port) string {
	var out []string
	for _, p := range ports {
		switch {
		case p.Name != "":
			out = append(out, p.Name)
		case p.First == p.Last:
			out = append(out, fmt.Sprint(p.First))
		default:
			out = append(out, fmt.Sprintf("%d:%d", p.First, p.Last))
		}
	}
	return strings.Join(out, ",")
}
