package flows

import (
	"bufio"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/tierwall/tierwall/policy/flows"
)

// TestServe answers with pages, notes and Status objects.
func TestServe(t *testing.T) {
	r := newRig(t, smallWorld())
	h := r.Handler()
	ask := func(path string, into any) int {
		t.Helper()
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		if err := json.Unmarshal(w.Body.Bytes(), into); err != nil {
			t.Fatalf("%s: %v: %s", path, err, w.Body)
		}
		return w.Code
	}
	for port := range uint16(5) {
		r.kernel.Put(r.connection(flowTo("10.0.0.1", "10.0.0.9", 80+port), netip.AddrPort{}))
	}
	r.next()
	var all, page flows.RecordList
	if code := ask("/flows/v1/records?limit=3&namespace=shop", &page); code != 200 || len(page.Items) != 3 || page.Next == "" {
		t.Fatalf("%d: %+v", code, page)
	}
	all = page
	page = flows.RecordList{}
	if code := ask("/flows/v1/records?limit=3&namespace=shop&cursor="+all.Next, &page); code != 200 || len(page.Items) != 2 || page.Next != "" {
		t.Errorf("%d: %+v", code, page)
	}
	if len(page.Notes) == 0 || !strings.Contains(page.Notes[0], "nothing was recorded") {
		t.Errorf("notes %q", page.Notes)
	}
	page = flows.RecordList{}
	if code := ask("/flows/v1/records?namespace=other", &page); code != 200 || page.Items == nil || len(page.Items) != 0 {
		t.Errorf("%d: %+v", code, page)
	}
	var rules flows.RuleList
	if code := ask("/flows/v1/rules", &rules); code != 200 || rules.Since == nil || !rules.Since.Equal(start) {
		t.Errorf("%d: %+v", code, rules)
	}
	for path, want := range map[string]int32{"/flows/v1/records?since=yesterday": 400, "/flows/v1/records?nampespace=x": 400, "/flows/v1/records?watch=true&cursor=x": 400} {
		var s metav1.Status
		if code := ask(path, &s); code != int(want) || s.Kind != "Status" || s.Code != want || s.Message == "" {
			t.Errorf("%s: %d %+v", path, code, s)
		}
	}
	r.closeReader()
	var s metav1.Status
	if code := ask("/flows/v1/records", &s); code != 503 || s.Reason != metav1.StatusReasonServiceUnavailable {
		t.Errorf("off: %d %+v", code, s)
	}
}

// TestWatch sends each record once, also to one who comes back.
func TestWatch(t *testing.T) {
	r := newRig(t, smallWorld())
	server := httptest.NewUnstartedServer(r.Handler())
	server.Config.ReadTimeout, server.Config.WriteTimeout = 50*time.Millisecond, 50*time.Millisecond // which do not end it
	server.Start()
	defer server.Close()
	follow := func(last string) (next func() (id string, rec flows.Record), stop func()) {
		req, err := http.NewRequest(http.MethodGet, server.URL+"/flows/v1/records?watch=true", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Last-Event-ID", last)
		resp, err := http.DefaultClient.Do(req) //nolint:bodyclose // stop does
		if err != nil || resp.Header.Get("Content-Type") != "text/event-stream" {
			t.Fatal(resp, err)
		}
		lines := bufio.NewScanner(resp.Body)
		return func() (id string, rec flows.Record) {
			for lines.Scan() {
				if v, ok := strings.CutPrefix(lines.Text(), "id: "); ok {
					id = v
				}
				if v, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
					if err := json.Unmarshal([]byte(v), &rec); err != nil {
						t.Fatal(err)
					}
					return id, rec
				}
			}
			t.Fatal("the stream has ended: ", lines.Err())
			return "", rec
		}, func() { _ = resp.Body.Close() }
	}
	put := func(ports ...uint16) {
		for _, p := range ports {
			r.kernel.Put(r.connection(flowTo("10.0.0.1", "10.0.0.9", p), netip.AddrPort{}))
		}
		r.next()
	}
	next, stop := follow("")
	put(80, 81)
	first, a := next()
	_, b := next()
	put(82)
	_, c := next()
	stop()
	if a.Port != 80 || b.Port != 81 || c.Port != 82 {
		t.Errorf("ports %d, %d, %d", a.Port, b.Port, c.Port)
	}
	next, stop = follow(first)
	defer stop()
	put(83)
	if _, rec := next(); rec.Port != 82 && rec.Port != 83 && rec.Port != 81 {
		t.Errorf("port %d", rec.Port)
	}
	http.DefaultClient.CloseIdleConnections()
}
