package convert

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clusterv1alpha2 "sigs.k8s.io/network-policy-api/apis/v1alpha2"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/policy/model"
)

// seeds have every field of every kind at least once, most of them valid.
var seeds = []string{
	`{}`,
	`{"metadata":{"name":"x","namespace":"shop","labels":{":kind":"node","a":"b","tierwall.io/namespace":"c"}},"status":{"podIP":"10.0.0.1"}}`,
	`{"spec":{"containers":[{"ports":[{"name":"a","containerPort":1}]}]},"status":{"podIPs":[{"ip":"10.0.0.1"},{"ip":"x"}]}}`,
	`{"spec":{"podCIDRs":["10.0.0.0/24"]},"status":{"addresses":[{"type":"InternalIP","address":"10.0.0.1"}]}}`,
	`{"metadata":{"annotations":{"projectcalico.org/IPv4Address":"10.0.0.1/24","network.cilium.io/ipv4-health-ip":"10.0.0.2","flannel.alpha.coreos.com/public-ip":"x"}}}`,
	`{"metadata":{"name":"n"},"report":{"links":{"addresses":[{"address":"10.0.0.1","interface":"eth0"},{"address":"fd00::1","interface":"cni0","leadsToPods":true}],"routes":[{"net":"0.0.0.0/0","interface":"eth0"}],"tunnels":[{"interface":"t","protocol":"UDP","port":4789},{"interface":"t","protocol":"4"}]}}}`,
	`{"metadata":{"labels":{"kubernetes.io/service-name":"a"}},"addressType":"IPv4","endpoints":[{"addresses":["10.0.0.1"]}],"ports":[{"port":80},{}]}`,
	`{"spec":{"podSelector":{"matchLabels":{"a":"b"}},"policyTypes":["Egress"],"egress":[{"to":[{"ipBlock":{"cidr":"0.0.0.0/0","except":["10.0.0.0/8"]}},{"namespaceSelector":{}}],"ports":[{"port":80,"endPort":81,"protocol":"UDP"},{"port":"http"}]}]}}`,
	`{"spec":{"ingress":[{"from":[{"ipBlock":{"cidr":"10.0.0.0/8","except":["x"]}}]},{}]}}`,
	`{"spec":{"tier":"Admin","priority":5,"subject":{"namespaces":{}},"ingress":[{"name":"a","action":"Accept","from":[{"namespaces":{}}],"protocols":[{"tcp":{"destinationPort":{"number":80}}}]}],"egress":[{"action":"Pass","to":[{"networks":["10.0.0.0/8","fd00::/8"]},{"nodes":{}},{"domainNames":["a.b"]}]}]}}`,
	`{"spec":{"tier":"a","order":1.5,"selector":"a == 'b'","namespaceSelector":"global()","serviceAccountSelector":"has(c)","types":["Ingress"],"enforcement":"Audit","applyOnForward":true,"ingress":[{"action":"Allow","protocol":"TCP","source":{"nets":["10.0.0.0/8"],"notNets":["10.1.0.0/16"],"selector":"a == 'b'","notSelector":"c != 'd'","namespaceSelector":"all()","serviceAccounts":{"names":["a"],"selector":"b == 'c'"}},"destination":{"ports":[80,"1:2","http"],"notPorts":[81]}}]}}`,
	`{"spec":{"selector":"a ==","serviceAccountSelector":"a = 'b'","ingress":[{"action":"Pass","protocol":"UDP"},{"action":"Allow","protocol":"UDP"}]}}`,
	`{"spec":{"doNotTrack":true,"applyOnForward":true,"ingress":[{"action":"Allow","protocol":"UDP"}],"egress":[{"action":"Pass"}]}}`,
	`{"spec":{"preDNAT":true,"doNotTrack":false,"applyOnForward":true,"ingress":[{"action":"Allow","protocol":"UDP"}]}}`,
	`{"spec":{"egress":[{"action":"Pass","destination":{"services":{"name":"a","namespace":"b"}}},{"action":"Deny","protocol":"ICMP","icmp":{"type":8,"code":0},"notICMP":{"type":1},"ipVersion":4},{"action":"Log","http":{},"source":{"domains":["a"]}}]}}`,
	`{"spec":{"nets":["10.0.0.0/8","::ffff:10.0.0.0/100","x"],"allowedEgressDomains":["a"]}}`,
	`{"spec":{"node":"n","interfaceName":"*","expectedIPs":["10.0.0.1"],"profiles":["a"],"ports":[{"name":"a","protocol":"TCP","port":1}],"defaultAction":"Allow"}}`,
	`{"metadata":{"name":"default"},"spec":{"sourceGuard":"Count","linkGuard":"Auto","marks":"0x30000000","failsafe":{"tunnels":false}},"status":{"guards":"Count"}}`,
	`{"metadata":{"name":"default"},"spec":{"order":1,"defaultAction":"Pass","failsafe":{"inbound":[{"port":1,"net":"10.0.0.0/8"}],"outbound":[]},"endpointToHostAction":"Drop","unknownWorkloads":"Allow"}}`,
}

// FuzzConvert decodes arbitrary JSON into every kind and holds the result
// against the promises of the package. What a decoder leaves in an object
// before it fails is an input like any other.
func FuzzConvert(f *testing.F) {
	for _, seed := range seeds {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		checkConversions(t, data)
	})
}

// TestCorruptedObjects replaces every value of every seed, one at a time, by
// what does not belong there.
func TestCorruptedObjects(t *testing.T) {
	garbage := []any{nil, "", " ", "x y", "-", "0", "a:b", "10.0.0.0/33", "fd00::/8", -1, 0, 70000, 1.5, true, []any{}, []any{nil}, []any{"x y"}, map[string]any{}, map[string]any{"x y": "x y"}}
	for _, seed := range seeds {
		var tree any
		if err := json.Unmarshal([]byte(seed), &tree); err != nil {
			t.Fatalf("seed %s: %v", seed, err)
		}
		try := func() {
			data, err := json.Marshal(tree)
			if err != nil {
				t.Fatal(err)
			}
			checkConversions(t, data)
			if t.Failed() {
				t.Fatalf("for %s", data)
			}
		}
		var walk func(v any, set func(any))
		walk = func(v any, set func(any)) {
			for _, g := range garbage {
				set(g)
				try()
			}
			set(v)
			switch v := v.(type) {
			case map[string]any:
				for _, k := range slices.Sorted(maps.Keys(v)) {
					walk(v[k], func(n any) { v[k] = n })
				}
			case []any:
				for i := range v {
					walk(v[i], func(n any) { v[i] = n })
				}
			}
		}
		walk(tree, func(n any) { tree = n })
	}
}

// checkConversions decodes JSON into every kind, converts it and checks all
// that the package promises of the result.
func checkConversions(t *testing.T, data []byte) {
	t.Helper()
	for _, kind := range slices.Sorted(maps.Keys(newObject)) {
		o := newObject[kind]()
		_ = json.Unmarshal(data, o)
		ref, ok := RefOf(o)
		if !ok || ref.Kind != kind {
			t.Fatalf("%s: RefOf = %v, %v", kind, ref, ok)
		}
		obj, problems, known := Object(o)
		if !known {
			t.Fatalf("%s is not known", kind)
		}
		checkProblems(t, ref, problems)
		if obj != nil {
			checkObject(t, ref, obj)
		}
		if p, ok := obj.(*model.Policy); ok {
			checkClosed(t, p)
			checkUnrestricted(t, o, p)
		}
		again, problemsAgain, _ := Object(o)
		if describe(again) != describe(obj) || !slices.Equal(problemsAgain, problems) {
			t.Fatalf("%s: a second conversion differs:\n%s\n%v\n%s\n%v", kind, describe(obj), problems, describe(again), problemsAgain)
		}
	}
}

// checkProblems: each is one line of bounded length and names the object.
func checkProblems(t *testing.T, ref model.Ref, problems []model.Problem) {
	t.Helper()
	for _, p := range problems {
		if p.Object != ref {
			t.Errorf("%v: problem of %v", ref, p.Object)
		}
		if p.Message == "" || len(p.Message) > 600 || len(p.Field) > 600 || strings.ContainsAny(p.Field+p.Message, "\n\r\x00\x1b") {
			t.Errorf("%v: field %.700q, message %.700q", ref, p.Field, p.Message)
		}
	}
}

// checkObject: what the index may rely on.
func checkObject(t *testing.T, ref model.Ref, obj model.Object) {
	t.Helper()
	if obj.Key() != ref {
		t.Errorf("key %v, want %v", obj.Key(), ref)
	}
	addrs := func(list []netip.Addr) {
		seen := map[netip.Addr]bool{}
		for _, a := range list {
			if !a.IsValid() || a.Is4In6() || a.Zone() != "" || seen[a] {
				t.Errorf("%v: address %v of %v", ref, a, list)
			}
			seen[a] = true
		}
	}
	labels := func(m map[string]string) {
		for k := range m {
			if strings.Contains(k, ":") || slices.Contains(reservedLabels, k) {
				t.Errorf("%v: label %q", ref, k)
			}
		}
	}
	switch o := obj.(type) {
	case *model.Endpoint:
		addrs(o.Addrs)
		labels(o.Labels)
		if o.Host == nil && len(o.Addrs) == 0 {
			t.Errorf("%v: no address", ref)
		}
		for _, p := range o.Ports {
			if p.Name == "" || p.Port == 0 || !p.Protocol.HasPorts() {
				t.Errorf("%v: port %v", ref, p)
			}
		}
	case *model.NetworkSet:
		checkNets(t, ref, o.Nets)
		labels(o.Labels)
	case *model.Node:
		addrs(o.Addrs)
		checkNets(t, ref, o.PodCIDRs)
		labels(o.Labels)
	case *model.Links:
		if o.Node != ref.Name || !slices.IsSortedFunc(o.Routes, model.CompareRoutes) {
			t.Errorf("%v: links of node %q, routes %v", ref, o.Node, o.Routes)
		}
		for _, a := range o.Addrs {
			addrs([]netip.Addr{a.Addr})
		}
		for _, x := range o.Routes {
			checkNets(t, ref, []netip.Prefix{x.Net})
		}
	case *model.Namespace:
		labels(o.Labels)
		if o.Labels["kubernetes.io/metadata.name"] != o.Name {
			t.Errorf("%v: labels %v", ref, o.Labels)
		}
	case *model.ServiceSlice:
		addrs(o.Addrs)
	case *model.Policy:
		if o.Selector == nil || o.Tier == "" {
			t.Errorf("%v: selector %v, tier %q", ref, o.Selector, o.Tier)
		}
		checkRules(t, ref, "ingress", o.Ingress, o.IngressRules)
		checkRules(t, ref, "egress", o.Egress, o.EgressRules)
	}
}

func checkNets(t *testing.T, ref model.Ref, nets []netip.Prefix) {
	t.Helper()
	for _, p := range nets {
		if !p.IsValid() || p != p.Masked() || p.Addr().Is4In6() {
			t.Errorf("%v: block %v", ref, p)
		}
	}
}

func checkRules(t *testing.T, ref model.Ref, direction string, governed bool, rules []model.Rule) {
	t.Helper()
	if !governed && rules != nil {
		t.Errorf("%v: has %s rules and does not govern %s", ref, direction, direction)
	}
	last := 0
	for i, r := range rules {
		if r.Action == model.NoAction || r.Index < last || i == 0 && r.Index != 0 || r.Index > last+1 {
			t.Errorf("%v: %s rule %d: %+v", ref, direction, i, r)
		}
		last = r.Index
		versions := map[int]bool{}
		if r.Match.IPVersion != 0 {
			versions[map[uint8]int{4: 32, 6: 128}[r.Match.IPVersion]] = true
		}
		for _, p := range []model.Peer{r.Match.Source, r.Match.Destination} {
			checkNets(t, ref, p.Nets)
			checkNets(t, ref, p.NotNets)
			for _, n := range slices.Concat(p.Nets, p.NotNets) {
				versions[n.Addr().BitLen()] = true
			}
			for _, port := range slices.Concat(p.Ports, p.NotPorts) {
				if (port.Name == "") == (port.First == 0) || port.First > port.Last || !r.Match.Protocol.HasPorts() {
					t.Errorf("%v: %s rule %d: port %+v", ref, direction, i, port)
				}
			}
		}
		if len(versions) > 1 {
			t.Errorf("%v: %s rule %d mixes IP versions", ref, direction, i)
		}
	}
}

var rulePath = regexp.MustCompile(`^spec\.(ingress|egress)\[(\d+)\]`)

// policyPaths are the fields whose errors make a whole policy fail closed.
var policyPaths = []string{"spec.selector", "spec.namespaceSelector", "spec.serviceAccountSelector", "spec.podSelector", "spec.subject", "spec.enforcement"}

// checkClosed: a rule with an error in it allows and passes nothing, and so do
// all rules of a policy with an error in its scope.
func checkClosed(t *testing.T, p *model.Policy) {
	t.Helper()
	closed := func(r model.Rule) bool {
		return reflect.DeepEqual(r.Match, model.Match{Never: true}) && (r.Action == model.Allow || r.Action == model.Log) ||
			reflect.DeepEqual(r.Match, model.Match{}) && r.Action == model.Deny
	}
	rules := map[string][]model.Rule{"ingress": p.IngressRules, "egress": p.EgressRules}
	for _, problem := range p.Problems {
		if problem.Warning {
			continue
		}
		if m := rulePath.FindStringSubmatch(problem.Field); m != nil {
			index, err := strconv.Atoi(m[2])
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range rules[m[1]] {
				if r.Index == index && !closed(r) {
					t.Errorf("%v: %v, yet the rule is %s", p.Ref, problem, describeRule(r))
				}
			}
			continue
		}
		for _, prefix := range policyPaths {
			if problem.Field != prefix && !strings.HasPrefix(problem.Field, prefix+".") {
				continue
			}
			for _, r := range slices.Concat(p.IngressRules, p.EgressRules) {
				if (r.Action == model.Allow || r.Action == model.Pass) && !closed(r) {
					t.Errorf("%v: %v, yet there is the rule %s", p.Ref, problem, describeRule(r))
				}
			}
		}
	}
}

// checkUnrestricted: an Allow or Pass rule without any criterion comes of a
// rule without any.
func checkUnrestricted(t *testing.T, o runtime.Object, p *model.Policy) {
	t.Helper()
	check := func(direction string, rules []model.Rule, bare func(i int) bool) {
		for _, r := range rules {
			if (r.Action == model.Allow || r.Action == model.Pass) && reflect.DeepEqual(r.Match, model.Match{}) && !bare(r.Index) {
				t.Errorf("%v: %s rule %d lost its criteria", p.Ref, direction, r.Index)
			}
		}
	}
	switch o := o.(type) {
	case *networkingv1.NetworkPolicy:
		check("ingress", p.IngressRules, func(i int) bool { return len(o.Spec.Ingress[i].From)+len(o.Spec.Ingress[i].Ports) == 0 })
		check("egress", p.EgressRules, func(i int) bool { return len(o.Spec.Egress[i].To)+len(o.Spec.Egress[i].Ports) == 0 })
	case *clusterv1alpha2.ClusterNetworkPolicy:
		never := func(int) bool { return false }
		check("ingress", p.IngressRules, never)
		check("egress", p.EgressRules, never)
	case *v1alpha1.GlobalNetworkPolicy:
		check("ingress", p.IngressRules, func(i int) bool { return bareRule(o.Spec.Ingress[i]) })
		check("egress", p.EgressRules, func(i int) bool { return bareRule(o.Spec.Egress[i]) })
	case *v1alpha1.NetworkPolicy:
		check("ingress", p.IngressRules, func(i int) bool { return bareRule(o.Spec.Ingress[i]) })
		check("egress", p.EgressRules, func(i int) bool { return bareRule(o.Spec.Egress[i]) })
	default:
		panic(fmt.Sprintf("%T is no policy", o))
	}
}

// bareRule reports whether the text of a rule has no criteria: every field but
// the action and the metadata is left out, empty, or an empty list.
func bareRule(r v1alpha1.Rule) bool {
	r.Metadata, r.Action = nil, ""
	if r.ICMP != nil && *r.ICMP == (v1alpha1.ICMPFields{}) {
		r.ICMP = nil
	}
	b, err := json.Marshal(r)
	if err != nil {
		return false
	}
	for _, part := range []string{`"action":""`, `"source":`, `"destination":`, `{}`, `{`, `}`, `,`} {
		b = []byte(strings.ReplaceAll(string(b), part, ""))
	}
	return len(b) == 0
}
