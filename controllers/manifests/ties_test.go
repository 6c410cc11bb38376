package manifests

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/runtime"

	"github.com/tierwall/tierwall/policy/convert"
	"github.com/tierwall/tierwall/policy/index"
	"github.com/tierwall/tierwall/policy/model"
	"github.com/tierwall/tierwall/policy/verdict"
)

const tiesWorld = `
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: shop, labels: {app: web}}
status: {podIPs: [{ip: 10.0.0.1}]}
---
apiVersion: projectcalico.org/v3
kind: Tier
metadata: {name: sec}
spec: {order: 100, defaultAction: Pass}
---
apiVersion: projectcalico.org/v3
kind: Tier
metadata: {name: platform}
spec: {order: 200, defaultAction: Pass}
`

// tiedPolicy is a policy for ingress from 203.0.113.0/24, without an order unless
// order is set.
type tiedPolicy struct {
	apiVersion, namespace, name, tier, app, action, order string
}

func (p tiedPolicy) String() string {
	kind, namespace := "GlobalNetworkPolicy", ""
	if p.namespace != "" {
		kind, namespace = "NetworkPolicy", ", namespace: "+p.namespace
	}
	order := ""
	if p.order != "" {
		order = "order: " + p.order + ", "
	}
	return fmt.Sprintf("---\napiVersion: %s\nkind: %s\nmetadata: {name: %s%s}\nspec: {tier: %s, %sselector: app == '%s', types: [Ingress], ingress: [{action: %s, source: {nets: [203.0.113.0/24]}}]}\n",
		p.apiVersion, kind, p.name, namespace, p.tier, order, p.app, p.action)
}

// verdictsOfTies are those of a connection from 203.0.113.7 to the pod under the
// policies as they are, and as `tierwall convert` writes them.
func verdictsOfTies(t *testing.T, docs string) [2]string {
	t.Helper()
	r, err := LoadBytes("in.yaml", []byte(docs))
	if err != nil {
		t.Fatalf("%v\n%s", err, docs)
	}
	var read []runtime.Object
	for _, o := range r.Objects {
		read = append(read, o.Object)
	}
	path := filepath.Join(t.TempDir(), "in.yaml")
	if err := os.WriteFile(path, []byte(docs), 0o600); err != nil {
		t.Fatal(err)
	}
	m, err := ReadManifests([]string{path}, Options{})
	if err != nil {
		t.Fatalf("%v\n%s", err, docs)
	}
	var written []runtime.Object
	for _, i := range m.Items {
		written = append(written, i.Objects...)
	}
	for _, o := range r.Objects {
		if !o.translated {
			written = append(written, o.Object)
		}
	}
	return [2]string{verdictOfTie(t, read), verdictOfTie(t, written)}
}

func verdictOfTie(t *testing.T, objects []runtime.Object) string {
	t.Helper()
	ix := index.New(index.Options{})
	for _, o := range objects {
		if m, problems, known := convert.Object(o); known && m != nil {
			if len(problems) > 0 {
				t.Fatal(problems)
			}
			ix.Upsert(m)
		}
	}
	ix.Flush()
	d := verdict.Decide(ix, model.Flow{
		Src: netip.MustParseAddr("203.0.113.7"), Dst: netip.MustParseAddr("10.0.0.1"), Protocol: model.TCP, DstPort: 80,
	})
	return d.Action.String()
}

const (
	spelledV3  = "projectcalico.org/v3"
	spelledCRD = "crd.projectcalico.org/v1"
	spelledOwn = "tierwall.io/v1alpha1"
)

// TestTiesKeepTheirOrder: policies of equal order go by the names that they have in
// the cluster that they come from, whatever else is there.
func TestTiesKeepTheirOrder(t *testing.T) {
	for _, test := range []struct {
		name     string
		policies []tiedPolicy
		want     string
	}{
		{"prefixed", []tiedPolicy{{spelledV3, "", "sec.b", "sec", "web", "Deny", ""}, {spelledV3, "", "sec.c", "sec", "web", "Allow", ""}}, "Deny"},
		{"prefixed, as data", []tiedPolicy{{spelledCRD, "", "sec.b", "sec", "web", "Deny", ""}, {spelledCRD, "", "sec.c", "sec", "web", "Allow", ""}}, "Deny"},
		{"bare", []tiedPolicy{{spelledV3, "", "b", "sec", "web", "Deny", ""}, {spelledV3, "", "c", "sec", "web", "Allow", ""}}, "Deny"},
		{"a bare name before prefixed ones", []tiedPolicy{{spelledV3, "", "c", "sec", "web", "Deny", ""}, {spelledV3, "", "sec.b", "sec", "web", "Allow", ""}}, "Deny"},
		{"a bare name behind prefixed ones", []tiedPolicy{{spelledV3, "", "sec.z", "sec", "web", "Deny", ""}, {spelledV3, "", "x", "sec", "web", "Allow", ""}}, "Deny"},
		{"one name with the tier and without", []tiedPolicy{{spelledV3, "", "b", "sec", "web", "Deny", ""}, {spelledV3, "", "sec.b", "sec", "web", "Allow", ""}}, "Deny"},
		{"of namespaces", []tiedPolicy{{spelledV3, "shop", "sec.b", "sec", "web", "Deny", ""}, {spelledV3, "shop", "sec.c", "sec", "web", "Allow", ""}}, "Deny"},
		{"of namespaces, bare", []tiedPolicy{{spelledV3, "shop", "b", "sec", "web", "Deny", ""}, {spelledV3, "shop", "c", "sec", "web", "Allow", ""}}, "Deny"},
		{"tier default, prefixed and bare", []tiedPolicy{{spelledV3, "", "b", "default", "web", "Deny", ""}, {spelledV3, "", "default.a", "default", "web", "Allow", ""}}, "Deny"},
		{"tier default, as data", []tiedPolicy{{spelledCRD, "", "default.b", "default", "web", "Deny", ""}, {spelledCRD, "", "default.c", "default", "web", "Allow", ""}}, "Deny"},
		{"equal orders", []tiedPolicy{{spelledV3, "", "sec.b", "sec", "web", "Deny", "7"}, {spelledV3, "", "sec.c", "sec", "web", "Allow", "7"}}, "Deny"},
		{"beside Tierwall's", []tiedPolicy{{spelledV3, "", "b", "sec", "web", "Deny", ""}, {spelledOwn, "", "c", "sec", "web", "Allow", ""}}, "Deny"},
		{"behind Tierwall's", []tiedPolicy{{spelledOwn, "", "b", "sec", "web", "Deny", ""}, {spelledV3, "", "c", "sec", "web", "Allow", ""}}, "Deny"},
	} {
		t.Run(test.name, func(t *testing.T) {
			docs := tiesWorld
			for _, p := range test.policies {
				docs += p.String()
			}
			for _, unrelated := range []tiedPolicy{
				{},
				{spelledV3, "", "b", "default", "other", "Allow", ""},
				{spelledV3, "", "default.b", "default", "other", "Allow", ""},
				{spelledV3, "", "platform.b", "platform", "other", "Allow", ""},
				{spelledV3, "", "b", "platform", "other", "Allow", ""},
				{spelledV3, "", "b-a", "sec", "other", "Allow", ""},
				{spelledOwn, "", "b", "platform", "other", "Allow", ""},
				{spelledOwn, "", "c", "platform", "other", "Allow", ""},
				{spelledOwn, "", "sec.b", "platform", "other", "Allow", ""},
				{spelledOwn, "shop", "b", "platform", "other", "Allow", ""},
				{spelledOwn, "shop", "c", "platform", "other", "Allow", ""},
				{spelledV3, "shop", "platform.b", "platform", "other", "Allow", ""},
				{spelledCRD, "", "default.z", "default", "other", "Allow", ""},
			} {
				with := docs
				if unrelated.name != "" {
					if collides(test.policies, unrelated) {
						continue
					}
					with += unrelated.String()
				}
				if got := verdictsOfTies(t, with); got != [2]string{test.want, test.want} {
					t.Errorf("as they are %s, converted %s, want %s; beside\n%s", got[0], got[1], test.want, unrelated)
				}
			}
		})
	}
}

// collides reports whether a policy would be another one's new version, or in the
// same cluster cannot be beside it.
func collides(policies []tiedPolicy, u tiedPolicy) bool {
	for _, p := range policies {
		sameName := p.namespace == u.namespace && strings.TrimPrefix(p.name, "default.") == strings.TrimPrefix(u.name, "default.")
		if sameName && (p.tier == u.tier || (p.apiVersion == spelledOwn) == (u.apiVersion == spelledOwn)) {
			return true
		}
	}
	return false
}

// TestUnrelatedPoliciesChangeNothing adds policies that do not select the receiver to
// random ones that do.
func TestUnrelatedPoliciesChangeNothing(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	pick := func(of ...string) string { return of[r.IntN(len(of))] }
	random := func(app string) tiedPolicy {
		p := tiedPolicy{
			apiVersion: pick(spelledV3, spelledV3, spelledCRD, spelledOwn), namespace: pick("", "shop"),
			name: pick("a", "b", "b-a", "b.c", "c"), tier: pick("sec", "platform", "default"),
			app: app, action: pick("Allow", "Deny", "Pass"), order: pick("", "", "10"),
		}
		if r.IntN(2) == 0 {
			p.name = p.tier + "." + p.name
		}
		return p
	}
	different := 0
	for range 400 {
		var policies []tiedPolicy
		docs := tiesWorld
		add := func(n int, app string) {
			for range n {
				if p := random(app); !collides(policies, p) {
					policies = append(policies, p)
					docs += p.String()
				}
			}
		}
		add(2+r.IntN(4), "web")
		without := verdictsOfTies(t, docs)
		if without[0] != without[1] {
			t.Fatalf("as they are %s, converted %s\n%s", without[0], without[1], docs)
		}
		if without[0] == "Deny" {
			different++
		}
		add(1+r.IntN(4), "other")
		if with := verdictsOfTies(t, docs); with != without {
			t.Fatalf("without those for app other %v, with them %v\n%s", without, with, docs)
		}
	}
	if different < 40 || different > 360 {
		t.Errorf("%d of 400 worlds deny: too one-sided to show anything", different)
	}
}
