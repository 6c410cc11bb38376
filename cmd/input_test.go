package cmd

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"github.com/tierwall/tierwall/policy/model"
)

// cluster serves one namespace with labels, one pod and nothing else, and
// returns the arguments that lead there.
func cluster(t *testing.T) []string {
	t.Helper()
	lists := map[string]string{
		"/api/v1/namespaces": `{"metadata":{"name":"shop","labels":{"team":"a"}}}`,
		"/api/v1/pods":       `{"metadata":{"name":"frontend","namespace":"shop","labels":{"app":"frontend"}},"status":{"podIP":"10.0.0.1","phase":"Running"}}`,
		"/api/v1/nodes":      "", "/api/v1/services": "", "/api/v1/serviceaccounts": "",
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		item, ok := lists[r.URL.Path]
		if !ok {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		fmt.Fprintf(w, `{"kind":"List","apiVersion":"v1","metadata":{},"items":[%s]}`, item)
	}))
	t.Cleanup(server.Close)
	inFolder(t, map[string]string{"config": fmt.Sprintf(`apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: %q}}]
contexts: [{name: x, context: {cluster: c}}, {name: broken, context: {cluster: none}}]
current-context: broken
`, server.URL)})
	return []string{"--kubeconfig", "config", "--context", "x"}
}

// parse makes inputFlags of arguments.
func parse(t *testing.T, args []string) *inputFlags {
	t.Helper()
	var f inputFlags
	fs := pflag.NewFlagSet("x", pflag.ContinueOnError)
	f.register(fs)
	if err := fs.Parse(args); err != nil {
		t.Fatal(err)
	}
	return &f
}

func TestInputFromCluster(t *testing.T) {
	args := cluster(t)
	const backend = `apiVersion: v1
kind: Pod
metadata: {name: backend, namespace: shop}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: p, namespace: shop}
spec: {podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/33}}]}]}
`
	var warnings strings.Builder
	s := streams{in: strings.NewReader(backend), errOut: &warnings}
	pod := func(name string) model.Ref { return model.Ref{Kind: model.KindPod, Namespace: "shop", Name: name} }

	ix, _, err := parse(t, args).index(context.Background(), s)
	if err != nil {
		t.Fatal(err)
	}
	if got := ix.Endpoints(); len(got) != 1 || got[0] != pod("frontend") {
		t.Errorf("live endpoints: %v", got)
	}

	over := append([]string{"-f", "-", "--from-cluster"}, args...)
	if _, _, err := parse(t, over).index(context.Background(), s); err == nil || !strings.HasPrefix(err.Error(), "stdin:8:54: NetworkPolicy/shop/p: spec.ingress[0].from[0].ipBlock.cidr: ") {
		t.Errorf("the invalid policy: got %v", err)
	}
	s.in = strings.NewReader(backend)
	ix, r, err := parse(t, append(over, "--allow-invalid")).index(context.Background(), s)
	if err != nil {
		t.Fatal(err)
	}
	if got := ix.Endpoints(); len(got) != 2 {
		t.Errorf("endpoints of cluster and file: %v", got)
	}
	if !strings.HasPrefix(warnings.String(), "warning: stdin:8:54: NetworkPolicy/shop/p: ") {
		t.Errorf("warnings: %s", warnings.String())
	}
	// The cluster's namespace must not give way to one that was made up for the file.
	if o, ok := r.Lookup(model.Ref{Kind: model.KindNamespace, Name: "shop"}); !ok || o.Added || o.Place() != "live cluster" {
		t.Errorf("the namespace is %+v", o)
	}

	if _, err := parse(t, args[:2]).load(context.Background(), s); err == nil || !strings.Contains(err.Error(), "kubeconfig") {
		t.Errorf("a broken context: got %v", err)
	}
}
