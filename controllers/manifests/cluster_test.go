package manifests

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"

	"k8s.io/client-go/rest"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/policy/model"
)

// apiServer serves lists from items by path, in pages of two. Paths that it does
// not have are 404, those in denied 403, and the first continue token of a path
// in expire is 410.
type apiServer struct {
	items  map[string][]string
	denied map[string]bool
	expire map[string]bool
	asked  []string
}

func (s *apiServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.asked = append(s.asked, r.URL.RequestURI())
	w.Header().Set("Content-Type", "application/json")
	refuse := func(code int, reason string) {
		w.WriteHeader(code)
		fmt.Fprintf(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","message":"%s of %s","reason":%q,"code":%d}`, reason, r.URL.Path, reason, code)
	}
	items, ok := s.items[r.URL.Path]
	switch {
	case s.denied[r.URL.Path]:
		refuse(http.StatusForbidden, "Forbidden")
		return
	case !ok:
		refuse(http.StatusNotFound, "NotFound")
		return
	}
	if strings.Count(r.URL.Path, "/") == 3 && strings.HasPrefix(r.URL.Path, "/apis/") {
		fmt.Fprintf(w, `{"kind":"APIResourceList","apiVersion":"v1","resources":[%s]}`, strings.Join(items, ","))
		return
	}
	next := ""
	start, _ := strconv.Atoi(r.URL.Query().Get("continue"))
	if start > 0 && s.expire[r.URL.Path] {
		s.expire[r.URL.Path] = false
		refuse(http.StatusGone, "Expired")
		return
	}
	if r.URL.Query().Get("limit") != "" && len(items) > start+2 {
		items, next = items[:start+2], fmt.Sprint(start+2)
	}
	items = items[start:]
	fmt.Fprintf(w, `{"kind":"List","apiVersion":"v1","metadata":{"continue":%q},"items":[%s]}`, next, strings.Join(items, ","))
}

// coreLists are the lists that every cluster has, empty.
func coreLists() map[string][]string {
	out := map[string][]string{
		"/apis/discovery.k8s.io/v1/endpointslices":   nil,
		"/apis/networking.k8s.io/v1/networkpolicies": nil,
	}
	for _, r := range []string{"namespaces", "nodes", "serviceaccounts", "pods", "services"} {
		out["/api/v1/"+r] = nil
	}
	return out
}

func serve(t *testing.T, s *apiServer) *rest.Config {
	t.Helper()
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	return &rest.Config{Host: server.URL, QPS: -1}
}

func itemJSON(namespace, name, rest string) string {
	b, _ := json.Marshal(map[string]string{"namespace": namespace, "name": name})
	return `{"metadata":` + string(b) + `,` + rest + `}`
}

func TestFromCluster(t *testing.T) {
	s := &apiServer{items: coreLists(), expire: map[string]bool{"/api/v1/pods": true}}
	for i := range 5 {
		s.items["/api/v1/pods"] = append(s.items["/api/v1/pods"],
			itemJSON("shop", fmt.Sprint("p", i), fmt.Sprintf(`"spec":{"newField":1},"status":{"phase":"Running","podIP":"10.0.0.%d"}`, i+1)))
	}
	s.items["/api/v1/namespaces"] = []string{`{"metadata":{"name":"shop","labels":{"a":"b"},"managedFields":[{"manager":"x"}]}}`}
	s.items["/apis/networking.k8s.io/v1/networkpolicies"] = []string{itemJSON("shop", "deny", `"spec":{"podSelector":{}}`)}
	s.items["/apis/tierwall.io/v1alpha1/globalnetworkpolicies"] = []string{`{"metadata":{"name":"both"},"spec":{"order":1}}`}
	s.items["/apis/projectcalico.org/v3"] = []string{
		`{"name":"globalnetworkpolicies","kind":"GlobalNetworkPolicy","verbs":["list"]}`,
		`{"name":"globalnetworkpolicies/status","kind":"GlobalNetworkPolicy","verbs":["list"]}`,
		`{"name":"ippools","kind":"IPPool","verbs":["list"]}`,
	}
	s.items["/apis/projectcalico.org/v3/globalnetworkpolicies"] = []string{
		`{"metadata":{"name":"both"},"spec":{"order":2}}`,
		`{"metadata":{"name":"calico"},"spec":{"selector":"all()","types":["Ingress"]}}`,
	}
	// Of what both groups serve the first counts.
	s.items["/apis/crd.projectcalico.org/v1"] = s.items["/apis/projectcalico.org/v3"]
	s.items["/apis/crd.projectcalico.org/v1/globalnetworkpolicies"] = []string{
		`{"metadata":{"name":"calico"},"spec":{"selector":"all()","types":["Egress"]}}`,
		`{"metadata":{"name":"unmigrated"},"spec":{"selector":"all()","types":["Ingress"]}}`,
	}

	r, err := FromCluster(context.Background(), serve(t, s))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, o := range r.Objects {
		got = append(got, o.Ref.String())
		if found, ok := r.Lookup(o.Ref); !ok || found.Ref != o.Ref {
			t.Errorf("Lookup(%s) finds %v", o.Ref, found)
		}
	}
	want := "GlobalNetworkPolicy/both GlobalNetworkPolicy/calico GlobalNetworkPolicy/unmigrated Namespace/shop NetworkPolicy/shop/deny Pod/shop/p0 Pod/shop/p1 Pod/shop/p2 Pod/shop/p3 Pod/shop/p4"
	if strings.Join(got, " ") != want {
		t.Errorf("got  %s\nwant %s", strings.Join(got, " "), want)
	}
	const calicos = "GlobalNetworkPolicy.projectcalico.org/default:both"
	for _, want := range []string{"GlobalNetworkPolicy/both: replaces " + calicos, calicos + ": is not evaluated: replaced by GlobalNetworkPolicy/both"} {
		if !strings.Contains(fmt.Sprint(r.Warnings), want) {
			t.Errorf("warnings do not contain %q: %v", want, r.Warnings)
		}
	}
	for _, uri := range s.asked {
		if strings.Contains(uri, "ippools") || strings.Contains(uri, "/status") {
			t.Errorf("asked for %s", uri)
		}
	}
	calico, _ := r.Lookup(model.Ref{Kind: model.KindGlobalNetworkPolicy, Name: "calico"})
	if p, ok := calico.Object.(*v1alpha1.GlobalNetworkPolicy); !ok || !slices.Equal(p.Spec.Types, []v1alpha1.PolicyType{"Ingress"}) {
		t.Errorf("the policy of both groups is not the first group's: %v", calico.Object)
	}
	before := len(r.Objects)
	r.Complete()
	if len(r.Objects) != before {
		t.Errorf("Complete added %d objects to a live cluster's", len(r.Objects)-before)
	}
	ix, problems := r.Index()
	if len(problems) > 0 {
		t.Errorf("problems: %v", problems)
	}
	if _, ok := ix.Endpoint(model.Ref{Kind: model.KindPod, Namespace: "shop", Name: "p4"}); !ok {
		t.Error("the pod of the last page is not in the index")
	}
}

// TestFromClusterLinks reads NodeReports where the user may, and goes on with a
// warning where not.
func TestFromClusterLinks(t *testing.T) {
	const path = "/apis/tierwall.io/v1alpha1/nodereports"
	s := &apiServer{items: coreLists()}
	s.items["/api/v1/nodes"] = []string{`{"metadata":{"name":"n1","annotations":{"network.cilium.io/ipv4-health-ip":"10.1.1.9","x":"y"}},"status":{"addresses":[{"type":"InternalIP","address":"192.0.2.1"}]}}`}
	s.items[path] = []string{`{"metadata":{"name":"n1"},"report":{"inSync":true,"counts":{"endpoints":1,"policies":1},"policies":{"GlobalNetworkPolicy/a":1},"links":{"addresses":[{"address":"203.0.113.80","interface":"eth0"}]}}}`}
	for _, denied := range []bool{false, true} {
		s.denied = map[string]bool{path: denied}
		r, err := FromCluster(context.Background(), serve(t, s))
		if err != nil {
			t.Fatal(err)
		}
		if warned := strings.Contains(fmt.Sprint(r.Warnings), "list nodereports is missing"); warned != denied {
			t.Errorf("denied %v: warnings %v", denied, r.Warnings)
		}
		r.Complete()
		ix, problems := r.Index()
		if len(problems) > 0 {
			t.Errorf("problems: %v", problems)
		}
		if l := ix.Links("n1"); (l == nil) != denied || !denied && l.InterfaceOf(netip.MustParseAddr("203.0.113.80")) != "eth0" {
			t.Errorf("denied %v: links %v", denied, l)
		}
		if n := ix.NodeOf(netip.MustParseAddr("10.1.1.9")); n == nil || n.Name != "n1" {
			t.Errorf("the annotated address is of node %v", n)
		}
		if o, ok := r.Lookup(model.Ref{Kind: model.KindNodeLinks, Name: "n1"}); ok {
			if rep, isReport := o.Object.(*v1alpha1.NodeReport); !isReport || rep.Report.Policies != nil {
				t.Errorf("kept: %+v", o.Object)
			}
		}
	}
}

func TestFromClusterErrors(t *testing.T) {
	tests := []struct {
		name   string
		change func(*apiServer)
		want   []string
	}{
		{"all permissions that are missing at once", func(s *apiServer) {
			s.denied = map[string]bool{"/api/v1/pods": true, "/apis/tierwall.io/v1alpha1/tiers": true}
		}, []string{"permission missing: list pods", "permission missing: list tiers.tierwall.io"}},
		{"a core kind is not there", func(s *apiServer) { delete(s.items, "/api/v1/pods") }, []string{"list pods", "NotFound"}},
		{"an item is broken", func(s *apiServer) {
			s.items["/api/v1/pods"] = []string{itemJSON("shop", "p", `"spec":{"nodeName":5}`)}
		}, []string{"Pod/shop/p: cannot be decoded"}},
		{"calico denied", func(s *apiServer) {
			s.denied = map[string]bool{"/apis/projectcalico.org/v3": true}
		}, []string{"projectcalico.org/v3"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := &apiServer{items: coreLists()}
			tt.change(s)
			_, err := FromCluster(context.Background(), serve(t, s))
			if err == nil {
				t.Fatal("no error")
			}
			for _, w := range tt.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("%q does not hold %q", err, w)
				}
			}
		})
	}
	t.Run("nobody there", func(t *testing.T) {
		_, err := FromCluster(context.Background(), &rest.Config{Host: "http://127.0.0.1:1"})
		if err == nil || !strings.Contains(err.Error(), "list namespaces") {
			t.Errorf("got %v", err)
		}
	})
}
