package cmd

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// liveServer answers lists and single objects by path, and everything else with 404. It
// counts what it was asked for.
func liveServer(t *testing.T, lists map[string][]string, objects map[string]string) (server *httptest.Server, asked *[]string) {
	t.Helper()
	asked = &[]string{}
	server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		*asked = append(*asked, r.URL.Path)
		w.Header().Set("Content-Type", "application/json")
		if o, ok := objects[r.URL.Path]; ok {
			fmt.Fprint(w, o)
			return
		}
		items, ok := lists[r.URL.Path]
		if !ok {
			code := http.StatusNotFound
			if strings.HasPrefix(r.URL.Path, "/apis/apps/v1/namespaces/secret/") {
				code = http.StatusForbidden
			}
			w.WriteHeader(code)
			fmt.Fprintf(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":%q,"code":%d}`, strings.ReplaceAll(http.StatusText(code), " ", ""), code)
			return
		}
		fmt.Fprintf(w, `{"kind":"List","apiVersion":"v1","metadata":{},"items":[%s]}`, strings.Join(items, ","))
	}))
	t.Cleanup(server.Close)
	return server, asked
}

func livePod(namespace, name, ip, labels, owner string) string {
	if owner != "" {
		kind, of, _ := strings.Cut(owner, "/")
		owner = fmt.Sprintf(`,"ownerReferences":[{"apiVersion":"apps/v1","kind":%q,"name":%q,"uid":"u","controller":true}]`, kind, of)
	}
	return fmt.Sprintf(`{"metadata":{"name":%q,"namespace":%q,"labels":{%s}%s},"spec":{"nodeName":"n1","containers":[{"name":"c","image":"i"}]},"status":{"phase":"Running","podIP":%q,"podIPs":[{"ip":%q}]}}`,
		name, namespace, labels, owner, ip, ip)
}

// TestWorkloadsOfACluster: deploy/web and its like are found by the owners of the pods, and
// without a running pod by the workload itself.
func TestWorkloadsOfACluster(t *testing.T) {
	const template = `"template":{"metadata":{"labels":{"app":"backup"}},"spec":{"containers":[{"name":"c","image":"i"}]}}`
	server, asked := liveServer(t, map[string][]string{
		"/api/v1/namespaces": {`{"metadata":{"name":"shop"}}`, `{"metadata":{"name":"default"}}`, `{"metadata":{"name":"secret"}}`},
		"/api/v1/nodes":      {`{"metadata":{"name":"n1"},"spec":{"podCIDRs":["10.0.0.0/24"]},"status":{"addresses":[{"type":"InternalIP","address":"192.168.0.1"}]}}`},
		"/api/v1/services":   nil, "/api/v1/serviceaccounts": nil,
		"/api/v1/pods": {
			livePod("shop", "web-5d4f-x", "10.0.0.1", `"app":"web","pod-template-hash":"5d4f"`, "ReplicaSet/web-5d4f"),
			livePod("shop", "db-0", "10.0.0.2", `"app":"db"`, "StatefulSet/db"),
			livePod("shop", "log-x", "10.0.0.3", `"app":"log"`, "DaemonSet/log"),
			livePod("shop", "once-x", "10.0.0.4", `"app":"once"`, "Job/once"),
			livePod("shop", "nightly-28391001-x", "10.0.0.5", `"app":"nightly"`, "Job/nightly-28391001"),
			livePod("default", "web-77-x", "10.0.0.6", `"app":"other","pod-template-hash":"77"`, "ReplicaSet/web-77"),
		},
		"/apis/networking.k8s.io/v1/networkpolicies": {`{"metadata":{"name":"deny","namespace":"shop"},"spec":{"podSelector":{"matchExpressions":[{"key":"app","operator":"In","values":["web","db","log","once","nightly","backup"]}]},"policyTypes":["Ingress"]}}`},
	}, map[string]string{
		"/apis/batch/v1/namespaces/shop/cronjobs/backup":   `{"kind":"CronJob","apiVersion":"batch/v1","metadata":{"name":"backup","namespace":"shop"},"spec":{"jobTemplate":{"spec":{` + template + `}}}}`,
		"/apis/apps/v1/namespaces/shop/deployments/asleep": `{"kind":"Deployment","apiVersion":"apps/v1","metadata":{"name":"asleep","namespace":"shop"},"spec":{"replicas":0,` + template + `}}`,
	})
	run := func(args ...string) outcome {
		t.Helper()
		return runMain(t, "", append(args, "--server", server.URL)...)
	}
	for _, name := range []string{
		"deploy:shop/web", "deployment/shop/web", "Deployment/shop/web", "sts:shop/db", "statefulsets:shop/db", "ds:shop/log", "job:shop/once",
		"cronjob:shop/nightly", "cj:shop/nightly", "rs:shop/web-5d4f", "cronjob:shop/backup", "deploy:shop/asleep", "shop/web", "shop/db",
	} {
		explain := run("explain", "--from", "203.0.113.1", "--to", name, "--port", "80")
		if explain.status != exitNegative || !strings.Contains(explain.out, "NetworkPolicy/shop/deny") {
			t.Errorf("explain %s: %+v", name, explain)
		}
		if got := run("effective", name); got.status != exitOK || !strings.Contains(got.out, "NetworkPolicy/shop/deny") {
			t.Errorf("effective %s: %+v", name, got)
		}
		if got := run("who-can", "reach", name); !strings.Contains(got.out, "shop/") {
			t.Errorf("who-can reach %s: %+v", name, got)
		}
		if got := run("matrix", name, "-o", "md"); got.status != exitOK || strings.Count(strings.SplitN(got.out, "\n", 2)[0], "|") != 3 {
			t.Errorf("matrix %s: %+v", name, got)
		}
		inFolder(t, map[string]string{"test.yaml": "apiVersion: tierwall.io/v1alpha1\nkind: PolicyTest\nmetadata: {name: t}\nspec: {cases: [{name: c, from: {ip: 203.0.113.1}, to: {pod: " +
			strings.Replace(name, ":", "/", 1) + ", port: 80}, expect: Deny}]}\n"})
		if got := run("test", "--from-cluster", "test.yaml"); got.status != exitOK {
			t.Errorf("test %s: %+v", name, got)
		}
	}
	// As kubectl has it: in the namespace of -n, else of the context.
	for _, args := range [][]string{{"--to", "deploy/web", "-n", "shop"}, {"--to", "deploy:web", "-n", "shop"}, {"--to", "pod/db-0", "-n", "shop"}, {"--to", "cronjob/backup", "-n", "shop"}} {
		if got := run(append([]string{"explain", "--from", "203.0.113.1", "--port", "80"}, args...)...); got.status != exitNegative {
			t.Errorf("%v: %+v", args, got)
		}
	}
	if got := run("explain", "--from", "203.0.113.1", "--port", "80", "--to", "deploy/web"); got.status != exitOK || !strings.Contains(got.out, "10.0.0.6") {
		t.Errorf("deploy/web of the context's namespace: %+v", got)
	}
	for name, want := range map[string]string{
		"deploy:shop/none":   "--to: deploy/shop/none: there is no Deployment of this name with a running pod",
		"deploy:secret/none": "the permission to get deployments is missing",
	} {
		if got := run("explain", "--from", "203.0.113.1", "--port", "80", "--to", name); got.status != exitUnusable || !strings.Contains(got.errOut, want) {
			t.Errorf("%s: %+v", name, got)
		}
	}
	// Workloads whose pods run are not asked for.
	*asked = nil
	run("explain", "--from", "deploy:shop/web", "--to", "deploy:shop/asleep", "--port", "80")
	for _, path := range *asked {
		if strings.HasSuffix(path, "deployments/web") {
			t.Errorf("asked for %s", path)
		}
	}
}

// TestTotalTimeout: a server that answers each request slowly but in time, without end, does
// not hold a command up.
func TestTotalTimeout(t *testing.T) {
	page := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		time.Sleep(20 * time.Millisecond)
		if strings.HasSuffix(r.URL.Path, "/tierwalls/default") {
			fmt.Fprint(w, `{"kind":"Tierwall","apiVersion":"tierwall.io/v1alpha1","metadata":{"name":"default"}}`)
			return
		}
		page++
		kind := "List"
		if strings.HasSuffix(r.URL.Path, "/nodes") {
			kind = "NodeList"
		}
		fmt.Fprintf(w, `{"kind":%q,"apiVersion":"v1","metadata":{"continue":"%d"},"items":[{"metadata":{"name":"x%d"}}]}`, kind, page, page)
	}))
	t.Cleanup(server.Close)
	inFolder(t, map[string]string{
		"pod.yaml":  "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\n",
		"test.yaml": "apiVersion: tierwall.io/v1alpha1\nkind: PolicyTest\nmetadata: {name: t}\nspec: {cases: [{name: c, from: {ip: 203.0.113.1}, to: {ip: 203.0.113.2, port: 80}, expect: Allow}]}\n",
	})
	const lists = "error: cluster: not all answered within --timeout 300ms; waiting for namespaces, of which "
	for _, tt := range []struct{ args, want string }{
		{"status", "error: cluster: not all answered within --timeout 300ms; waiting for nodes"},
		{"status -w", "error: cluster: not all answered within --timeout 300ms; waiting for nodes"},
		{"explain --from a/b --to a/c --port 80", lists},
		{"effective -A", lists},
		{"lint", lists},
		{"matrix", lists},
		{"who-can reach a/b", lists},
		{"what-can a/b reach", lists},
		{"report", lists},
		{"render --node n", lists},
		{"diff -f pod.yaml", lists},
		{"diff --enforce-audited", lists},
		{"test --from-cluster test.yaml", lists},
	} {
		start := time.Now()
		got := runMain(t, "", append(strings.Fields(tt.args), "--server", server.URL, "--timeout", "300ms")...)
		if got.status != exitUnusable || !strings.HasPrefix(got.errOut, tt.want) || strings.Count(got.errOut, "\n") != 1 {
			t.Errorf("%s: got %+v", tt.args, got)
		}
		if strings.HasPrefix(tt.want, lists) && !strings.Contains(got.errOut, "have come; not asked for yet: nodes, serviceaccounts, pods, ") {
			t.Errorf("%s: does not say what is missing: %s", tt.args, got.errOut)
		}
		if took := time.Since(start); took > 5*time.Second {
			t.Errorf("%s: took %s", tt.args, took)
		}
		if help := runMain(t, "", strings.Fields(tt.args)[0], "--help"); !strings.Contains(help.out, "--timeout duration") {
			t.Errorf("%s: --timeout is not in the help", tt.args)
		}
	}
}
