package cluster

import (
	"context"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
)

// TestRequests: what is asked of the API server, and in which encoding.
func TestRequests(t *testing.T) {
	var asked, accept string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked, accept = r.URL.Path+"?"+r.URL.Query().Encode(), r.Header.Get("Accept")
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(`{"kind":"List","apiVersion":"v1","items":[]}`))
	}))
	defer server.Close()
	c, err := newClients(&rest.Config{Host: server.URL})
	must(t, err)
	for name, want := range map[string]struct{ asked, accept string }{
		"Pod":                  {"/api/v1/pods?fieldSelector=status.phase%21%3DFailed%2Cstatus.phase%21%3DSucceeded", "application/vnd.kubernetes.protobuf,"},
		"Node":                 {"/api/v1/nodes?", "application/vnd.kubernetes.protobuf,"},
		"EndpointSlice":        {"/apis/discovery.k8s.io/v1/endpointslices?", "application/vnd.kubernetes.protobuf,"},
		"Tier":                 {"/apis/tierwall.io/v1alpha1/tiers?", "application/json"},
		"ClusterNetworkPolicy": {"/apis/policy.networking.k8s.io/v1alpha2/clusternetworkpolicies?", "application/json"},
	} {
		// The empty list is of no kind that the decoder knows: the request counts.
		_, _ = c.objects(kindNamed(t, name)).ListWithContext(context.Background(), metav1.ListOptions{})
		if asked != want.asked || !strings.HasPrefix(accept, want.accept) {
			t.Errorf("%s: asked for %s as %s, want %s as %s", name, asked, accept, want.asked, want.accept)
		}
	}
	_, _ = c.definitions().ListWithContext(context.Background(), metav1.ListOptions{})
	if !strings.HasPrefix(asked, "/apis/apiextensions.k8s.io/v1/customresourcedefinitions?") || !strings.Contains(accept, "as=PartialObjectMetadataList") {
		t.Errorf("definitions: asked for %s as %s, want their metadata alone", asked, accept)
	}
}

// TestKinds: every kind is there once, and those of Calico in both spellings.
func TestKinds(t *testing.T) {
	var names []string
	for _, k := range slices.Concat(builtinKinds(), customKinds()) {
		names = append(names, k.gvr.String())
		if k.custom() && k.fresh() == nil {
			t.Errorf("%s: nothing to decode into", k)
		}
		if k.foreign && k.ours {
			t.Errorf("%s is not ours", k)
		}
	}
	slices.Sort(names)
	if all := len(names); len(slices.Compact(names)) != all {
		t.Errorf("twice: %v", names)
	}
}
