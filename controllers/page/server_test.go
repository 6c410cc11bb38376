package page

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/fstest"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/tierwall/tierwall/controllers/manifests"
	"github.com/tierwall/tierwall/policy/index"
	"github.com/tierwall/tierwall/policy/model"
	"github.com/tierwall/tierwall/policy/view"
)

const token = "the-token"

// serveSamples is a handler of the samples and their flows.
func serveSamples(tb testing.TB) http.Handler {
	tb.Helper()
	records, err := OpenRecords(samples+"/flows.jsonl", nil)
	if err != nil {
		tb.Fatal(err)
	}
	s, err := New(context.Background(), Options{
		Load: func(context.Context) ([]*manifests.Result, error) {
			r, err := manifests.Load([]string{samples}, manifests.Options{})
			return []*manifests.Result{r}, err
		},
		Build: build, Source: "samples", Records: records, Flows: records, Token: token, Version: "test",
		Assets: fstest.MapFS{"index.html": {Data: []byte("<!doctype html>")}, "page.js": {Data: []byte("1")}},
	})
	if err != nil {
		tb.Fatal(err)
	}
	return s.Handler()
}

func build(r *manifests.Result, audited bool) (*index.Index, []model.Problem) {
	ix, problems := r.Index()
	for _, p := range ix.Policies() {
		if p.Audit && audited {
			enforced := *p
			enforced.Audit = false
			ix.Upsert(&enforced)
		}
	}
	ix.Flush()
	return ix, problems
}

// send asks as the page does. An empty body is a GET.
func send(h http.Handler, path, body string, change ...func(*http.Request)) *httptest.ResponseRecorder {
	method := http.MethodGet
	if body != "" {
		method = http.MethodPost
	}
	r := httptest.NewRequest(method, "http://127.0.0.1:7777"+path, strings.NewReader(body))
	r.Header.Set("Authorization", "Bearer "+token)
	for _, f := range change {
		f(r)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// get decodes an answer that must be there.
func get[T any](t *testing.T, h http.Handler, path, body string) *T {
	t.Helper()
	w := send(h, path, body)
	if w.Code != http.StatusOK {
		t.Fatalf("%s: %d %s", path, w.Code, w.Body)
	}
	var out T
	if err := json.Unmarshal(w.Body.Bytes(), &out); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return &out
}

// TestRefusals: who gets no answer, and that each refusal is a Status.
func TestRefusals(t *testing.T) {
	h := serveSamples(t)
	set := func(name, value string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set(name, value) }
	}
	host := func(name string) func(*http.Request) { return func(r *http.Request) { r.Host = name } }
	for _, c := range []struct {
		name, path, body string
		change           func(*http.Request)
		want             int
	}{
		{"with the token", "/ui/v1/board", "", set("X", "x"), 200},
		{"no token", "/ui/v1/board", "", set("Authorization", ""), 401},
		{"another token", "/ui/v1/board", "", set("Authorization", "Bearer the-token2"), 401},
		{"the start of the token", "/ui/v1/board", "", set("Authorization", "Bearer the-toke"), 401},
		{"basic authentication", "/ui/v1/board", "", set("Authorization", "Basic the-token"), 401},
		{"flows without a token", "/flows/v1/records", "", set("Authorization", ""), 401},
		{"an unknown path without a token", "/ui/v1/x", "", set("Authorization", ""), 401},
		{"an unknown path", "/ui/v1/x", "", set("X", "x"), 404},
		{"localhost", "/ui/v1/info", "", host("localhost:7777"), 200},
		{"IPv6", "/ui/v1/info", "", host("[::1]:7777"), 200},
		{"a name that is rebound", "/ui/v1/info", "", host("evil.example:7777"), 421},
		{"the page by a name that is rebound", "/", "", host("evil.example"), 421},
		{"a name like localhost", "/ui/v1/info", "", host("localhost.evil.example"), 421},
		{"an address of the network", "/ui/v1/info", "", host("192.0.2.1:7777"), 421},
		{"no host", "/ui/v1/info", "", host(""), 421},
		{"the page's own origin", "/ui/v1/info", "", set("Origin", "http://127.0.0.1:7777"), 200},
		{"another site's page", "/ui/v1/info", "", set("Origin", "https://evil.example"), 403},
		{"another port's page", "/ui/v1/info", "", set("Origin", "http://127.0.0.1:8888"), 403},
		{"a sandboxed page", "/ui/v1/info", "", set("Origin", "null"), 403},
		{"board by POST", "/ui/v1/board", "{}", set("X", "x"), 404},
		{"explain by GET", "/ui/v1/explain", "", set("X", "x"), 404},
		{"no JSON", "/ui/v1/explain", "{", set("X", "x"), 400},
		{"an unknown pod", "/ui/v1/explain", `{"from":"shop/nobody","to":"shop/cart","port":"80"}`, set("X", "x"), 422},
		{"nothing to try", "/ui/v1/whatif", `{}`, set("X", "x"), 422},
		{"YAML that is none", "/ui/v1/whatif", `{"yaml":"{"}`, set("X", "x"), 422},
		{"an invalid policy", "/ui/v1/whatif", `{"yaml":"apiVersion: tierwall.io/v1alpha1\nkind: GlobalNetworkPolicy\nmetadata: {name: x}\nspec: {selector: 'a ==', types: [Ingress]}"}`, set("X", "x"), 422},
		{"too much", "/ui/v1/whatif", `{"yaml":"` + strings.Repeat("#", maxBody) + `"}`, set("X", "x"), 413},
		{"a limit past the largest", "/flows/v1/records?limit=10001", "", set("X", "x"), 400},
		{"no such file", "/other.js", "", set("Authorization", ""), 404},
		{"a file of the page", "/page.js", "", set("Authorization", ""), 200},
		{"the page", "/", "", set("Authorization", ""), 200},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := send(h, c.path, c.body, c.change)
			if w.Code != c.want {
				t.Fatalf("%d %s, want %d", w.Code, w.Body, c.want)
			}
			if c.want == 200 {
				return
			}
			var s metav1.Status
			if err := json.Unmarshal(w.Body.Bytes(), &s); err != nil || s.Kind != "Status" || int(s.Code) != c.want || s.Message == "" {
				t.Errorf("%s: %v", w.Body, err)
			}
		})
	}
}

// TestHeaders: every answer, a refusal too, has the headers that keep others out.
func TestHeaders(t *testing.T) {
	h := serveSamples(t)
	for _, path := range []string{"/", "/page.js", "/none", "/ui/v1/info", "/ui/v1/none", "/flows/v1/records"} {
		for _, host := range []string{"127.0.0.1:7777", "evil.example"} {
			got := send(h, path, "", func(r *http.Request) { r.Host = host }).Header()
			for name, want := range map[string]string{
				"Content-Security-Policy": contentPolicy, "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "X-Frame-Options": "DENY",
				"Cache-Control": "no-store", "Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Resource-Policy": "same-origin",
			} {
				if got.Get(name) != want {
					t.Errorf("%s for %s: %s is %q, want %q", path, host, name, got.Get(name), want)
				}
			}
			if got.Get("Access-Control-Allow-Origin") != "" {
				t.Errorf("%s is open to other sites", path)
			}
		}
	}
	for _, unsafe := range []string{"unsafe", "*", "http"} {
		if strings.Contains(contentPolicy, unsafe) {
			t.Errorf("the content policy has %q", unsafe)
		}
	}
}

// TestWithoutPage: a build without the page says how to get it, and answers queries.
func TestWithoutPage(t *testing.T) {
	for _, files := range []fstest.MapFS{nil, {"README": {Data: []byte("x")}}} {
		s, err := New(context.Background(), Options{
			Load:  func(context.Context) ([]*manifests.Result, error) { return nil, nil },
			Build: build, Token: token, Assets: files,
		})
		if err != nil {
			t.Fatal(err)
		}
		if w := send(s.Handler(), "/", ""); w.Code != http.StatusNotImplemented || !strings.Contains(w.Body.String(), "make ui") {
			t.Errorf("%d %s", w.Code, w.Body)
		}
		if w := send(s.Handler(), "/ui/v1/board", ""); w.Code != http.StatusOK {
			t.Errorf("%d %s", w.Code, w.Body)
		}
	}
}

func TestInfo(t *testing.T) {
	i := get[Info](t, serveSamples(t), "/ui/v1/info", "")
	if i.Source != "samples" || i.Live || !i.Flows || i.Policies != 25 || i.Tiers != 5 || i.Nodes != 3 || i.ReadAt.IsZero() {
		t.Errorf("%+v", i)
	}
}

// TestBoard: tiers and policies in order, with what the records say of their rules.
func TestBoard(t *testing.T) {
	b := get[view.Board](t, serveSamples(t), "/ui/v1/board", "")
	var tiers []string
	cards := map[string]*view.Card{}
	for i := range b.Tiers {
		tiers = append(tiers, b.Tiers[i].Name)
		for j := range b.Tiers[i].Policies {
			c := &b.Tiers[i].Policies[j]
			cards[c.Policy.String()] = c
			if j > 0 && c.Order != nil && *b.Tiers[i].Policies[j-1].Order > *c.Order {
				t.Errorf("%s is out of order", c.Policy)
			}
		}
	}
	if got, want := strings.Join(tiers, " "), "security platform kube-admin default kube-baseline"; got != want {
		t.Errorf("tiers %s, want %s", got, want)
	}
	if c := cards["GlobalNetworkPolicy/block-known-bad"]; c.Hits.Denied == 0 || c.Hits.Allowed != 0 || c.Native {
		t.Errorf("%+v", c)
	}
	if c := cards["GlobalNetworkPolicy/no-internet-from-monitoring"]; !c.Audit || c.Hits.WouldDeny == 0 || c.Hits.Denied != 0 || c.Egress.Rules[0].Hits.WouldDeny != c.Hits.WouldDeny {
		t.Errorf("%+v", c)
	}
	if c := cards["NetworkPolicy/shop/default-deny"]; !c.Native || *c.Order != 1000 || c.Ingress == nil || len(c.Ingress.Rules) != 0 || c.SubjectCount != 5 {
		t.Errorf("%+v", c)
	}
	if end := b.Tiers[3].End; end.Denied == 0 {
		t.Errorf("the end of tier default: %+v", end)
	}
}

func TestMap(t *testing.T) {
	m := get[view.Map](t, serveSamples(t), "/ui/v1/map", "")
	at := map[string]int{}
	for i, e := range m.Ends {
		at[e.Name] = i
	}
	open := func(from, to string) *view.MapWays {
		if id := m.Cells[at[from]][at[to]]; id >= 0 {
			return &m.Ways[id]
		}
		return nil
	}
	if w := open("shop/checkout", "payments/payments-api"); w == nil || w.Open[0].Traffic != "TCP 8443" || !w.ByPolicy {
		t.Errorf("checkout to payments-api: %+v", w)
	}
	if w := open("shop/frontend", "payments/payments-api"); w != nil {
		t.Errorf("frontend to payments-api: %+v", w)
	}
	if m.Cells[at["shop/cart"]][at["shop/cart"]] != -2 {
		t.Error("a pod to itself is asked")
	}
	found := 0
	for _, s := range m.Seen {
		switch from, to := m.Ends[s.From].Name, m.Ends[s.To].Name; {
		case from == "shop/checkout" && to == "payments/payments-api" && s.Port == 8443 && s.Allowed > 0 && s.Bytes > 0,
			from == "shop-staging/frontend" && to == "shop/catalog" && s.Denied > 0 && s.Allowed == 0,
			from == "monitoring/grafana" && to == "outside addresses" && s.WouldDeny == s.Allowed && s.Allowed > 0,
			from == "GlobalNetworkSet/known-bad" && to == "shop/frontend" && s.Denied > 0:
			found++
		}
	}
	if found != 4 {
		t.Errorf("%d of 4 edges in %+v", found, m.Seen)
	}
}

// TestExplainRecords: every sample flow is explained as its record says, and its policy
// test passes what it says.
func TestExplainRecords(t *testing.T) {
	h := serveSamples(t)
	var list struct {
		Items []json.RawMessage `json:"items"`
	}
	if err := json.Unmarshal(send(h, "/flows/v1/records?limit=31", "").Body.Bytes(), &list); err != nil || len(list.Items) != 31 {
		t.Fatalf("%d records: %v", len(list.Items), err)
	}
	for _, r := range list.Items {
		a := get[view.Answer](t, h, "/ui/v1/explain", `{"record":`+string(r)+`}`)
		if a.Record == nil || !a.Record.Same || len(a.Paths) != 1 || a.Action != a.Record.Action {
			t.Errorf("%s: %+v", r, a)
		}
		test, err := manifests.LoadBytes("test", []byte(a.Test))
		if err != nil || len(test.Tests) != 1 || string(test.Tests[0].Spec.Cases[0].Expect) != a.Action.String() {
			t.Errorf("%v\n%s", err, a.Test)
		}
		question, err := json.Marshal(a.Ask)
		if err != nil {
			t.Fatal(err)
		}
		if again := get[view.Answer](t, h, "/ui/v1/explain", string(question)); again.Action != a.Action || len(again.Paths) == 1 && again.Paths[0].Because != a.Paths[0].Because {
			t.Errorf("asked by names: %+v, by record: %+v", again.Paths, a.Paths)
		}
	}
}

func TestWhatIf(t *testing.T) {
	h := serveSamples(t)
	q, err := json.Marshal(WhatIfQuestion{YAML: `apiVersion: tierwall.io/v1alpha1
kind: NetworkPolicy
metadata: {name: closed, namespace: shop}
spec: {tier: security, order: 1, selector: app == 'catalog', types: [Ingress], ingress: [{action: Deny}]}
`})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // a question changes nothing
		w := get[view.WhatIf](t, h, "/ui/v1/whatif", string(q))
		if w.Summary.Lost == 0 || w.Summary.Gained != 0 || w.Seen.Denied != 2 || w.Seen.Allowed != 0 || w.Seen.DeniedConnections == 0 || w.Seen.Unknown != 0 {
			t.Errorf("%+v", w)
		}
	}
	w := get[view.WhatIf](t, h, "/ui/v1/whatif", `{"enforceAudited":true}`)
	if w.Seen.Denied != 1 || w.Seen.Changed[0].From != "monitoring/grafana" || w.Summary.Lost != 1 {
		t.Errorf("%+v", w)
	}
}

func FuzzQuestions(f *testing.F) {
	h := serveSamples(f)
	f.Add("explain", []byte(`{"from":"shop/frontend","to":"payments/payments-api","port":"8443/TCP"}`))
	f.Add("explain", []byte(`{"record":{"source":{"kind":"Pod","namespace":"shop","workload":"Pod/cart"},"destination":{"addresses":["203.0.113.1"]},"protocol":"ICMP","decided":{"action":"Allow","egress":{"rule":"end-of-tier"}}}}`))
	f.Add("whatif", []byte(`{"yaml":"apiVersion: v1\nkind: Pod\nmetadata: {name: x, namespace: shop}\n"}`))
	f.Add("whatif", []byte(`{"enforceAudited":true,"yaml":"---\n"}`))
	f.Add("reload", []byte(`{}`))
	f.Fuzz(func(t *testing.T, path string, body []byte) {
		if path != "explain" && path != "reload" {
			path = "whatif"
		}
		w := send(h, "/ui/v1/"+path, string(body)+" ")
		switch w.Code {
		case 200, 400, 413, 422:
		default:
			t.Errorf("%s %q: %d %s", path, body, w.Code, w.Body)
		}
		if !json.Valid(w.Body.Bytes()) {
			t.Errorf("%s %q: %s", path, body, w.Body)
		}
	})
}

func ExampleNewToken() {
	one, other := NewToken(), NewToken()
	fmt.Println(len(one), one != other)
	// Output: 43 true
}
