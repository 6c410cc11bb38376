package answers

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/tierwall/tierwall/api/selector"
	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/policy/index"
	"github.com/tierwall/tierwall/policy/model"
	"github.com/tierwall/tierwall/policy/names"
)

func TestRead(t *testing.T) {
	for _, test := range []struct {
		name   string
		in     v1alpha1.DNSAnswer
		want   string
		faults []string
	}{
		{
			name: "a name, a chain and addresses of both families",
			in:   v1alpha1.DNSAnswer{Name: "WWW.Example.com.", Chain: []string{"a.cdn.example"}, Addresses: []string{"203.0.113.5", "2001:db8::5", "::ffff:203.0.113.6"}},
			want: "www.example.com → a.cdn.example [203.0.113.5 2001:db8::5 203.0.113.6]",
		},
		{
			name:   "no addresses",
			in:     v1alpha1.DNSAnswer{Name: "a.example"},
			faults: []string{"spec.answers[0].addresses: is empty"},
		},
		{
			name: "what is none",
			in:   v1alpha1.DNSAnswer{Name: "*.example", Chain: []string{"a..example"}, Addresses: []string{"x", "fe80::1%eth0"}},
			faults: []string{
				`spec.answers[0].name: "*.example" is a pattern: want a name`,
				`spec.answers[0].chain[0]: domain "a..example": a label is empty`,
				`spec.answers[0].addresses[0]: "x" is no IP address`,
				`spec.answers[0].addresses[1]: "fe80::1%eth0" is no IP address`,
			},
		},
	} {
		list, faults := Read(&v1alpha1.DNSAnswers{Spec: v1alpha1.DNSAnswersSpec{Answers: []v1alpha1.DNSAnswer{test.in}}})
		var got []string
		for _, f := range faults {
			got = append(got, f.Field+": "+f.Message)
		}
		if !slices.Equal(got, test.faults) {
			t.Errorf("%s: faults:\n%s\nwant\n%s", test.name, strings.Join(got, "\n"), strings.Join(test.faults, "\n"))
		}
		text := ""
		for _, a := range list {
			text = fmt.Sprintf("%s %v", a, a.Addrs)
		}
		if text != test.want {
			t.Errorf("%s: got %q, want %q", test.name, text, test.want)
		}
	}
	if _, faults := Read(&v1alpha1.DNSAnswers{}); len(faults) != 1 {
		t.Errorf("no answers: %v", faults)
	}
}

func patterns(t *testing.T, list ...string) (out []names.Pattern) {
	t.Helper()
	for _, s := range list {
		p, err := names.ParsePattern(s)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, p)
	}
	slices.SortFunc(out, names.Pattern.Compare)
	return out
}

// world is a pod with a rule by name, a pod and a node.
func world(t *testing.T, settings *model.Settings, domains ...string) *index.Index {
	t.Helper()
	ix := index.New(index.Options{})
	pod := func(name, addr string) {
		ix.Upsert(&model.Endpoint{Ref: model.Ref{Kind: model.KindPod, Namespace: "shop", Name: name}, Node: "n", Labels: map[string]string{"app": name}, Addrs: []netip.Addr{netip.MustParseAddr(addr)}})
	}
	pod("web", "10.0.0.1")
	pod("db", "10.0.0.2")
	ix.Upsert(&model.Node{Name: "n", Addrs: []netip.Addr{netip.MustParseAddr("192.0.2.1")}, PodCIDRs: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/24")}})
	rule := model.Rule{Action: model.Allow}
	rule.Match.Destination.Domains = patterns(t, domains...)
	ix.Upsert(&model.Policy{Ref: model.Ref{Kind: model.KindGlobalNetworkPolicy, Name: "p"}, Tier: model.TierDefault, Selector: selector.Equal("app", "web"), Egress: true, EgressRules: []model.Rule{rule}})
	if settings != nil {
		ix.Upsert(settings)
	}
	ix.Flush()
	return ix
}

func addrs(list ...string) (out []netip.Addr) {
	for _, s := range list {
		out = append(out, netip.MustParseAddr(s))
	}
	return out
}

func learnt(ix *index.Index) []string {
	eff := ix.Effective(model.Ref{Kind: model.KindPod, Namespace: "shop", Name: "web"})
	var out []string
	for _, m := range eff.Egress[0].Policies[0].ResolvedEgress[0].Destination.Domains.Members() {
		out = append(out, m.Prefix.Addr().String())
	}
	return out
}

func TestLearn(t *testing.T) {
	ix := world(t, nil, "*.example", "a.cdn.test")
	b := Learn(ix, []Answer{
		{Names: []string{"www.example"}, Addrs: addrs("203.0.113.1", "203.0.113.1", "2001:db8::1")},
		{Names: []string{"shop.test", "a.cdn.test"}, Addrs: addrs("203.0.113.2")},
		{Names: []string{"other.test"}, Addrs: addrs("203.0.113.3")},
		{Names: []string{"evil.example"}, Addrs: addrs("10.0.0.2", "10.0.0.99", "192.0.2.1", "127.0.0.1", "169.254.169.254", "fe80::1", "224.0.0.1", "0.0.0.0", "100.100.100.200", "203.0.113.4")},
	}, nil)
	if got, want := learnt(ix), []string{"203.0.113.1", "203.0.113.2", "203.0.113.4", "2001:db8::1"}; !slices.Equal(got, want) {
		t.Errorf("learnt %v, want %v", got, want)
	}
	if got := b.Addrs("www.example"); !slices.Equal(got, addrs("203.0.113.1", "2001:db8::1")) {
		t.Errorf("addresses of www.example: %v", got)
	}
	if got := b.Sources(netip.MustParseAddr("203.0.113.2"), ix.Patterns()); len(got) != 1 || got[0].String() != "shop.test → a.cdn.test" {
		t.Errorf("sources: %v", got)
	}
	if got := b.Sources(netip.MustParseAddr("203.0.113.3"), ix.Patterns()); got != nil {
		t.Errorf("sources of an address that no rule knows: %v", got)
	}
}

func TestLearnWithSettings(t *testing.T) {
	s := model.DefaultSettings()
	s.DNS.TakeInternal, s.DNS.MaxAddressesPerName = true, 2
	ix := world(t, s, "www.example")
	Learn(ix, []Answer{{Names: []string{"www.example"}, Addrs: addrs("10.0.0.2", "203.0.113.1", "203.0.113.2")}}, nil)
	if got := learnt(ix); len(got) != 2 {
		t.Errorf("learnt %v, want two", got)
	}
	ix = world(t, nil, "www.example")
	Learn(ix, []Answer{{Names: []string{"www.example"}, Addrs: addrs("203.0.113.1", "203.0.113.2")}}, func(a netip.Addr) string {
		if a == netip.MustParseAddr("203.0.113.2") {
			return "of a Service"
		}
		return ""
	})
	if got := learnt(ix); !slices.Equal(got, []string{"203.0.113.1"}) {
		t.Errorf("learnt %v", got)
	}
	var none *Book
	if none.Addrs("x") != nil || none.Names() != nil || none.Sources(netip.MustParseAddr("203.0.113.2"), nil) != nil {
		t.Error("no book says something")
	}
}
