package policytest

import (
	"net/netip"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/tierwall/tierwall/api/selector"
	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/policy/answers"
	"github.com/tierwall/tierwall/policy/index"
	"github.com/tierwall/tierwall/policy/model"
	"github.com/tierwall/tierwall/policy/names"
)

// namesWorld has a pod with IPv4 only, whose rule allows one of two addresses of a name.
func namesWorld(t *testing.T) *World {
	t.Helper()
	p, err := names.ParsePattern("api.example")
	if err != nil {
		t.Fatal(err)
	}
	ix := index.New(index.Options{})
	ix.Upsert(&model.Endpoint{Ref: model.Ref{Kind: model.KindPod, Namespace: "n", Name: "four"}, Labels: map[string]string{"app": "four"}, Addrs: []netip.Addr{netip.MustParseAddr("10.0.0.1")}})
	rule := model.Rule{Action: model.Allow}
	rule.Match.Destination = model.Peer{Domains: []names.Pattern{p}, NotNets: []netip.Prefix{netip.MustParsePrefix("203.0.113.2/32")}}
	ix.Upsert(&model.Policy{Ref: model.Ref{Kind: model.KindGlobalNetworkPolicy, Name: "p"}, Tier: model.TierDefault, Selector: selector.Equal("app", "four"), Egress: true, EgressRules: []model.Rule{rule}})
	ix.Flush()
	var list []answers.Answer
	add := func(name string, addrs ...string) {
		a := answers.Answer{Names: []string{name}}
		for _, s := range addrs {
			a.Addrs = append(a.Addrs, netip.MustParseAddr(s))
		}
		list = append(list, a)
	}
	add("api.example", "2001:db8::1", "203.0.113.1", "203.0.113.2")
	add("six.example", "2001:db8::6")
	return NewWorld(ix, nil, answers.Learn(ix, list, nil))
}

func TestDomains(t *testing.T) {
	w := namesWorld(t)
	port := intstr.FromInt32(443)
	for _, test := range []struct {
		name string
		from v1alpha1.PolicyTestPeer
		to   v1alpha1.PolicyTestTarget
		want string // the action for each address, or field: message of the error
	}{
		{"each address that the sender can reach", peer{Pod: "n/four"}, target{PolicyTestPeer: peer{Domain: "API.example."}, Port: &port}, "203.0.113.1 Allow 203.0.113.2 Deny"},
		{"no address of the sender's families", peer{Pod: "n/four"}, target{PolicyTestPeer: peer{Domain: "six.example"}, Port: &port}, "to: the two sides have no IP version in common: from 10.0.0.1, to 2001:db8::6"},
		{"another version", peer{Pod: "n/four"}, target{PolicyTestPeer: peer{Domain: "api.example"}, Port: &port, IPVersion: ptr(6)}, "to.ipVersion: not both sides have an IPv6 address: from 10.0.0.1, to 2001:db8::1, 203.0.113.1, 203.0.113.2"},
		{"a slip", peer{Pod: "n/four"}, target{PolicyTestPeer: peer{Domain: "apis.example"}, Port: &port}, `to.domain: apis.example: there is no DNS answer for it; want DNSAnswers that have it; did you mean "api.example"?`},
		{"a pattern", peer{Pod: "n/four"}, target{PolicyTestPeer: peer{Domain: "*.example"}, Port: &port}, `to.domain: "*.example" is a pattern: want a name`},
		{"no name", peer{Pod: "n/four"}, target{PolicyTestPeer: peer{Domain: "a..b"}, Port: &port}, `to.domain: domain "a..b": a label is empty`},
		{"as a sender", peer{Domain: "api.example"}, target{PolicyTestPeer: peer{Pod: "n/four"}, Port: &port}, "from.domain: api.example: a name stands for receivers only; want ip"},
		{"beside another", peer{Pod: "n/four"}, target{PolicyTestPeer: peer{Domain: "api.example", IP: "203.0.113.1"}, Port: &port}, "to: has ip and domain: want exactly one"},
		{"without a port", peer{Pod: "n/four"}, target{PolicyTestPeer: peer{Domain: "api.example"}}, "to.port: is missing: TCP needs one"},
	} {
		a, err := w.Attempt(&v1alpha1.PolicyTestCase{Name: test.name, From: test.from, To: test.to, Expect: v1alpha1.Allow})
		if err != nil {
			if err.Error() != test.want {
				t.Errorf("%s: got %v, want %s", test.name, err, test.want)
			}
			continue
		}
		var got []string
		for i, d := range w.Decide(&a) {
			if e := w.Explain(&a)[i]; e.Action != d.Action {
				t.Errorf("%s: explained as %s, decided as %s", test.name, e.Action, d.Action)
			}
			got = append(got, d.Flow.Dst.String()+" "+d.Action.String())
		}
		if text := strings.Join(got, " "); text != test.want {
			t.Errorf("%s: got %s, want %s", test.name, text, test.want)
		}
	}
	sources := w.Sources(netip.MustParseAddr("203.0.113.1"), w.Index.Patterns())
	if len(sources) != 1 || sources[0].String() != "api.example" {
		t.Errorf("sources: %v", sources)
	}
}
