package convert

import (
	"errors"
	"slices"
	"testing"

	"k8s.io/apimachinery/pkg/runtime"
	clusterv1alpha2 "sigs.k8s.io/network-policy-api/apis/v1alpha2"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/policy/model"
)

var (
	newGlobal  = func() any { return &v1alpha1.GlobalNetworkPolicy{} }
	newSet     = func() any { return &v1alpha1.NetworkSet{} }
	newCluster = func() any { return &clusterv1alpha2.ClusterNetworkPolicy{} }
)

// TestDecodeUnknown: what a newer version's field would narrow is never wider for want of it.
func TestDecodeUnknown(t *testing.T) {
	for _, c := range []struct {
		name, object string
		fresh        func() any
		unknown      []string
		closed       bool
		// rules of ingress, then of egress, as action and whether it can match.
		want []string
	}{
		{"nothing unknown", `{"metadata":{"name":"p"},"spec":{"ingress":[{"action":"Allow"}]}}`, newGlobal, nil, false, []string{"Allow"}},
		{"unknown metadata and status", `{"metadata":{"name":"p","colour":"red"},"status":{"mood":1},"spec":{"ingress":[{"action":"Allow"}]}}`, newGlobal, nil, false, []string{"Allow"}},
		{
			"in one rule", `{"metadata":{"name":"p"},"spec":{"ingress":[{"action":"Allow","wish":{}},{"action":"Allow","protocol":"TCP"}]}}`,
			newGlobal, []string{"spec.ingress[0].wish"}, true, []string{"Allow never", "Allow"},
		},
		{
			"in a peer, of each action",
			`{"metadata":{"name":"p"},"spec":{"ingress":[{"action":"Allow","source":{"wish":1}},{"action":"Log","source":{"wish":1}},{"action":"Pass","source":{"wish":1}},{"action":"Deny","source":{"wish":1}}]}}`,
			newGlobal, []string{"spec.ingress[0].source.wish", "spec.ingress[1].source.wish", "spec.ingress[2].source.wish", "spec.ingress[3].source.wish"}, true,
			[]string{"Allow never", "Log never", "Deny", "Deny"},
		},
		{
			"of the tenth rule and not the first",
			`{"metadata":{"name":"p"},"spec":{"ingress":[{"action":"Allow"},{"action":"Allow"},{"action":"Allow"},{"action":"Allow"},{"action":"Allow"},{"action":"Allow"},{"action":"Allow"},{"action":"Allow"},{"action":"Allow"},{"action":"Allow"},{"action":"Allow","wish":1}]}}`,
			newGlobal, []string{"spec.ingress[10].wish"}, true, append(slices.Repeat([]string{"Allow"}, 10), "Allow never"),
		},
		{
			"of the policy as a whole", `{"metadata":{"name":"p"},"spec":{"clusterSelector":"here","ingress":[{"action":"Allow"},{"action":"Deny"}],"egress":[{"action":"Pass"}]}}`,
			newGlobal, []string{"spec.clusterSelector"}, true, []string{"Allow never", "Deny", "Deny"},
		},
		{
			"in a rule of a policy for egress alone", `{"metadata":{"name":"p"},"spec":{"egress":[{"action":"Allow","wish":1},{"action":"Pass","wish":1}]}}`,
			newGlobal, []string{"spec.egress[0].wish", "spec.egress[1].wish"}, true, []string{"Allow never", "Deny"},
		},
		{"of a set", `{"metadata":{"name":"s","namespace":"x"},"spec":{"nets":["192.0.2.1"],"wish":[1]}}`, newSet, []string{"spec.wish"}, false, nil},
		{
			"of a ClusterNetworkPolicy", `{"metadata":{"name":"p"},"spec":{"tier":"Admin","priority":1,"subject":{"namespaces":{}},"ingress":[{"action":"Accept","from":[{"namespaces":{},"wish":1}]}]}}`,
			newCluster, []string{"spec.ingress[0].from[0].wish"}, true, []string{"Deny"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			o, err := Decode([]byte(c.object), c.fresh)
			var unknown *UnknownFieldsError
			if errors.As(err, &unknown); unknown == nil && err != nil {
				t.Fatal(err)
			}
			if unknown == nil {
				unknown = &UnknownFieldsError{}
			}
			if !slices.Equal(unknown.Fields, c.unknown) || unknown.Closed != c.closed {
				t.Errorf("unknown %v, closed %v", unknown.Fields, unknown.Closed)
			}
			if c.want == nil {
				return
			}
			m, _, _ := Object(o.(runtime.Object))
			var got []string
			p := m.(*model.Policy)
			for _, r := range slices.Concat(p.IngressRules, p.EgressRules) {
				text := r.Action.String()
				source := r.Match.Source.Selector
				if r.Match.Never || source != nil && source.String() == selectsNothing {
					text += " never"
				}
				got = append(got, text)
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("rules %q, want %q", got, c.want)
			}
		})
	}
}

// FuzzDecode: no object makes a panic, and each has a result or an error.
func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"spec":{"ingress":[{"action":"Allow","wish":{}}],"egress":[null,1,{"action":7}]}}`))
	f.Add([]byte(`{"spec":{"ingress":{"a":1}}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		o, err := Decode(data, newGlobal)
		if o == nil && err == nil {
			t.Error("neither object nor error")
		}
		if o != nil {
			_, _, _ = Object(o.(runtime.Object))
		}
	})
}
