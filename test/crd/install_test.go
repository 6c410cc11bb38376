package crd

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"testing"

	apivalidation "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/validation"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel/model"
	"k8s.io/apimachinery/pkg/util/version"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"k8s.io/apiserver/pkg/cel/environment"
)

// oldest is the oldest Kubernetes release that the CRDs install on: isIP and
// isCIDR, optional field selection and selectable fields are all there.
var oldest = version.MajorMinor(1, 31)

func TestKinds(t *testing.T) {
	type names struct{ scope, short, plural string }
	want := map[string]names{
		"Tier":                {"Cluster", "[]", "tiers"},
		"GlobalNetworkPolicy": {"Cluster", "[gnp]", "globalnetworkpolicies"},
		"NetworkPolicy":       {"Namespaced", "[tnp]", "networkpolicies"},
		"GlobalNetworkSet":    {"Cluster", "[gns]", "globalnetworksets"},
		"NetworkSet":          {"Namespaced", "[netset]", "networksets"},
		"HostEndpoint":        {"Cluster", "[hep]", "hostendpoints"},
		"Tierwall":            {"Cluster", "[tw]", "tierwalls"},
		"NodeReport":          {"Cluster", "[]", "nodereports"},
		"PodAddressReport":    {"Cluster", "[]", "podaddressreports"},
	}
	defs := loadDefinitions(t)
	if got := slices.Sorted(maps.Keys(defs)); len(got) != len(want) {
		t.Errorf("CRDs of %v, want %v", got, slices.Sorted(maps.Keys(want)))
	}
	for kind, w := range want {
		d := defs[kind]
		if d == nil {
			t.Errorf("%s: no CRD", kind)
			continue
		}
		n := d.v1.Spec.Names
		got := names{string(d.v1.Spec.Scope), fmt.Sprint(n.ShortNames), n.Plural}
		if got != w {
			t.Errorf("%s: got %v, want %v", kind, got, w)
		}
		if !slices.Equal(n.Categories, []string{"tierwall-io"}) {
			t.Errorf("%s: categories %v", kind, n.Categories)
		}
		v := d.v1.Spec.Versions[0]
		hasStatus := v.Subresources != nil && v.Subresources.Status != nil
		_, statusField := v.Schema.OpenAPIV3Schema.Properties["status"]
		if hasStatus != statusField {
			t.Errorf("%s: status subresource %v, status field %v", kind, hasStatus, statusField)
		}
		if policy := kind == "GlobalNetworkPolicy" || kind == "NetworkPolicy"; policy {
			if len(v.SelectableFields) != 1 || v.SelectableFields[0].JSONPath != ".spec.tier" {
				t.Errorf("%s: selectable fields %v, want .spec.tier", kind, v.SelectableFields)
			}
		}
	}
}

// TestInstall runs the API server's own validation of a new CRD.
func TestInstall(t *testing.T) {
	for kind, d := range loadDefinitions(t) {
		for _, err := range apivalidation.ValidateCustomResourceDefinition(context.Background(), d.internal) {
			t.Errorf("%s: %v", kind, err)
		}
	}
}

// TestInstallOnOldestRelease compiles every rule with the CEL of the oldest
// supported release and adds up the costs as that release estimates them:
// before 1.34, maxLength of an int-or-string counted for nothing there.
func TestInstallOnOldestRelease(t *testing.T) {
	env := environment.MustBaseEnvSet(oldest)
	for kind, d := range loadDefinitions(t) {
		s := d.structural.DeepCopy()
		var total uint64
		walk(s, "", 1, true, func(node *schema.Structural, _ string, _ uint64, _ bool) {
			if node.XIntOrString && node.ValueValidation != nil {
				node.ValueValidation.MaxLength = nil
			}
		})
		walk(s, "", 1, true, func(node *schema.Structural, path string, count uint64, root bool) {
			results, err := cel.Compile(node, model.SchemaDeclType(node, root), celconfig.PerCallLimit, env, cel.NewExpressionsEnvLoader())
			if err != nil {
				t.Errorf("%s: %s: %v", kind, path, err)
			}
			for i, r := range results {
				if r.Error != nil {
					t.Errorf("%s: %s: rule %d: %v", kind, path, i, r.Error)
					continue
				}
				if count == 0 {
					t.Errorf("%s: %s: rule %d is below a list without maxItems", kind, path, i)
					continue
				}
				cost := r.MaxCost * count
				if r.MaxCost != 0 && cost/r.MaxCost != count || cost > apivalidation.StaticEstimatedCostLimit {
					t.Errorf("%s: %s: rule %d: estimated cost %d × %d exceeds %d: %s", kind, path, i, r.MaxCost, count, apivalidation.StaticEstimatedCostLimit, node.XValidations[i].Rule)
				}
				total += cost
			}
		})
		if total > apivalidation.StaticEstimatedCRDCostLimit {
			t.Errorf("%s: estimated cost of all rules %d exceeds %d", kind, total, apivalidation.StaticEstimatedCRDCostLimit)
		}
		t.Logf("%s: estimated cost %d of %d", kind, total, apivalidation.StaticEstimatedCRDCostLimit)
	}
}

// walk visits a schema and everything below it; count is how often a node can
// occur in an object, 0 if that is unbounded.
func walk(s *schema.Structural, path string, count uint64, root bool, visit func(s *schema.Structural, path string, count uint64, root bool)) {
	visit(s, path, count, root)
	for _, name := range slices.Sorted(maps.Keys(s.Properties)) {
		p := s.Properties[name]
		walk(&p, path+"."+name, count, false, visit)
		s.Properties[name] = p
	}
	if s.Items != nil {
		var items uint64
		if s.ValueValidation != nil && s.ValueValidation.MaxItems != nil {
			items = uint64(*s.ValueValidation.MaxItems)
		}
		walk(s.Items, path+"[]", count*items, false, visit)
	}
	if s.AdditionalProperties != nil && s.AdditionalProperties.Structural != nil {
		walk(s.AdditionalProperties.Structural, path+"{}", 0, false, visit)
	}
}
