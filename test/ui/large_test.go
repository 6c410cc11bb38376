package ui

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
)

// large writes manifests and records of a cluster: workloads in namespaces, and edges
// between them.
func large(t *testing.T, namespaces, each, edges int) (objects, records string) {
	t.Helper()
	dir := t.TempDir()
	var yaml, lines strings.Builder
	yaml.WriteString("apiVersion: v1\nkind: Node\nmetadata: {name: node-1}\nspec: {podCIDR: 10.0.0.0/16}\nstatus: {addresses: [{type: InternalIP, address: 192.0.2.1}]}\n")
	addr := func(i int) string { return fmt.Sprintf("10.0.%d.%d", i/200, i%200+1) }
	for i := range namespaces * each {
		fmt.Fprintf(&yaml, "---\napiVersion: v1\nkind: Pod\nmetadata: {name: w%d, namespace: team-%d, labels: {app: w%d}}\nspec: {nodeName: node-1, containers: [{name: c, ports: [{name: http, containerPort: 8080}]}]}\nstatus: {phase: Running, podIP: %s}\n",
			i%each, i/each, i%each, addr(i))
	}
	for n := range namespaces {
		fmt.Fprintf(&yaml, "---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: own, namespace: team-%d}\nspec: {podSelector: {}, ingress: [{from: [{podSelector: {}}]}]}\n", n)
	}
	random := rand.New(rand.NewPCG(16, 2))
	seen := map[[2]int]bool{}
	for len(seen) < edges {
		k := [2]int{random.IntN(namespaces * each), random.IntN(namespaces * each)}
		if k[0] == k[1] || seen[k] {
			continue
		}
		seen[k] = true
		action, counts := "Allow", `"connections":{"new":5,"closed":5,"live":0}`
		if k[0]/each != k[1]/each {
			action, counts = "Deny", `"denied":2,"connections":{"new":0,"closed":0,"live":0}`
		}
		end := func(i int) string {
			return fmt.Sprintf(`{"kind":"Pod","namespace":"team-%d","workload":"Pod/w%d","node":"node-1","addresses":[%q]}`, i/each, i%each, addr(i))
		}
		fmt.Fprintf(&lines, `{"start":"2026-11-30T09:00:00Z","end":"2026-11-30T09:15:00Z","source":%s,"destination":%s,"protocol":"TCP","port":8080,"decided":{"action":%q},%s}`+"\n",
			end(k[0]), end(k[1]), action, counts)
	}
	objects, records = filepath.Join(dir, "cluster.yaml"), filepath.Join(dir, "flows.jsonl")
	for file, text := range map[string]string{objects: yaml.String(), records: lines.String()} {
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return objects, records
}

// TestLarge: 500 workloads and 2,000 edges are drawn, all groups open. How long that takes
// is logged; the budget is a second.
func TestLarge(t *testing.T) {
	objects, records := large(t, 20, 25, 2000)
	x := open(t, serve(t, "-f", objects, "--records", records))
	best := 1e9
	for range 3 {
		x.view("why", "main h1")
		ms := eval[float64](x, `new Promise((done) => {
			const start = performance.now();
			const look = () => {
				const svg = document.querySelector(".graph svg");
				if (svg && svg.dataset.lines >= 2000) requestAnimationFrame(() => setTimeout(() => done(performance.now() - start)));
				else setTimeout(look, 5);
			};
			location.hash = "#/map?fold=open";
			look();
		})`, chromedp.EvalAwaitPromise)
		best = min(best, ms)
	}
	if n := eval[int](x, `document.querySelectorAll(".graph .item:not(.head)").length`); n != 500 {
		t.Errorf("%d workloads are drawn", n)
	}
	t.Logf("500 workloads and 2,000 edges took %.0f ms at best", best)
	x.shot("large", "light", 1441)
	x.view("map?as=heat&fold=open", "table.matrix")
}
