package v1alpha1

import (
	"encoding/json"
	"testing"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
)

func TestSchemeHasEveryKindThatAnAPIServerHolds(t *testing.T) {
	scheme := runtime.NewScheme()
	if err := AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	for _, kind := range []string{"Tier", "GlobalNetworkPolicy", "NetworkPolicy", "GlobalNetworkSet", "NetworkSet", "HostEndpoint", "Tierwall", "NodeReport"} {
		for _, k := range []string{kind, kind + "List"} {
			if !scheme.Recognizes(GroupVersion.WithKind(k)) {
				t.Errorf("kind %s is not registered", k)
			}
		}
	}
	if scheme.Recognizes(GroupVersion.WithKind("PolicyTest")) {
		t.Error("kind PolicyTest is registered; it is a file format")
	}
}

// Unset fields must not be written: an API server would take a protocol 0 for
// what someone said, and people would read empty braces.
func TestUnsetFieldsAreNotWritten(t *testing.T) {
	tcp := intstr.FromString("TCP")
	for _, tc := range []struct {
		name   string
		object runtime.Object
		want   string
	}{
		{"policy", &NetworkPolicy{Spec: NetworkPolicySpec{Ingress: []Rule{{Action: Allow, Protocol: &tcp, Destination: EntityRule{Ports: []intstr.IntOrString{intstr.FromInt32(80)}}}}}},
			`{"spec":{"ingress":[{"action":"Allow","protocol":"TCP","destination":{"ports":[80]}}]}}`},
		{"tier", &Tier{}, `{"spec":{}}`},
		{"settings", &Tierwall{Spec: TierwallSpec{Failsafe: Failsafe{Inbound: &[]FailsafePort{}, Outbound: &[]FailsafePort{{Port: 53}}}}},
			`{"spec":{"failsafe":{"inbound":[],"outbound":[{"port":53}]}}}`},
	} {
		got, err := json.Marshal(tc.object)
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != tc.want {
			t.Errorf("%s: got %s, want %s", tc.name, got, tc.want)
		}
	}
}
