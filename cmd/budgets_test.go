package cmd

import (
	"fmt"
	"strings"
	"testing"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/controllers/manifests"
	"github.com/tierwall/tierwall/policy/budget"
)

// budgetWorld is a namespace with pods web and db, and settings of its budget.
func budgetWorld(mode string) string {
	return fmt.Sprintf(`
apiVersion: tierwall.io/v1alpha1
kind: Tierwall
metadata: {name: default}
spec: {budgets: {mode: %q, namespace: 10}}
---
apiVersion: v1
kind: Node
metadata: {name: n1}
spec: {podCIDRs: [10.1.1.0/24]}
status: {addresses: [{type: InternalIP, address: 192.168.0.1}]}
---
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: shop, labels: {app: web}}
spec: {nodeName: n1, containers: [{name: c, image: i}]}
status: {podIPs: [{ip: 10.1.1.1}]}
---
apiVersion: v1
kind: Pod
metadata: {name: db, namespace: shop, labels: {app: db}}
spec: {nodeName: n1, containers: [{name: c, image: i}]}
status: {podIPs: [{ip: 10.1.1.2}]}
---
`, mode)
}

// letIn is a policy of so many entries, 4 or more, that lets 203.0.113.7 and pod web in.
func letIn(name, app string, day, entries int) string {
	from := []string{"{ipBlock: {cidr: 203.0.113.7/32}}", "{podSelector: {matchLabels: {app: web}}}"}
	for i := range entries - 4 {
		from = append(from, fmt.Sprintf("{ipBlock: {cidr: 198.51.100.%d/32}}", i))
	}
	return fmt.Sprintf(`
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: %s, namespace: shop, creationTimestamp: "2026-01-%02dT00:00:00Z"}
spec: {podSelector: {matchLabels: {app: %s}}, ingress: [{from: [%s]}]}
---
`, name, day, app, strings.Join(from, ", "))
}

// TestBudgets: every command that evaluates policies takes one past its budget for what
// agents make of it, and says so.
func TestBudgets(t *testing.T) {
	reaches := `
apiVersion: tierwall.io/v1alpha1
kind: PolicyTest
metadata: {name: reaches}
spec:
  resources: [world.yaml]
  cases: [{name: db, from: {ip: 203.0.113.7}, to: {pod: shop/db, port: 5432}, expect: Allow}]
`
	const past = "NetworkPolicy/shop/young: past the budget of namespace shop: its policies and NetworkSets have 13, of at most 10; it denies everything that it governs"
	for _, c := range []struct {
		name, args    string
		denied, count string // of the output
		status        [2]int // with Enforce, with Count
	}{
		{"explain", "explain -f world.yaml --from 203.0.113.7 --to shop/db --port 5432", "Deny", "Allow", [2]int{1, 0}},
		{"effective", "effective -f world.yaml shop/db", "Deny", "Allow", [2]int{0, 0}},
		{"matrix", "matrix -f world.yaml -o json", `"cells": []`, "NetworkPolicy/shop/young", [2]int{0, 0}},
		{"who-can", "who-can reach shop/db --port 5432 -f world.yaml", "", "203.0.113.7", [2]int{0, 0}},
		{"test", "test test.yaml", "FAIL", "PASS", [2]int{1, 0}},
		{"diff", "diff within.yaml world.yaml", "203.0.113.7", "", [2]int{1, 0}},
		{"render", "render -f world.yaml --node n1", "", "203.0.113.7", [2]int{0, 0}},
		{"report", "report -f world.yaml --base within.yaml -o md", "203.0.113.7", "", [2]int{1, 0}},
	} {
		for i, mode := range []string{"Enforce", "Count"} {
			t.Run(c.name+"/"+mode, func(t *testing.T) {
				inFolder(t, map[string]string{
					"world.yaml":  budgetWorld(mode) + letIn("old", "web", 1, 6) + letIn("young", "db", 2, 7),
					"within.yaml": strings.ReplaceAll(budgetWorld(mode), "namespace: 10", "namespace: 100") + letIn("old", "web", 1, 6) + letIn("young", "db", 2, 7),
					"test.yaml":   reaches,
				})
				o := runMain(t, "", strings.Fields(c.args)...)
				said, want := o.errOut, past
				if mode == "Count" {
					want += " once budgets are enforced"
				}
				if c.name == "report" {
					said, want = o.out, "past the budget of namespace shop" // among the findings
				}
				if o.status != c.status[i] || !strings.Contains(said, want) {
					t.Errorf("status %d, want %d; said\n%s\nwant %s", o.status, c.status[i], said, want)
				}
				if text := []string{c.denied, c.count}[i]; !strings.Contains(o.out, text) {
					t.Errorf("printed:\n%s\nwant %q in it", o.out, text)
				}
			})
		}
	}
}

// TestNodeBudget: every command that evaluates policies takes a pod past its node's budget
// for denied, and says so.
func TestNodeBudget(t *testing.T) {
	reaches := `
apiVersion: tierwall.io/v1alpha1
kind: PolicyTest
metadata: {name: reaches}
spec:
  resources: [world.yaml]
  cases: [{name: web, from: {ip: 203.0.113.7}, to: {pod: shop/web, port: 5432}, expect: Allow}]
`
	// Of equal claims the first pod by name has its policy: db. The policies have 6 and 7.
	const past = "Node/n1: Pod/shop/web: past the budget of the node: the policies of namespace shop have 13 entries on the node, for each group of pods that they select, more than its share of 10; "
	for _, c := range []struct {
		name, args    string
		denied, count string // of the output
		status        [2]int // with Enforce, with Count
	}{
		{"explain", "explain -f world.yaml --from 203.0.113.7 --to shop/web --port 5432", "a pod past the budget of its node", "Allow", [2]int{1, 0}},
		{"explain another", "explain -f world.yaml --from 203.0.113.7 --to shop/db --port 5432", "Allow", "Allow", [2]int{0, 0}},
		{"explain what it sends", "explain -f world.yaml --from shop/web --to 203.0.113.7 --port 443", "a pod past the budget of its node", "Allow", [2]int{1, 0}},
		{"effective", "effective -f world.yaml shop/web", "", "NetworkPolicy/shop/old", [2]int{0, 0}},
		{"matrix", "matrix -f world.yaml -o json", "", "", [2]int{0, 0}},
		{"who-can", "who-can reach shop/web --port 5432 -f world.yaml", "", "203.0.113.7", [2]int{0, 0}},
		{"test", "test test.yaml", "FAIL", "PASS", [2]int{1, 0}},
		{"diff", "diff within.yaml world.yaml", "203.0.113.7", "", [2]int{1, 0}},
		{"render", "render -f world.yaml --node n1", "", "203.0.113.7", [2]int{0, 0}},
		{"report", "report -f world.yaml --base within.yaml -o md", "203.0.113.7", "", [2]int{1, 0}},
		{"lint", "lint -f world.yaml", "pods-past-budget", "pods-past-budget", [2]int{1, 0}},
	} {
		for i, mode := range []string{"Enforce", "Count"} {
			t.Run(c.name+"/"+mode, func(t *testing.T) {
				world := strings.ReplaceAll(budgetWorld(mode), "namespace: 10", "namespace: 100, node: 10") + letIn("old", "web", 1, 6) + letIn("young", "db", 2, 7)
				inFolder(t, map[string]string{"world.yaml": world, "within.yaml": strings.ReplaceAll(world, "node: 10}", "node: 100}"), "test.yaml": reaches})
				o := runMain(t, "", strings.Fields(c.args)...)
				said, want := o.errOut, past
				switch c.name {
				case "report", "lint":
					said, want = o.out, "past the budget of the node" // among the findings
				default:
					if mode == "Count" {
						want += "they are denied everything once budgets are enforced"
					} else {
						want += "a restarted agent denies them everything"
					}
				}
				if o.status != c.status[i] || !strings.Contains(said, want) {
					t.Errorf("status %d, want %d; said\n%s\nwant %s", o.status, c.status[i], said, want)
				}
				if text := []string{c.denied, c.count}[i]; !strings.Contains(o.out, text) {
					t.Errorf("printed:\n%s\nwant %q in it", o.out, text)
				}
				if c.name == "who-can" && i == 0 && strings.Contains(o.out, "203.0.113.7") {
					t.Errorf("printed:\n%s", o.out)
				}
			})
		}
	}
}

// TestBudgetsOfACluster: where files are laid over a cluster, what is in force stays, and
// of a cluster's own policies those that agents report to be in force.
func TestBudgetsOfACluster(t *testing.T) {
	live := func(extra string) *manifests.Result {
		t.Helper()
		r, err := manifests.Load([]string{manifests.Stdin}, manifests.Options{Stdin: strings.NewReader(budgetWorld("Enforce") + extra)})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	for _, tt := range []struct {
		name          string
		cluster, file string
		reported      v1alpha1.PastBudgetForm // of young
		want          string
	}{
		{"a version that grows", letIn("young", "db", 2, 7), letIn("young", "db", 2, 11), "", "it keeps its previous version until an agent restarts, and denies everything that it governs then"},
		{"a version for other pods", letIn("young", "db", 2, 7), letIn("young", "web", 2, 11), "", "it keeps its previous version until an agent restarts, and newly selected pods are denied"},
		{"a new policy", letIn("old", "web", 1, 6), letIn("young", "db", 2, 7), "", "it denies everything that it governs"},
		{"one that was past it before", letIn("old", "web", 1, 6) + letIn("young", "db", 2, 7), letIn("young", "db", 2, 8), "", "it denies everything that it governs"},
		{"the cluster's own", letIn("old", "web", 1, 6) + letIn("young", "db", 2, 7), "", "", "it denies everything that it governs"},
		{"the cluster's own that is in force", letIn("old", "web", 1, 6) + letIn("young", "db", 2, 7), "", v1alpha1.PastBudgetCurrent, "it is in force until an agent restarts, and denies everything that it governs then"},
		{"the cluster's own of which an earlier one is, in part", letIn("old", "web", 1, 6) + letIn("young", "db", 2, 7), "", v1alpha1.PastBudgetNarrowed, "it denies everything that it governs (on n1 an earlier version is in force, which only the agent has)"},
		{"the cluster's own that is denied", letIn("old", "web", 1, 6) + letIn("young", "db", 2, 7), "", v1alpha1.PastBudgetDenyAll, "it denies everything that it governs"},
		{"the cluster's own of which an earlier one is", letIn("old", "web", 1, 6) + letIn("young", "db", 2, 7), "", v1alpha1.PastBudgetPrevious, "it denies everything that it governs (on n1 an earlier version is in force, which only the agent has)"},
	} {
		// Agents of earlier versions say it in the message alone.
		for _, older := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/older agent %v", tt.name, older), func(t *testing.T) {
				r := live(tt.cluster)
				if tt.reported != "" {
					report := &v1alpha1.NodeReport{ObjectMeta: metav1.ObjectMeta{Name: "n1"}}
					f := v1alpha1.FailedPolicy{Policy: "NetworkPolicy/shop/young", Message: "in other words", PastBudget: tt.reported}
					if older {
						f.PastBudget, f.Message = "", "instead of it holds: "+budget.Describe(tt.reported)+"; past the budget: 13"
					}
					report.Report.Failed = []v1alpha1.FailedPolicy{f, {Policy: "NetworkPolicy/shop/young", Message: "the kernel does not take it"}}
					r.Objects = append(r.Objects, manifests.Object{Object: manifests.Trim(report).(*v1alpha1.NodeReport)})
				}
				if tt.file != "" {
					files, err := manifests.Load([]string{manifests.Stdin}, manifests.Options{Stdin: strings.NewReader(tt.file)})
					if err != nil {
						t.Fatal(err)
					}
					r.Overlay(files)
				}
				var warned strings.Builder
				ix, err := buildIndex(streams{errOut: &warned}, r, false)
				if err != nil {
					t.Fatal(err)
				}
				if text := warned.String(); strings.Count(text, "\n") != 1 || !strings.Contains(text, "; "+tt.want+"\n") {
					t.Errorf("said\n%s\nwant one line with %s", text, tt.want)
				}
				for _, p := range ix.Policies() {
					if p.Ref.Name == "young" && strings.HasPrefix(tt.want, "it denies") != budget.IsStandIn(p) {
						t.Errorf("young has %d entries", p.Entries)
					}
				}
			})
		}
	}
}

// TestBudgetWarnings: a namespace far past its budget fills no screen.
func TestBudgetWarnings(t *testing.T) {
	var r manifests.Result
	var past []budget.Excess
	for i := range 20 {
		p := &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: fmt.Sprint("p", i)}}
		e := budget.Excess{Sum: 20, Limit: 1}
		e.Ref.Kind, e.Ref.Namespace, e.Ref.Name = "NetworkPolicy", p.Namespace, p.Name
		past = append(past, e)
	}
	var warned strings.Builder
	warnBudgets(streams{errOut: &warned}, &r, pastBudgets{policies: past})
	if text := warned.String(); strings.Count(text, "\n") != 6 || !strings.HasSuffix(text, "warning: namespace shop has 15 more policies past its budget\n") {
		t.Error(text)
	}
}
