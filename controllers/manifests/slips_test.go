package manifests

import (
	"strings"
	"testing"
)

// A kind or an apiVersion that nobody can have meant is an error: an object that
// is left out changes the answer of every command.
func TestSlips(t *testing.T) {
	tests := []struct {
		apiVersion, kind string
		want             string // of the error; "": skipped with a warning
	}{
		{"networking.k8s.io/v1", "Networkpolicy", `a.yaml:2:1: Networkpolicy/x: kind: networking.k8s.io has no kind "Networkpolicy"; did you mean "NetworkPolicy"?`},
		{"networking.k8s.io/v1", "NetworkPolcy", `a.yaml:2:1: NetworkPolcy/x: kind: networking.k8s.io has no kind "NetworkPolcy"; did you mean "NetworkPolicy"?`},
		{"networking.k8s.io/v1", "networkpolicies", `a.yaml:2:1: networkpolicies/x: kind: networking.k8s.io has no kind "networkpolicies"; did you mean "NetworkPolicy"?`},
		{"networking.k8s.io/v1beta1", "Networkpolicy", `a.yaml:2:1: Networkpolicy/x: kind: networking.k8s.io has no kind "Networkpolicy"; did you mean "NetworkPolicy"?`},
		{"Networking.k8s.io/v1", "NetworkPolicy", `a.yaml:1:1: NetworkPolicy/x: apiVersion: NetworkPolicy is not read as Networking.k8s.io/v1; want networking.k8s.io/v1 or tierwall.io/v1alpha1`},
		{"networking.k8s.oi/v1", "Networkpolicy", `a.yaml:1:1: Networkpolicy/x: apiVersion: Networkpolicy is not read as networking.k8s.oi/v1; did you mean networking.k8s.io/v1, kind "NetworkPolicy"?`},
		{"projectcalico.org/v3", "GlobalNetworkpolicy", `a.yaml:2:1: GlobalNetworkpolicy/x: kind: projectcalico.org has no kind "GlobalNetworkpolicy"; did you mean "GlobalNetworkPolicy"?`},
		{"projectcalico.org/v1", "NetworkPolicy", `a.yaml:1:1: NetworkPolicy/x: apiVersion: projectcalico.org has no version "v1"; want projectcalico.org/v3`},
		{"projectcalico.org/v1", "GlobalNetworkSet", `a.yaml:1:1: GlobalNetworkSet/x: apiVersion: projectcalico.org has no version "v1"; want projectcalico.org/v3`},
		{"crd.projectcalico.org/v3", "Tier", `a.yaml:1:1: Tier/x: apiVersion: crd.projectcalico.org has no version "v3"; want crd.projectcalico.org/v1`},
		{"projectcalico.com/v3", "GlobalNetworkPolicy", `a.yaml:1:1: GlobalNetworkPolicy/x: apiVersion: GlobalNetworkPolicy is not read as projectcalico.com/v3; want projectcalico.org/v3 or tierwall.io/v1alpha1`},
		{"v1", "pod", `a.yaml:2:1: pod/x: kind: v1 has no kind "pod"; did you mean "Pod"?`},
		{"v1", "NameSpace", `a.yaml:2:1: NameSpace/x: kind: v1 has no kind "NameSpace"; did you mean "Namespace"?`},
		{"apps/v1", "Deploymnt", `a.yaml:2:1: Deploymnt/x: kind: apps has no kind "Deploymnt"; did you mean "Deployment"?`},
		{"v1", "Deployment", `a.yaml:1:1: Deployment/x: apiVersion: Deployment is not read as v1; want apps/v1`},
		{"tierwal.io/v1alpha1", "Tier", `a.yaml:1:1: Tier/x: apiVersion: Tier is not read as tierwal.io/v1alpha1; want tierwall.io/v1alpha1`},
		{"projectcalico.org/v3", "policytest", `a.yaml:1:1: policytest/x: apiVersion: policytest is not read as projectcalico.org/v3; did you mean tierwall.io/v1alpha1, kind "PolicyTest"?`},
		{"cilium.io/v2", "CiliumNetworkPolcy", `a.yaml:2:1: CiliumNetworkPolcy/x: kind: cilium.io has no kind "CiliumNetworkPolcy"; did you mean "CiliumNetworkPolicy"?`},
		{"policy.networking.k8s.io/v1alpha2", "ClusternetworkPolicy", `a.yaml:2:1: ClusternetworkPolicy/x: kind: policy.networking.k8s.io has no kind "ClusternetworkPolicy"; did you mean "ClusterNetworkPolicy"?`},

		// Kinds of others.
		{"v1", "ConfigMap", ""},
		{"v1", "PodTemplate", ""},
		{"v1", "Secret", ""},
		{"rbac.authorization.k8s.io/v1", "Role", ""},
		{"networking.k8s.io/v1", "Ingress", ""},
		{"networking.k8s.io/v1", "ServiceCIDR", ""},
		{"apps/v1", "ControllerRevision", ""},
		{"projectcalico.org/v3", "IPPool", ""},
		{"projectcalico.org/v3", "BGPConfiguration", ""},
		{"cilium.io/v2", "CiliumNode", ""},
		{"cilium.io/v2", "CiliumNetworkPolicy", ""},
		{"cilium.io/v2", "CiliumCIDRGroup", ""},
		{"cilium.io/v2alpha1", "CiliumCIDRGroup", ""},
		{"policy.open-cluster-management.io/v1beta1", "PolicySet", ""},
		{"crd.antrea.io/v1beta1", "NetworkPolicy", ""},
		{"serving.knative.dev/v1", "Service", ""},
		{"security.istio.io/v1", "AuthorizationPolicy", ""},
	}
	for _, tt := range tests {
		t.Run(tt.apiVersion+" "+tt.kind, func(t *testing.T) {
			r, err := LoadBytes("a.yaml", []byte("apiVersion: "+tt.apiVersion+"\nkind: "+tt.kind+"\nmetadata: {name: x}\n"))
			switch {
			case tt.want == "" && (err != nil || len(r.Warnings) != 1):
				t.Errorf("got %v, %v, want one warning", r, err)
			case tt.want != "" && (err == nil || err.Error() != tt.want):
				t.Errorf("got\n%v\nwant\n%s", err, tt.want)
			}
		})
	}
}

// Whatever is named like a policy test is one, or an error.
func TestNoPolicyTestIsSkipped(t *testing.T) {
	const spec = "metadata: {name: x}\nspec: {cases: [{from: {ip: \"::1\"}, to: {ip: \"::2\"}, expect: Allow}]}\n"
	tests := []struct {
		name, text string
		want       string // in the error; "": the file holds no test
	}{
		{"two letters swapped", "apiVersion: tierwall.io/v1alpha1\nkind: PolicyTset\n" + spec, `d/a.yaml:2:1: PolicyTset/x: kind: tierwall.io has no kind "PolicyTset"; did you mean "PolicyTest"?`},
		{"lower case", "apiVersion: tierwall.io/v1alpha1\nkind: policytest\n" + spec, `d/a.yaml:2:1: policytest/x: kind: tierwall.io has no kind "policytest"; did you mean "PolicyTest"?`},
		{"plural", "apiVersion: tierwall.io/v1alpha1\nkind: PolicyTests\n" + spec, `did you mean "PolicyTest"?`},
		{"quoted, in JSON", `{"apiVersion": "tierwall.io/v1alpha1", "kind": "Policytest", "metadata": {"name": "x"}, "spec": {"cases": []}}`, `did you mean "PolicyTest"?`},
		{"a slip of the group", "apiVersion: tierwal.io/v1alpha1\nkind: PolicyTest\n" + spec, `d/a.yaml:1:1: PolicyTest/x: apiVersion: PolicyTest is not read as tierwal.io/v1alpha1; want tierwall.io/v1alpha1`},
		{"a group of nobody's", "apiVersion: example.com/v1\nkind: PolicyTest\n" + spec, `d/a.yaml:1:1: PolicyTest/x: apiVersion: PolicyTest is not read as example.com/v1; want tierwall.io/v1alpha1`},
		{"a group of another's, in lower case", "apiVersion: projectcalico.org/v3\nkind: policytest\n" + spec, `d/a.yaml:1:1: policytest/x: apiVersion: policytest is not read as projectcalico.org/v3; did you mean tierwall.io/v1alpha1, kind "PolicyTest"?`},
		{"another version", "apiVersion: tierwall.io/v1\nkind: PolicyTest\n" + spec, `tierwall.io has no version "v1"; want tierwall.io/v1alpha1`},
		{"no apiVersion", "kind: PolicyTest\n" + spec, `d/a.yaml:1:1: PolicyTest/x: apiVersion: is missing`},
		{"no kind", "apiVersion: tierwall.io/v1alpha1\n" + spec, `d/a.yaml:1:1: kind: is missing`},
		{"both", "apiVersion: tierwal.io/v1alpha1\nkind: PolicyTset\n" + spec, `did you mean tierwall.io/v1alpha1, kind "PolicyTest"?`},
		{"in a list", "apiVersion: v1\nkind: List\nitems:\n- apiVersion: tierwall.io/v1alpha1\n  kind: policyTest\n  metadata: {name: x}\n", `did you mean "PolicyTest"?`},
		{"after a document of others", "a: 1\n---\napiVersion: tierwall.io/v1alpha1\nkind: PolicyTset\n" + spec, `d/a.yaml:4:1: PolicyTset/x: kind`},
		{"the key in the wrong case", "apiVersion: tierwall.io/v1alpha1\nKind: PolicyTest\n" + spec, `d/a.yaml:1:1: kind: is missing`},

		{"others' kinds", "apiVersion: policy.open-cluster-management.io/v1beta1\nkind: PolicySet\nmetadata: {name: x}\n", ""},
		{"a template", "apiVersion: v1\nkind: {{ .Kind }}\n", ""},
		{"no policy test", "apiVersion: tierwall.io/v1alpha1\nkind: Tierr\nmetadata: {name: x}\n", ""},
	}
	const good = "apiVersion: tierwall.io/v1alpha1\nkind: PolicyTest\n" + spec
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			write(t, map[string]string{"d/a.yaml": tt.text, "d/b.yaml": good})
			found, err := FindTests([]string{"d"}, Options{})
			switch {
			case tt.want == "" && (err != nil || len(found) != 1):
				t.Errorf("got %d tests, %v", len(found), err)
			case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
				t.Errorf("got %v\nwant %s", err, tt.want)
			}
		})
	}
}
