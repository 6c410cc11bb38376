package lint

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/tierwall/tierwall/api/selector"
	"github.com/tierwall/tierwall/policy/model"
)

func podWith(name string, addrs ...string) *model.Endpoint {
	e := &model.Endpoint{Ref: model.Ref{Kind: model.KindPod, Namespace: "shop", Name: name}, Node: "n1", Labels: map[string]string{"app": name}}
	for _, a := range addrs {
		e.Addrs = append(e.Addrs, netip.MustParseAddr(a))
	}
	return e
}

// TestUnmatched has a rule whose sides have members of different families, beside rules
// about which there is something else to report.
func TestUnmatched(t *testing.T) {
	from := func(index int, app string) model.Rule {
		return model.Rule{Index: index, Action: model.Allow, Match: model.Match{Source: model.Peer{Selector: selector.Equal("app", app)}}}
	}
	policy := func(rules ...model.Rule) []model.Object {
		return []model.Object{
			podWith("web", "10.0.0.1"), podWith("six", "2001:db8::6"),
			&model.Policy{Ref: model.Ref{Kind: model.KindGlobalNetworkPolicy, Name: "p"}, Tier: model.TierDefault, Selector: selector.Equal("app", "web"), Ingress: true, IngressRules: rules},
		}
	}
	nothing := func(field string) string {
		return "warning peer-matches-nothing GlobalNetworkPolicy/p " + field + ".source: no endpoint and no network set matches app == 'none'\n"
	}
	never := func(field string) string {
		return "warning never-matches GlobalNetworkPolicy/p " + field + ": matches nothing: no packet between an endpoint that the policy selects and any peer matches all of its criteria\n"
	}
	for _, tt := range []struct {
		name    string
		objects []model.Object
		want    string
	}{
		{"alone", policy(from(0, "six")), never("spec.ingress[0]")},
		{"after another", policy(from(0, "none"), from(1, "six")), nothing("spec.ingress[0]") + never("spec.ingress[1]")},
		{"a peer without members is one finding", policy(from(0, "none")), nothing("spec.ingress[0]")},
		{"whose index begins alike", policy(from(1, "none"), from(11, "six")), nothing("spec.ingress[1]") + never("spec.ingress[11]")},
	} {
		if got := found(tt.objects, CodeNeverMatches, CodePeerMatchesNothing); got != tt.want {
			t.Errorf("%s: got\n%swant\n%s", tt.name, got, tt.want)
		}
	}
}

// TestFailsafesOfBothFamilies has rules of both families that failsafe ports make
// ineffective.
func TestFailsafesOfBothFamilies(t *testing.T) {
	ssh := func(version uint8) model.Rule {
		return model.Rule{Index: int(version), Action: model.Deny, Match: model.Match{IPVersion: version, Protocol: model.TCP, Destination: model.Peer{Ports: []model.Port{{First: 22, Last: 22}}}}}
	}
	got := found([]model.Object{
		podWith("web", "10.0.0.1"), podWith("six", "2001:db8::6"), podWith("four", "10.0.0.4"),
		hostEndpoint("a", "n2", "", model.Deny, "192.0.2.1", "2001:db8:1::1"),
		&model.Policy{Ref: model.Ref{Kind: model.KindGlobalNetworkPolicy, Name: "p"}, Tier: model.TierDefault, Selector: selector.Has("host"), Ingress: true, IngressRules: []model.Rule{ssh(4), ssh(6)}},
	}, CodeFailsafeOverlap)
	const finding = "warning failsafe-overlap GlobalNetworkPolicy/p spec.ingress[%d]: denies nothing of a host: TCP 22 is open by the inbound failsafe ports\n"
	if want := fmt.Sprintf(finding+finding, 4, 6); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}
