package lint

import (
	"slices"
	"testing"

	"github.com/tierwall/tierwall/policy/index"
	"github.com/tierwall/tierwall/policy/model"
	"github.com/tierwall/tierwall/policy/names"
)

func patternOf(t *testing.T, s string) names.Pattern {
	t.Helper()
	p, err := names.ParsePattern(s)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestDomains(t *testing.T) {
	for _, test := range []struct{ domain, code string }{
		{"api.example.com", ""},
		{"*.example.com", ""},
		{"a.*.example.com", ""},
		{"*.s3.eu-central-1.amazonaws.com", CodeDomainWide},
		{"bucket.s3.eu-central-1.amazonaws.com", ""},
		{"*.com", CodeDomainWide},
		{"*.co.uk", CodeDomainWide},
		{"*.*.co.uk", CodeDomainWide},
		{"co.uk", ""},
		{"*.github.io", CodeDomainWide},
		{"*.me.github.io", ""},
		{"kubernetes.default.svc.cluster.local", CodeDomainInternal},
		{"*.svc.cluster.local", CodeDomainInternal},
		{"*.cluster.local", CodeDomainInternal},
		{"*.local", CodeDomainInternal},
		{"cluster.local", CodeDomainInternal},
		{"mycluster.local", ""},
		{"*.xn--p1ai", CodeDomainWide},
	} {
		ix := index.New(index.Options{})
		rule := model.Rule{Action: model.Allow}
		rule.Match.Destination.Domains = []names.Pattern{patternOf(t, test.domain)}
		ix.Upsert(&model.Policy{Ref: model.Ref{Kind: model.KindGlobalNetworkPolicy, Name: "p"}, Tier: model.TierDefault, Selector: everyEndpoint, Egress: true, EgressRules: []model.Rule{rule}})
		ix.Upsert(&model.NetworkSet{Ref: model.Ref{Kind: model.KindGlobalNetworkSet, Name: "s"}, Domains: rule.Match.Destination.Domains})
		ix.Flush()
		var policy, set []string
		for _, f := range Run(ix, nil, nil, nil) {
			switch {
			case f.Field == "spec.egress[0].destination":
				policy = append(policy, f.Code)
			case f.Object.Kind == model.KindGlobalNetworkSet:
				set = append(set, f.Code)
			}
		}
		var want []string
		if test.code != "" {
			want = []string{test.code}
		}
		if !slices.Equal(policy, want) || !slices.Equal(set, want) {
			t.Errorf("%s: of the policy %v, of the set %v, want %v", test.domain, policy, set, want)
		}
	}
}
