package install

import (
	"fmt"
	"slices"
	"sort"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/tierwall/tierwall/controllers/operator"
)

// use says what a permission is for, and which package uses it.
type use struct{ verbs, where string }

// theAgents says that the manager has a permission only to pass it on.
const theAgents = "controllers/operator: nobody can grant what he has not"

// agentUses are all permissions of the agents: resource.group → verbs and use.
var agentUses = map[string]use{
	"namespaces":                        {"list watch", "controllers/cluster: labels of namespaces"},
	"nodes":                             {"get list watch", "controllers/cluster: addresses and pod CIDRs; get: controllers/agent/reporter, the owner of the report"},
	"pods":                              {"list watch", "controllers/cluster: endpoints and peers"},
	"serviceaccounts":                   {"list watch", "controllers/cluster: labels of service accounts"},
	"endpointslices.discovery.k8s.io":   {"list watch", "controllers/cluster: services as peers"},
	"networkpolicies.networking.k8s.io": {"list watch", "controllers/cluster: native policies"},
	"customresourcedefinitions.apiextensions.k8s.io":     {"list watch", "controllers/cluster: which kinds there are, also later"},
	"tokenreviews.authentication.k8s.io":                 {"create", "controllers/scrape: whose token a reader of metrics bears"},
	"subjectaccessreviews.authorization.k8s.io":          {"create", "controllers/scrape: whether that user may get /metrics"},
	"clusternetworkpolicies.policy.networking.k8s.io":    {"list watch", "controllers/cluster: policies"},
	"globalnetworkpolicies.tierwall.io":                  {"list watch", "controllers/cluster: policies"},
	"networkpolicies.tierwall.io":                        {"list watch", "controllers/cluster: policies"},
	"globalnetworksets.tierwall.io":                      {"list watch", "controllers/cluster: peers"},
	"networksets.tierwall.io":                            {"list watch", "controllers/cluster: peers"},
	"hostendpoints.tierwall.io":                          {"list watch", "controllers/cluster: endpoints"},
	"tiers.tierwall.io":                                  {"list watch", "controllers/cluster: order"},
	"tierwalls.tierwall.io":                              {"list watch", "controllers/cluster: settings"},
	"nodereports.tierwall.io":                            {"create get patch update", "controllers/agent/reporter: the node's report"},
	"podaddressreports.tierwall.io":                      {"create list patch watch", "controllers/startup: addresses of pods that have just started"},
	"felixconfigurations.*projectcalico.org":             {"list watch", "controllers/cluster: Calico's settings"},
	"kubecontrollersconfigurations.*projectcalico.org":   {"list watch", "controllers/cluster: Calico's settings"},
	"globalnetworkpolicies.*projectcalico.org":           {"list watch", "controllers/cluster: Calico's policies"},
	"networkpolicies.*projectcalico.org":                 {"list watch", "controllers/cluster: Calico's policies"},
	"stagedglobalnetworkpolicies.*projectcalico.org":     {"list watch", "controllers/cluster: Calico's policies"},
	"stagednetworkpolicies.*projectcalico.org":           {"list watch", "controllers/cluster: Calico's policies"},
	"stagedkubernetesnetworkpolicies.*projectcalico.org": {"list watch", "controllers/cluster: Calico's policies"},
	"globalnetworksets.*projectcalico.org":               {"list watch", "controllers/cluster: Calico's peers"},
	"networksets.*projectcalico.org":                     {"list watch", "controllers/cluster: Calico's peers"},
	"hostendpoints.*projectcalico.org":                   {"list watch", "controllers/cluster: Calico's endpoints"},
	"tiers.*projectcalico.org":                           {"list watch", "controllers/cluster: Calico's order"},
}

// managerUses are all permissions of the manager in the whole cluster that the
// agents have not. A name in brackets restricts it to objects of that name.
var managerUses = map[string]use{
	"tierwalls.tierwall.io":                                         {"create get patch", "controllers/operator: the default object, its finalizer"},
	"tierwalls/status.tierwall.io":                                  {"patch", "controllers/operator: conditions"},
	"tiers.tierwall.io":                                             {"create get patch", "controllers/operator: the built-in tiers; controllers/tiers: the finalizer"},
	"tiers/status.tierwall.io":                                      {"patch", "controllers/tiers: what a deletion waits for"},
	"nodereports.tierwall.io":                                       {"deletecollection list watch", "controllers/status: what agents report; controllers/operator: they go with the agents"},
	"podaddressreports.tierwall.io":                                 {"deletecollection", "controllers/operator: they go with the agents"},
	"globalnetworkpolicies/status.tierwall.io":                      {"patch", "controllers/status"},
	"networkpolicies/status.tierwall.io":                            {"patch", "controllers/status"},
	"clusterroles.rbac.authorization.k8s.io[tierwall-agent]":        {"create delete get list patch watch", "controllers/operator: the agents' role"},
	"clusterrolebindings.rbac.authorization.k8s.io[tierwall-agent]": {"create delete get list patch watch", "controllers/operator: the agents' role"},
	"events.events.k8s.io":                                          {"create patch", "controllers/operator, controllers/status, controllers/tiers: what a person must act on"},
	"validatingadmissionpolicies.admissionregistration.k8s.io[tierwall-built-in-tiers]":          {"get", "controllers/admission: whether it is in place"},
	"validatingadmissionpolicies.admissionregistration.k8s.io[tierwall-manager-daemonset]":       {"get", "controllers/admission: whether it is in place"},
	"validatingadmissionpolicies.admissionregistration.k8s.io[tierwall-manager-objects]":         {"get", "controllers/admission: whether it is in place"},
	"validatingadmissionpolicies.admissionregistration.k8s.io[tierwall-node-reports]":            {"get", "controllers/admission: whether it is in place"},
	"validatingadmissionpolicies.admissionregistration.k8s.io[tierwall-tier-ownership]":          {"get", "controllers/admission: whether it is in place"},
	"validatingadmissionpolicybindings.admissionregistration.k8s.io[tierwall-built-in-tiers]":    {"get", "controllers/admission: whether it is in place"},
	"validatingadmissionpolicybindings.admissionregistration.k8s.io[tierwall-manager-daemonset]": {"get", "controllers/admission: whether it is in place"},
	"validatingadmissionpolicybindings.admissionregistration.k8s.io[tierwall-manager-objects]":   {"get", "controllers/admission: whether it is in place"},
	"validatingadmissionpolicybindings.admissionregistration.k8s.io[tierwall-node-reports]":      {"get", "controllers/admission: whether it is in place"},
	"validatingadmissionpolicybindings.admissionregistration.k8s.io[tierwall-tier-ownership]":    {"get", "controllers/admission: whether it is in place"},
	"validatingwebhookconfigurations.admissionregistration.k8s.io[tierwall-validation]":          {"create get patch", "controllers/admission: kept in place; whom the API server trusts"},
}

// managerLocalUses are all permissions of the manager in its own namespace.
var managerLocalUses = map[string]use{
	"daemonsets.apps[tierwall-agent]":              {"create delete get list patch watch", "controllers/operator: the agents"},
	"serviceaccounts[tierwall-agent]":              {"create delete get list patch watch", "controllers/operator: the agents' account"},
	"services[tierwall-agent]":                     {"create delete get list patch watch", "controllers/operator: the agents' metrics"},
	"configmaps[tierwall-removed]":                 {"create delete get patch", "controllers/operator: that a person has removed Tierwall"},
	"deployments.apps[tierwall-manager]":           {"get", "controllers/operator: owner of that ConfigMap"},
	"pods":                                         {"get list watch", "controllers/operator: how the agents are; get: the manager's own image"},
	"leases.coordination.k8s.io":                   {"create", "cmd: leader election; a name cannot restrict creation"},
	"leases.coordination.k8s.io[tierwall-manager]": {"get update", "cmd: leader election"},
	"events":                        {"create patch", "cmd: leader election"},
	"secrets[tierwall-webhook-tls]": {"create get patch", "controllers/admission: the webhook's certificate"},
	"services[tierwall-webhook]":    {"create patch", "controllers/admission: what leads to the webhook"},
}

// Every permission is used, every use has its permission.
func TestPermissions(t *testing.T) {
	objects, err := Render("config/rbac")
	if err != nil {
		t.Fatal(err)
	}
	var cluster rbacv1.ClusterRole
	var local rbacv1.Role
	find(t, objects, "ClusterRole", operator.ManagerName, &cluster)
	find(t, objects, "Role", operator.ManagerName, &local)

	agents := grants(t, operator.AgentRules())
	compare(t, "the agents' ClusterRole", agents, agentUses)
	compare(t, "Role "+local.Name, grants(t, local.Rules), managerLocalUses)

	// The manager's is the sum of its own and the agents'.
	both := map[string]use{}
	for k, u := range agentUses {
		both[k] = use{u.verbs, theAgents}
	}
	for k, u := range managerUses {
		both[k] = use{join(strings.Fields(u.verbs + " " + both[k].verbs)), u.where}
	}
	compare(t, "ClusterRole "+cluster.Name, grants(t, cluster.Rules), both)
}

// Nobody reads secrets but by name, nothing is granted by a wildcard, nobody gets
// into pods or acts as somebody else, or passes on more than he has.
func TestNoPermissionIsTooMuch(t *testing.T) {
	objects, err := Render("config/default")
	if err != nil {
		t.Fatal(err)
	}
	rules := map[string][]rbacv1.PolicyRule{"the agents": operator.AgentRules()}
	bound := map[string]bool{} // by a binding of what is installed
	for _, o := range objects {
		if k := o.GetKind(); k == "ClusterRole" || k == "Role" {
			var r rbacv1.Role
			convert(t, o, &r)
			rules[k+"/"+r.Name] = r.Rules
		} else if k == "ClusterRoleBinding" || k == "RoleBinding" {
			var b rbacv1.RoleBinding
			convert(t, o, &b)
			bound[b.RoleRef.Kind+"/"+b.RoleRef.Name] = true
			for _, s := range b.Subjects {
				if s.Kind != rbacv1.ServiceAccountKind || s.Namespace != operator.DefaultNamespace || s.Name != operator.ManagerName {
					t.Errorf("%s/%s gives to %+v", k, b.Name, s)
				}
			}
		}
	}
	for name, list := range rules {
		for _, r := range list {
			all := slices.Concat(r.APIGroups, r.Resources, r.Verbs, r.NonResourceURLs)
			if slices.Contains(all, "*") {
				t.Errorf("%s: a wildcard: %v", name, r)
			}
			for _, v := range r.Verbs {
				if slices.Contains([]string{"escalate", "bind", "impersonate"}, v) {
					t.Errorf("%s: the verb %s: %v", name, v, r)
				}
			}
			for _, resource := range r.Resources {
				switch {
				case resource == "secrets" && (len(r.ResourceNames) == 0 || !strings.HasPrefix(name, "Role/")):
					t.Errorf("%s: secrets without a name, or everywhere: %v", name, r)
				case slices.Contains([]string{"pods/exec", "pods/attach", "pods/portforward", "pods/proxy", "nodes/proxy", "serviceaccounts/token"}, resource):
					t.Errorf("%s: %s", name, resource)
				}
			}
		}
	}
	if len(bound) == 0 {
		t.Error("no binding found")
	}
}

// grants lists, by resource, the verbs of rules.
func grants(t *testing.T, rules []rbacv1.PolicyRule) map[string][]string {
	t.Helper()
	out := map[string][]string{}
	calico := map[string]int{}
	for _, r := range rules {
		if len(r.NonResourceURLs) > 0 {
			t.Errorf("not foreseen: %v", r)
		}
		for _, g := range r.APIGroups {
			for _, resource := range r.Resources {
				key := resource
				switch {
				case g == "projectcalico.org" || g == "crd.projectcalico.org":
					key += ".*projectcalico.org"
					calico[key]++
				case g != "":
					key += "." + g
				}
				if len(r.ResourceNames) == 0 {
					out[key] = append(out[key], r.Verbs...)
				}
				for _, name := range r.ResourceNames {
					out[key+"["+name+"]"] = append(out[key+"["+name+"]"], r.Verbs...)
				}
			}
		}
	}
	for key, n := range calico {
		if n != 2 {
			t.Errorf("%s is granted in one spelling of the group only", key)
		}
	}
	return out
}

func join(verbs []string) string {
	sort.Strings(verbs)
	return strings.Join(slices.Compact(verbs), " ")
}

func compare(t *testing.T, what string, granted map[string][]string, uses map[string]use) {
	t.Helper()
	for key, verbs := range granted {
		u, known := uses[key]
		switch got := join(verbs); {
		case !known:
			t.Errorf("%s grants %s of %s: what is it for?", what, got, key)
		case got != u.verbs:
			t.Errorf("%s grants %s of %s; used: %s (%s)", what, got, key, u.verbs, u.where)
		}
	}
	for key, u := range uses {
		if _, ok := granted[key]; !ok {
			t.Errorf("%s does not grant %s of %s, for %s", what, u.verbs, key, u.where)
		}
		if u.where == "" {
			t.Errorf("%s: %s: where is it used?", what, key)
		}
	}
}

// find decodes the one object of a kind and name.
func find(t *testing.T, objects []*unstructured.Unstructured, kind, name string, into any) {
	t.Helper()
	for _, o := range objects {
		if o.GetKind() == kind && o.GetName() == name {
			convert(t, o, into)
			return
		}
	}
	t.Fatalf("no %s/%s", kind, name)
}

func convert(t *testing.T, o *unstructured.Unstructured, into any) {
	t.Helper()
	if err := runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(o.Object, into, true); err != nil {
		t.Fatal(fmt.Errorf("%s/%s: %w", o.GetKind(), o.GetName(), err))
	}
}
