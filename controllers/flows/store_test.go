package flows

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/tierwall/tierwall/policy/flows"
	"github.com/tierwall/tierwall/policy/model"
)

var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

// of returns a joined record of a window after noon.
func of(window int, from, to string, port uint16, n uint64) flows.Record {
	end := func(s string) flows.End {
		ns, name, ok := strings.Cut(s, "/")
		if !ok {
			return flows.End{Kind: flows.EndOutside, Addresses: []netip.Addr{netip.MustParseAddr(s)}}
		}
		return flows.End{Kind: flows.EndPod, Namespace: ns, Workload: "Deployment/" + name, Node: "node-" + ns, Addresses: []netip.Addr{netip.MustParseAddr("10.0.0.1")}}
	}
	at := noon.Add(time.Duration(window) * flows.Window)
	return flows.Record{
		Start: at, End: at.Add(flows.Window), Source: end(from), Destination: end(to), Protocol: model.TCP, Port: port,
		Decided: flows.Decided{Action: model.Allow,
			Egress:  verdictOf(model.Egress, from),
			Ingress: verdictOf(model.Ingress, to)},
		Connections: flows.Connections{New: n}, Reporters: []string{"node-a", "node-b"},
	}
}

func verdictOf(d model.Direction, end string) *model.Verdict {
	ns, name, ok := strings.Cut(end, "/")
	if !ok {
		return nil
	}
	return &model.Verdict{Action: model.Allow, Direction: d, Stage: model.StageWorkload, Reason: model.ReasonRule, Tier: "default",
		Policy: model.Ref{Kind: model.KindNetworkPolicy, Namespace: ns, Name: "of-" + name}, Rule: 0}
}

func everyone(string) bool { return true }

func total(list []flows.Record) (n uint64) {
	for i := range list {
		n += list[i].Connections.New
	}
	return n
}

// TestStoreKeeps: whatever is asked for, each connection is in one window of the answer.
func TestStoreKeeps(t *testing.T) {
	clock := clocktesting.NewFakePassiveClock(noon)
	s := NewStore(clock, Bounds{}, nil)
	for w := range 600 { // two and a half hours
		clock.SetTime(noon.Add(time.Duration(w+1) * flows.Window))
		s.Add([]flows.Record{of(w, "a/web", "b/db", 5432, 1), of(w, "a/web", "203.0.113.7", 443, 2)})
	}
	ask := func(q flows.Query) *flows.RecordList {
		q.Limit = flows.MaxLimit
		list, err := s.Records(t.Context(), &q, everyone)
		if err != nil {
			t.Fatal(err)
		}
		return list
	}
	if got := total(ask(flows.Query{Since: noon}).Items); got != 1800 {
		t.Errorf("of all, %d connections, want 1800", got)
	}
	if got := total(ask(flows.Query{Since: noon, Step: flows.LongWindow}).Items); got != 1800 {
		t.Errorf("of all in steps of 5m, %d connections, want 1800", got)
	}
	list := ask(flows.Query{Since: clock.Now().Add(-30 * time.Minute), Namespaces: []string{"b"}})
	if got := total(list.Items); got != 120 || len(list.Items) != 120 {
		t.Errorf("of half an hour, %d connections in %d records, want 120 in 120", got, len(list.Items))
	}
	if len(s.short) > 241 || len(s.long) > 31 {
		t.Errorf("%d short and %d long windows", len(s.short), len(s.long))
	}
}

// TestStoreBeginsAnywhere: a long window of which short ones are there too counts once.
func TestStoreBeginsAnywhere(t *testing.T) {
	for first := range 20 {
		clock := clocktesting.NewFakePassiveClock(noon.Add(30 * flows.Window))
		s := NewStore(clock, Bounds{}, nil)
		for w := first; w < 30; w++ {
			s.Add([]flows.Record{of(w, "a/web", "b/db", 5432, 1)})
		}
		list, err := s.Records(t.Context(), &flows.Query{Since: noon.Add(-time.Hour)}, everyone)
		if err != nil || total(list.Items) != uint64(30-first) {
			t.Errorf("from window %d: %d connections, %v, want %d", first, total(list.Items), err, 30-first)
		}
	}
}

// TestStoreIsBounded: a window of a million keys takes no more than its share, and what is
// left out is counted.
func TestStoreIsBounded(t *testing.T) {
	clock := clocktesting.NewFakePassiveClock(noon)
	s := NewStore(clock, Bounds{Rows: 1000}, nil)
	var want uint64
	for w := range 20 {
		var list []flows.Record
		for i := range 2000 {
			list = append(list, of(w, fmt.Sprintf("a/w%d", i), "b/db", 80, uint64(1+i%7)))
		}
		want = total(list)
		clock.SetTime(noon.Add(time.Duration(w+1) * flows.Window))
		s.Add(list)
	}
	rows := 0
	for _, w := range []windows{s.short, s.long} {
		for _, list := range w {
			rows += len(list)
		}
	}
	if rows > 1000 {
		t.Errorf("%d rows", rows)
	}
	q := flows.Query{Since: noon.Add(19 * flows.Window), Limit: flows.MaxLimit}
	list, err := s.Records(t.Context(), &q, everyone)
	if err != nil {
		t.Fatal(err)
	}
	if got := total(list.Items); got != want || list.Omitted == 0 || len(list.Notes) != 0 {
		t.Errorf("%d connections, %d omitted, notes %q; want %d", got, list.Omitted, list.Notes, want)
	}
	q.Since = noon
	if list, err = s.Records(t.Context(), &q, everyone); err != nil || len(list.Notes) != 1 {
		t.Errorf("notes %q, %v", list.Notes, err)
	}
}

func TestHits(t *testing.T) {
	s := NewStore(clocktesting.NewFakePassiveClock(noon), Bounds{}, nil)
	key := func(i int) flows.RuleKey {
		return flows.RuleKey{Policy: model.Ref{Kind: model.KindNetworkPolicy, Namespace: "a", Name: "p"}, Tier: "default", Rule: model.RuleIndex(i)}
	}
	s.SetHits("n1", []flows.RuleHits{{RuleKey: key(0), Packets: 5}, {RuleKey: key(1), Packets: 1}}, noon)
	s.SetHits("n2", []flows.RuleHits{{RuleKey: key(0), Packets: 2}}, noon.Add(-time.Hour))
	s.SetHits("n1", []flows.RuleHits{{RuleKey: key(0), Packets: 7}}, noon) // rule 1 has gone
	s.SetHits("n1", []flows.RuleHits{{RuleKey: key(0), Packets: 1}}, noon) // another process
	s.SetHits("n1", []flows.RuleHits{{RuleKey: key(0), Packets: 2}}, noon)
	list, err := s.Rules(t.Context(), everyone)
	if err != nil || len(list.Items) != 2 || list.Items[0].Packets != 11 || list.Items[1].Packets != 1 || !list.Since.Equal(noon.Add(-time.Hour)) {
		t.Errorf("%+v, %v", list, err)
	}
	if list, _ = s.Rules(t.Context(), func(ns string) bool { return ns == "b" }); len(list.Items) != 0 {
		t.Errorf("rules of others: %+v", list.Items)
	}
}

// rights is an access by a token that is the list of namespaces.
type rights struct{}

func (rights) View(_ context.Context, r *http.Request, _ string) (View, error) {
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok {
		return nil, &StatusError{http.StatusUnauthorized, "a bearer token is needed"}
	}
	return only(strings.Split(token, ",")), nil
}

type only []string

func (o only) May(ns string) bool {
	for _, n := range o {
		if n == ns && ns != "" || n == "*" {
			return true
		}
	}
	return false
}
func (only) Err() error { return nil }

func get(h http.Handler, token, path string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodGet, path, nil)
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestHandler(t *testing.T) {
	clock := clocktesting.NewFakeClock(noon.Add(time.Minute))
	s := NewStore(clock, Bounds{}, nil)
	s.Add([]flows.Record{of(0, "a/web", "b/db", 5432, 1), of(0, "c/x", "b/db", 5432, 2), of(1, "a/web", "203.0.113.7", 443, 3)})
	h := NewHandler(s, rights{}, clock)
	for _, tc := range []struct {
		token, path string
		code        int
		want        int
	}{
		{"", RecordsPath, 401, 0},
		{"*", RecordsPath, 200, 3},
		{"*", RecordsPath + "?namespace=a", 200, 2},
		{"*", RecordsPath + "?since=30s", 200, 0},
		{"a", RecordsPath, 200, 2},
		{"c", RecordsPath, 200, 1},
		{"a", RecordsPath + "?namespace=b", 403, 0},
		{"a", RecordsPath + "?namespace=b&namespace=a", 200, 2},
		{"a", RecordsPath + "?to=b/Deployment/db", 200, 0}, // its name is hidden
		{"a", RecordsPath + "?policy=NetworkPolicy/b/of-db", 200, 0},
		{"a", RecordsPath + "?address=203.0.113.7", 200, 1},
		{"d", RecordsPath, 200, 0},
		{"*", RecordsPath + "?nodes=a", 400, 0},
		{"*", "/flows/v1/others", 404, 0},
	} {
		w := get(h, tc.token, tc.path)
		var list flows.RecordList
		var status metav1.Status
		if w.Code == http.StatusOK {
			if err := json.Unmarshal(w.Body.Bytes(), &list); err != nil {
				t.Fatal(err)
			}
		} else if err := json.Unmarshal(w.Body.Bytes(), &status); err != nil || status.Kind != "Status" || int(status.Code) != w.Code || status.Message == "" {
			t.Errorf("%s as %q: %s, %v", tc.path, tc.token, w.Body, err)
		}
		if w.Code != tc.code || len(list.Items) != tc.want {
			t.Errorf("%s as %q: %d with %d records, want %d with %d", tc.path, tc.token, w.Code, len(list.Items), tc.code, tc.want)
		}
	}
}

// TestWatch: each record is sent once, also over a break, and from a cursor on.
func TestWatch(t *testing.T) {
	clock := clocktesting.NewFakeClock(noon.Add(time.Minute))
	s := NewStore(clock, Bounds{}, nil)
	server := httptest.NewServer(NewHandler(s, rights{}, clock))
	defer server.Close()
	s.Add([]flows.Record{of(0, "a/web", "b/db", 80, 1), of(0, "a/web", "b/db", 81, 1)})
	follow := func(last string) (next func() flows.Record, id func() string, stop func()) {
		ctx, cancel := context.WithCancel(t.Context())
		r, _ := http.NewRequestWithContext(ctx, http.MethodGet, server.URL+RecordsPath+"?watch=true", nil)
		r.Header.Set("Authorization", "Bearer *")
		if last != "" {
			r.Header.Set("Last-Event-ID", last)
		}
		resp, err := http.DefaultClient.Do(r) //nolint:bodyclose // stop does
		if err != nil || resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != "text/event-stream" {
			t.Fatalf("%v, %v", resp, err)
		}
		lines := bufio.NewScanner(resp.Body)
		cursor := ""
		return func() (r flows.Record) {
				for lines.Scan() {
					if v, ok := strings.CutPrefix(lines.Text(), "id: "); ok {
						cursor = v
					}
					if v, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
						if err := json.Unmarshal([]byte(v), &r); err != nil {
							t.Fatal(err)
						}
						return r
					}
				}
				t.Fatal("the stream has ended")
				return r
			}, func() string { return cursor }, func() {
				cancel()
				_ = resp.Body.Close()
			}
	}
	next, id, stop := follow("")
	if a, b := next(), next(); a.Port != 80 || b.Port != 81 {
		t.Errorf("ports %d and %d", a.Port, b.Port)
	}
	s.Add([]flows.Record{of(1, "a/web", "b/db", 82, 1)})
	if r := next(); r.Port != 82 {
		t.Errorf("port %d", r.Port)
	}
	last := id()
	stop()
	s.Add([]flows.Record{of(2, "a/web", "b/db", 83, 1)})
	next, _, stop = follow(last)
	if r := next(); r.Port != 83 {
		t.Errorf("after a break, port %d", r.Port)
	}
	stop()
}

// FuzzAccess: whatever a user with rights in one namespace asks for, nothing that they get
// names another.
func FuzzAccess(f *testing.F) {
	clock := clocktesting.NewFakeClock(noon.Add(time.Hour))
	s := NewStore(clock, Bounds{}, nil)
	rng := rand.New(rand.NewPCG(1, 2))
	names := []string{"mine/web", "mine/db", "secret1/web", "secret2/db", "203.0.113.7"}
	var list []flows.Record
	for i := range 400 {
		r := of(i%200, names[rng.IntN(len(names))], names[rng.IntN(len(names))], uint16(1+rng.IntN(3)), 1)
		if r.Source.Namespace != "mine" && r.Destination.Namespace != "mine" {
			r.Port += 1000 // ports of others
		}
		if r.Destination.Namespace != "" && rng.IntN(2) == 0 {
			r.Service = r.Destination.Namespace + "/svc"
		}
		if v := r.Decided.Egress; v != nil && rng.IntN(2) == 0 {
			v.Audit = verdictOf(model.Egress, names[rng.IntN(4)])
		}
		r.Reporters = []string{}
		for _, e := range []flows.End{r.Source, r.Destination} {
			if e.Node != "" {
				r.Reporters = append(r.Reporters, e.Node)
			}
		}
		before := flows.Decided{Action: model.Deny, Ingress: verdictOf(model.Ingress, names[rng.IntN(4)])}
		if r.Destination.Namespace != "" && before.Ingress.Policy.Namespace == r.Destination.Namespace {
			r.Before = &before
		}
		list = append(list, r)
	}
	s.Add(list)
	s.AddHits(flows.Hits(list), noon)
	h := NewHandler(s, rights{}, clock)
	f.Add("since=1h&namespace=mine")
	f.Add("namespace=secret1&namespace=mine&step=5m")
	f.Add("workload=secret1/Deployment/web")
	f.Add("policy=NetworkPolicy/secret2/of-db&limit=1")
	f.Add("node=node-secret1&since=2h")
	f.Add("port=1001")
	f.Add("cursor=" + flows.Cursor(&list[0]) + "&limit=3")
	f.Add("action=Allow&audited=false&tier=default")
	f.Fuzz(func(t *testing.T, query string) {
		values, err := url.ParseQuery(query)
		if err != nil {
			return
		}
		values.Del("watch")
		for _, path := range []string{RecordsPath, RulesPath} {
			w := get(h, "mine", path+"?"+values.Encode())
			if w.Code != http.StatusOK {
				continue // an error says what was asked for
			}
			var got flows.RecordList
			if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
				t.Fatal(err)
			}
			text := w.Body.String()
			if strings.Contains(text, "secret") || strings.Contains(decodedCursor(got.Next), "secret") {
				t.Fatalf("%s?%s: %s", path, query, text)
			}
			for i := range got.Items {
				if r := &got.Items[i]; path == RecordsPath && (r.Port > 1000 || r.Source.Namespace != "mine" && r.Destination.Namespace != "mine") {
					t.Fatalf("%s: a record of others: %+v", query, r)
				}
			}
		}
	})
}

func decodedCursor(s string) string {
	b, _ := base64.RawURLEncoding.DecodeString(s)
	return string(b)
}
