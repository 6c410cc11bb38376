package translate

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/tierwall/tierwall/api/v1alpha1"
)

// TestSpellingsAgree writes random Calico policies in both spellings and
// expects equal objects.
func TestSpellingsAgree(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	for i := range 2000 {
		kind := []string{"GlobalNetworkPolicy", "NetworkPolicy", "StagedGlobalNetworkPolicy", "StagedNetworkPolicy",
			"Tier", "GlobalNetworkSet", "NetworkSet", "HostEndpoint"}[r.IntN(8)]
		spec, tier := randomSpec(r, kind)
		name, crdName, kept := "deny-all", "deny-all", ""
		if strings.HasSuffix(kind, "Policy") {
			// v3 names bear their tier's prefix except in tier default, crd names always do.
			crdName = tier + "." + name
			if tier != "default" || r.IntN(2) == 0 {
				name = crdName
			}
			kept = name
		}
		labels, annotations := map[string]string{}, map[string]string{}
		for range r.IntN(3) {
			labels[fmt.Sprintf("l%d", r.IntN(9))] = "v"
			annotations[fmt.Sprintf("a%d", r.IntN(9))] = "w"
		}
		namespace := ""
		if strings.HasPrefix(kind, "NetworkP") || strings.HasPrefix(kind, "NetworkS") || strings.HasPrefix(kind, "StagedN") {
			namespace = "shop"
		}
		v3 := map[string]any{
			"apiVersion": "projectcalico.org/v3", "kind": kind, "spec": spec,
			"metadata": map[string]any{"name": name, "namespace": namespace, "labels": labels, "annotations": annotations, "uid": "x"},
		}
		packed, err := json.Marshal(map[string]any{"name": kept, "labels": labels, "annotations": annotations, "creationTimestamp": nil})
		if err != nil {
			t.Fatal(err)
		}
		crd := map[string]any{
			"apiVersion": "crd.projectcalico.org/v1", "kind": kind, "spec": spec,
			"metadata": map[string]any{"name": crdName, "namespace": namespace,
				"annotations": map[string]string{calicoMetadata: string(packed)}},
		}
		a, b := translateMap(t, v3), translateMap(t, crd)
		if !reflect.DeepEqual(a.Objects, b.Objects) {
			t.Fatalf("round %d: objects differ\nv3:  %s\ncrd: %s", i, asJSON(t, a.Objects), asJSON(t, b.Objects))
		}
		if len(a.Notes) != len(b.Notes) {
			t.Fatalf("round %d: notes differ\nv3:  %v\ncrd: %v", i, a.Notes, b.Notes)
		}
		if len(a.Objects) == 0 && len(a.Notes) == 0 {
			t.Fatalf("round %d: %s vanished without a note", i, asJSON(t, v3))
		}
	}
}

func translateMap(t *testing.T, doc map[string]any) Result {
	t.Helper()
	b, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	obj, err := decode(b)
	if err != nil {
		t.Fatalf("%s: %v", b, err)
	}
	r, err := Translate(obj)
	if err != nil {
		t.Fatalf("%s: %v", b, err)
	}
	return r
}

func asJSON(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// randomSpec makes a spec of a kind, and the tier that it names.
func randomSpec(r *rand.Rand, kind string) (map[string]any, string) {
	spec := map[string]any{}
	switch kind {
	case "Tier":
		spec["order"] = r.IntN(100)
		return spec, ""
	case "GlobalNetworkSet", "NetworkSet":
		spec["nets"] = []string{"10.0.0.1", "192.0.2.7/24"}[:r.IntN(3)]
		return spec, ""
	case "HostEndpoint":
		spec["node"] = "n1"
		spec["interfaceName"] = "*"
		spec["profiles"] = []string{calicoDefaultAllow, "custom"}[:r.IntN(3)]
		return spec, ""
	}
	tier := []string{"default", "security", "adminnetworkpolicy"}[r.IntN(3)]
	if tier != "default" || r.IntN(2) == 0 {
		spec["tier"] = tier
	}
	if r.IntN(2) == 0 {
		spec["order"] = float64(r.IntN(1000)) / 2
	}
	if r.IntN(2) == 0 {
		spec["selector"] = randomSelector(r)
	}
	if strings.HasPrefix(kind, "Staged") && r.IntN(2) == 0 {
		spec["stagedAction"] = []string{"Set", "Delete", "Ignore", "Learn"}[r.IntN(4)]
	}
	if strings.Contains(kind, "Global") && r.IntN(2) == 0 {
		spec["namespaceSelector"] = randomSelector(r)
	}
	for _, d := range []string{"ingress", "egress"} {
		var rules []any
		for range r.IntN(3) {
			rules = append(rules, map[string]any{
				"action": []string{"Allow", "Deny", "Log", "Pass", "allow"}[r.IntN(5)], "protocol": []any{"TCP", "udp", 6, "17"}[r.IntN(4)],
				"source":      randomEntity(r),
				"destination": randomEntity(r),
			})
		}
		spec[d] = rules
	}
	// Unset ones differ: as data nobody has filled them in.
	spec["types"] = [][]string{{"Ingress"}, {"egress"}, {"Ingress", "EGRESS"}, {"ingress", "Ingress"}}[r.IntN(4)]
	return spec, tier
}

func randomSelector(r *rand.Rand) string {
	return []string{"app == 'x'", "app != 'x'", "all()", "!has(a) && b in {'c'}", "has(projectcalico.org/name)", "not a selector"}[r.IntN(6)]
}

func randomEntity(r *rand.Rand) map[string]any {
	e := map[string]any{}
	if r.IntN(3) == 0 {
		e["selector"] = randomSelector(r)
	}
	if r.IntN(3) == 0 {
		e["notSelector"] = randomSelector(r)
	}
	if r.IntN(3) == 0 {
		e["namespaceSelector"] = randomSelector(r)
	}
	if r.IntN(3) == 0 {
		e["nets"] = []string{"10.0.0.1/8", "192.0.2.1"}[r.IntN(2):]
	}
	if r.IntN(4) == 0 {
		e["ports"] = []any{80, "81", "90:95", "http"}[r.IntN(4):]
	}
	if r.IntN(5) == 0 {
		e["domains"] = []string{"example.com"}
	}
	if r.IntN(5) == 0 {
		e["serviceAccounts"] = map[string]any{"names": []string{"a"}[:r.IntN(2)], "selector": []string{"", "a == 'b'", "a != 'b'"}[r.IntN(3)]}
	}
	return e
}

// TestTranslateKeepsItsInput translates the same struct twice: the second
// result must equal the first, and not change with it.
func TestTranslateKeepsItsInput(t *testing.T) {
	doc := []byte(`{"apiVersion":"projectcalico.org/v3","kind":"GlobalNetworkPolicy","metadata":{"name":"default.x","labels":{"a":"b"},"annotations":{"c":"d"}},
		"spec":{"order":1,"types":["Ingress"],"ingress":[{"action":"Allow","protocol":"tcp","source":{"nets":["10.0.0.1"],"notSelector":"a == 'b'","namespaceSelector":"x != 'y'"},"destination":{"ports":["80"]}}]}}`)
	obj, err := decode(doc)
	if err != nil {
		t.Fatal(err)
	}
	first, err := Translate(obj)
	if err != nil {
		t.Fatal(err)
	}
	before := asJSON(t, first)
	p := first.Objects[0].(*v1alpha1.GlobalNetworkPolicy)
	p.Labels["a"] = "changed"
	p.Annotations["c"] = "changed"
	*p.Spec.Order = 7
	p.Spec.Types[0] = "changed"
	p.Spec.Ingress[0].Source.Nets[0] = "changed"
	p.Spec.Ingress[0].Destination.Ports[0].IntVal = 7
	second, err := Translate(obj)
	if err != nil {
		t.Fatal(err)
	}
	if after := asJSON(t, second); after != before {
		t.Errorf("the second translation differs\n%s\n%s", before, after)
	}
}

func TestTranslateRefusesWhatIsNotItsOwn(t *testing.T) {
	var none *calicoTier
	for _, obj := range []any{nil, 7, "x", &v1alpha1.Tier{}, none} {
		if r, err := Translate(obj); err == nil {
			t.Errorf("%T: want an error, not %v", obj, r)
		}
	}
}

func TestWithinLimits(t *testing.T) {
	var rule v1alpha1.Rule
	rule.Action = v1alpha1.Deny
	for i := range 600 {
		rule.Source.Nets = append(rule.Source.Nets, fmt.Sprintf("10.0.%d.%d/32", i/256, i%256))
	}
	for i := range 120 {
		rule.Destination.Ports = append(rule.Destination.Ports, intstr.FromInt32(int32(i+1)))
	}
	pairs := map[string]bool{}
	for _, r := range withinLimits([]v1alpha1.Rule{rule}) {
		if r.Action != v1alpha1.Deny || len(r.Source.Nets) > maxNets || len(r.Destination.Ports) > maxPorts {
			t.Fatalf("a rule of action %s with %d nets and %d ports", r.Action, len(r.Source.Nets), len(r.Destination.Ports))
		}
		for _, n := range r.Source.Nets {
			for _, p := range r.Destination.Ports {
				pairs[n+" "+p.String()] = true
			}
		}
	}
	if len(pairs) != 600*120 {
		t.Errorf("%d pairs are matched, want %d", len(pairs), 600*120)
	}
}

// FuzzTranslate decodes arbitrary JSON into every kind. No input may panic, and
// what is translated must be complete objects.
func FuzzTranslate(f *testing.F) {
	kinds := foreignKinds()
	for _, doc := range goldenDocuments(f) {
		for i := range kinds {
			f.Add(byte(i), doc)
		}
	}
	f.Fuzz(func(t *testing.T, kind byte, doc []byte) {
		gvk := kinds[int(kind)%len(kinds)]
		obj := New(gvk)
		if err := json.Unmarshal(doc, obj); err != nil {
			return
		}
		r, err := Translate(obj)
		if err != nil {
			return
		}
		for _, o := range append([]runtime.Object(nil), r.Objects...) {
			if o.GetObjectKind().GroupVersionKind().Kind == "" {
				t.Errorf("%T without TypeMeta", o)
			}
		}
		again, err := Translate(obj)
		if err != nil || !reflect.DeepEqual(r, again) {
			t.Errorf("a second translation differs: %v\n%v\n%v", err, r, again)
		}
		Reconcile(append(r.Objects, again.Objects...), nil)
	})
}
