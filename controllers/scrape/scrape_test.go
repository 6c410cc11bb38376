package scrape

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	dto "github.com/prometheus/client_model/go"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	"k8s.io/client-go/rest"
	clocktesting "k8s.io/utils/clock/testing"
)

// gatherer counts how often it is asked.
type gatherer struct {
	prometheus.Gatherer
	asked atomic.Int32
}

func (g *gatherer) Gather() ([]*dto.MetricFamily, error) {
	g.asked.Add(1)
	return g.Gatherer.Gather()
}

func newGatherer() *gatherer {
	r := prometheus.NewRegistry()
	r.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "tierwall_test"}, func() float64 { return 1 }))
	return &gatherer{Gatherer: r}
}

// However many read the page at once, and in whatever encoding, it is gathered once.
func TestPageIsGatheredForAll(t *testing.T) {
	g, clock := newGatherer(), clocktesting.NewFakePassiveClock(time.Unix(1, 0))
	p := newPage(g, clock)
	many := func() {
		var all sync.WaitGroup
		for i := range 200 {
			all.Go(func() {
				rec, req := httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/metrics", nil)
				encoding := []string{"", "gzip", "deflate, gzip;q=0.5"}[i%3]
				req.Header.Set("Accept-Encoding", encoding)
				p.ServeHTTP(rec, req)
				if rec.Code != http.StatusOK || rec.Header().Get("Content-Encoding") == "gzip" != (encoding != "") {
					t.Errorf("%q: %d, %v", encoding, rec.Code, rec.Header())
				}
				if encoding == "" && !strings.Contains(rec.Body.String(), "\ntierwall_test 1\n") {
					t.Errorf("page %q", rec.Body)
				}
			})
		}
		all.Wait()
	}
	many()
	many()
	if n := g.asked.Load(); n != 1 {
		t.Errorf("gathered %d times at one time", n)
	}
	clock.SetTime(clock.Now().Add(freshFor))
	many()
	if n := g.asked.Load(); n != 2 {
		t.Errorf("gathered %d times after %s", n, freshFor)
	}
}

// A request whose time is over while others are written to, or metrics are
// gathered, is answered with 503 and Retry-After.
func TestPageIsCapped(t *testing.T) {
	over, cancel := context.WithCancel(t.Context())
	cancel()
	ask := func(p *page) int {
		rec := httptest.NewRecorder()
		p.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/metrics", nil).WithContext(over))
		return rec.Code
	}
	g, clock := newGatherer(), clocktesting.NewFakePassiveClock(time.Unix(1, 0))
	p := newPage(g, clock)
	for range maxWriters {
		p.writers <- struct{}{}
	}
	if code := ask(p); code != http.StatusServiceUnavailable {
		t.Errorf("with %d others: %d", maxWriters, code)
	}
	p = newPage(g, clock)
	p.turn <- struct{}{}
	for range 10 { // of two things that are ready, select takes either
		if code := ask(p); code != http.StatusServiceUnavailable {
			t.Errorf("while metrics are gathered: %d", code)
		}
	}
	if n := g.asked.Load(); n != 0 {
		t.Errorf("gathered %d times", n)
	}
}

func TestLimits(t *testing.T) {
	addr := func(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}) }
	times := func(n int, f func(i int) bool) (ok int) {
		for i := range n {
			if f(i) {
				ok++
			}
		}
		return ok
	}
	clock := clocktesting.NewFakePassiveClock(time.Unix(1, 0))
	later := func(d time.Duration) { clock.SetTime(clock.Now().Add(d)) }
	l := newLimits(clock)
	if n := times(20, func(int) bool { return l.connect(addr(1)) }); n != maxConnectionsPerPeer {
		t.Errorf("a peer has %d connections", n)
	}
	if n := times(100, func(i int) bool { return l.connect(addr(2 + i)) }); n != maxConnections-maxConnectionsPerPeer {
		t.Errorf("others have %d connections", n)
	}
	l.disconnect(addr(1))
	if !l.connect(addr(200)) || l.connect(addr(201)) {
		t.Error("a closed connection makes room for one")
	}

	l = newLimits(clock)
	if n := times(100, func(int) bool { return l.request(addr(1)) }); n != rateBurstOfPeer {
		t.Errorf("a peer has %d requests at once", n)
	}
	if l.connect(addr(1)) || !l.request(addr(2)) {
		t.Error("connections cost as requests do, and others pay for themselves")
	}
	later(time.Second)
	if n := times(100, func(int) bool { return l.request(addr(1)) }); n != ratePerSecondOfPeer {
		t.Errorf("a peer has %d requests a second later", n)
	}
	later(time.Minute)
	if n := times(2000, func(i int) bool { return l.request(addr(i)) }); n != rateBurst {
		t.Errorf("all have %d requests at once", n)
	}
	if n := len(l.peers); n > maxPeers {
		t.Errorf("%d accounts", n)
	}
	later(time.Minute)
	if !l.request(addr(5000)) {
		t.Error("accounts are not forgotten")
	}

	// A /64 is one peer, and an IPv4 address is the same in both its forms.
	if peerOf(netip.MustParseAddr("2001:db8::1")) != peerOf(netip.MustParseAddr("2001:db8::2:1")) ||
		peerOf(netip.MustParseAddr("2001:db8::1")) == peerOf(netip.MustParseAddr("2001:db8:0:1::1")) ||
		peerOf(netip.MustParseAddr("::ffff:10.0.0.1")) != peerOf(netip.MustParseAddr("10.0.0.1")) {
		t.Error("peers")
	}
}

// reviews is an API server that reviews tokens: "good" may get /metrics and list flows,
// "weak" nothing.
type reviews struct {
	tokens, access atomic.Int32
	down           atomic.Bool
}

func (v *reviews) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if v.down.Load() {
		http.Error(w, "down", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	switch r.URL.Path {
	case "/apis/authentication.k8s.io/v1/tokenreviews":
		v.tokens.Add(1)
		var t authenticationv1.TokenReview
		_ = json.NewDecoder(r.Body).Decode(&t)
		t.Kind, t.APIVersion = "TokenReview", "authentication.k8s.io/v1"
		t.Status.Authenticated = slices.Contains([]string{"good", "weak"}, t.Spec.Token)
		t.Status.User = authenticationv1.UserInfo{Username: t.Spec.Token, UID: "u", Groups: []string{"g"}, Extra: map[string]authenticationv1.ExtraValue{"k": {"v"}}}
		_ = json.NewEncoder(w).Encode(&t)
	case "/apis/authorization.k8s.io/v1/subjectaccessreviews":
		v.access.Add(1)
		var s authorizationv1.SubjectAccessReview
		_ = json.NewDecoder(r.Body).Decode(&s)
		s.Kind, s.APIVersion = "SubjectAccessReview", "authorization.k8s.io/v1"
		a := s.Spec.NonResourceAttributes
		s.Status.Allowed = s.Spec.User == "good" && s.Spec.UID == "u" && slices.Equal(s.Spec.Groups, []string{"g"}) && len(s.Spec.Extra["k"]) == 1 &&
			(a != nil && a.Path == "/metrics" && a.Verb == "get" ||
				s.Spec.ResourceAttributes != nil && *s.Spec.ResourceAttributes == authorizationv1.ResourceAttributes{Group: "flows.tierwall.io", Resource: "flows", Verb: "list"})
		_ = json.NewEncoder(w).Encode(&s)
	default:
		http.NotFound(w, r)
	}
}

func TestReviews(t *testing.T) {
	api := &reviews{}
	server := httptest.NewServer(api)
	defer server.Close()
	clock := clocktesting.NewFakePassiveClock(time.Unix(1, 0))
	v, err := newReviewer(&rest.Config{Host: server.URL, ContentConfig: rest.ContentConfig{ContentType: "application/json"}}, clock)
	if err != nil {
		t.Fatal(err)
	}
	h := v.guard(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "inside") }))
	for _, step := range []struct {
		name, auth, path string
		after            time.Duration
		down             bool
		want             int
		text             string
		tokens, access   int32 // reviews so far
	}{
		{name: "no token", path: "/metrics", want: 401, text: "a bearer token is needed"},
		{name: "a password", auth: "Basic Zm9v", path: "/metrics", want: 401, text: "a bearer token is needed"},
		{name: "an empty token", auth: "Bearer  ", path: "/metrics", want: 401, text: "a bearer token is needed"},
		{name: "a stranger's token", auth: "Bearer forged", path: "/metrics", want: 401, text: "the token is not valid", tokens: 1},
		{name: "again", auth: "Bearer forged", path: "/metrics", want: 401, text: "the token is not valid", tokens: 1},
		{name: "a user without the role", auth: "Bearer weak", path: "/metrics", want: 403, text: `user "weak" may not get /metrics: it takes a ClusterRole with nonResourceURLs: [/metrics] and verbs: [get]`, tokens: 2, access: 1},
		{name: "again", auth: "Bearer weak", path: "/metrics", want: 403, text: `user "weak"`, tokens: 2, access: 1},
		{name: "a user with the role", auth: "bearer good", path: "/metrics", want: 200, text: "inside", tokens: 3, access: 2},
		{name: "again", auth: "Bearer good", path: "/metrics", want: 200, text: "inside", tokens: 3, access: 2},
		{name: "another path", auth: "Bearer good", path: "/healthz", want: 403, text: `user "good" may not get /healthz`, tokens: 4, access: 3},
		{name: "what is kept is good while the API server is down", auth: "Bearer good", path: "/metrics", down: true, want: 200, text: "inside", tokens: 4, access: 3},
		{name: "nothing else is", auth: "Bearer new", path: "/metrics", down: true, want: 503, text: "the API server does not review tokens", tokens: 4, access: 3},
		{name: "a failure is not kept", auth: "Bearer new", path: "/metrics", want: 401, text: "the token is not valid", tokens: 5, access: 3},
		{name: "a refusal is kept half a minute", after: denyFor + time.Second, auth: "Bearer weak", path: "/metrics", want: 403, text: `user "weak"`, tokens: 6, access: 4},
		{name: "leave is kept longer", auth: "Bearer good", path: "/metrics", want: 200, text: "inside", tokens: 6, access: 4},
		{name: "for a minute", after: allowFor - denyFor, auth: "Bearer good", path: "/metrics", want: 200, text: "inside", tokens: 7, access: 5},
		{name: "records of connections", auth: "Bearer good", path: "/flows/v1/records?since=1h", want: 200, text: "inside", tokens: 8, access: 6},
		{name: "other ones", auth: "Bearer good", path: "/flows/v1/records?since=2h", want: 200, text: "inside", tokens: 8, access: 6},
		{
			name: "followed", auth: "Bearer good", path: "/flows/v1/records?watch=true", want: 403, tokens: 9, access: 7,
			text: `user "good" may not watch flows.flows.tierwall.io: it takes a ClusterRole with apiGroups: [flows.tierwall.io], resources: [flows] and verbs: [watch]`,
		},
	} {
		clock.SetTime(clock.Now().Add(step.after))
		api.down.Store(step.down)
		rec, req := httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, step.path, nil)
		if step.auth != "" {
			req.Header.Set("Authorization", step.auth)
		}
		h.ServeHTTP(rec, req)
		if rec.Code != step.want || !strings.HasPrefix(rec.Body.String(), step.text) {
			t.Errorf("%s: %d %q, want %d %q", step.name, rec.Code, rec.Body, step.want, step.text)
		}
		if n, a := api.tokens.Load(), api.access.Load(); n != step.tokens || a != step.access {
			t.Errorf("%s: %d tokens and %d accesses reviewed, want %d and %d", step.name, n, a, step.tokens, step.access)
		}
	}
	if len(v.answers.Keys()) > maxAnswers {
		t.Error("too many answers are kept")
	}
}

// A review waits for its turn, and no longer than its request.
func TestReviewsAreCapped(t *testing.T) {
	v, err := newReviewer(&rest.Config{Host: "http://192.0.2.1"}, clocktesting.NewFakePassiveClock(time.Unix(1, 0)))
	if err != nil {
		t.Fatal(err)
	}
	for range maxReviews {
		v.slots <- struct{}{}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	req := httptest.NewRequest(http.MethodGet, "/metrics", nil)
	req.Header.Set("Authorization", "Bearer x")
	if a := v.judge(ctx, req); a.code != http.StatusServiceUnavailable {
		t.Errorf("%+v", a)
	}
}

// outside is a listener whose connections seem to come from another machine.
type outside struct{ net.Listener }

func (o outside) Accept() (net.Conn, error) {
	c, err := o.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return stranger{c}, nil
}

func (o outside) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4zero, Port: 9477} }

type stranger struct{ net.Conn }

func (stranger) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 7), Port: 40000} }

// start serves metrics at a loopback address. Its callers seem to be strangers if
// remote is true.
func start(t *testing.T, o Options, remote bool) (s *Server, addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr = l.Addr().String()
	if remote {
		l = outside{l}
	} else if o.Address == "" { // of all, but asked by loopback
		l = anyAddress{l}
	}
	o.Gatherer = newGatherer()
	o.Probes = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") })
	if s, err = newOn(l, o); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	over := make(chan error, 1)
	go func() { over <- s.Start(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-over; err != nil {
			t.Error(err)
		}
	})
	return s, addr
}

// anyAddress is a listener on all addresses.
type anyAddress struct{ net.Listener }

func (anyAddress) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4zero, Port: 9477} }

func TestServer(t *testing.T) {
	api := httptest.NewServer(&reviews{})
	defer api.Close()
	config := &rest.Config{Host: api.URL, ContentConfig: rest.ContentConfig{ContentType: "application/json"}}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}}
	for _, tt := range []struct {
		name   string
		o      Options
		remote bool
		url    string
		token  string
		want   int
	}{
		{"the node's probes need neither TLS nor token", Options{Access: Authenticated}, false, "http:/readyz", "", 200},
		{"the node's metrics are not open", Options{Access: Authenticated}, false, "http:/metrics", "", 403},
		{"a stranger without TLS", Options{Access: Authenticated}, true, "http:/metrics", "good", 400},
		{"a stranger without a token", Options{Access: Authenticated}, true, "https:/metrics", "", 401},
		{"a stranger with a forged token", Options{Access: Authenticated}, true, "https:/metrics", "forged", 401},
		{"a user without the role", Options{Access: Authenticated}, true, "https:/metrics", "weak", 403},
		{"a user with the role", Options{Access: Authenticated}, true, "https:/metrics", "good", 200},
		{"probes are as closed to strangers", Options{Access: Authenticated}, true, "https:/readyz", "", 401},
		{"open", Options{Access: Open}, true, "http:/metrics", "", 200},
		{"open probes", Options{Access: Open}, true, "http:/readyz", "", 200},
		{"open, by loopback", Options{Access: Open}, false, "http:/metrics", "", 200},
		{"loopback alone", Options{Access: Authenticated, Address: "127.0.0.1:9477"}, false, "http:/metrics", "", 200},
		{"no such page", Options{Access: Open}, true, "http:/metrics/x", "", 200},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.o.Config = config
			_, addr := start(t, tt.o, tt.remote)
			scheme, path, _ := strings.Cut(tt.url, ":")
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, scheme+"://"+addr+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			if tt.token != "" {
				req.Header.Set("Authorization", "Bearer "+tt.token)
			}
			resp, err := client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			body, _ := io.ReadAll(resp.Body)
			_ = resp.Body.Close()
			if resp.StatusCode != tt.want {
				t.Errorf("%d %s, want %d", resp.StatusCode, body, tt.want)
			}
		})
	}
}

// A stranger's connections are limited, those of the node itself are not.
func TestConnectionsAreLimited(t *testing.T) {
	hold := func(addr string, n int) (open int) {
		var conns []net.Conn
		for range n {
			c, err := net.Dial("tcp", addr)
			if err != nil {
				t.Fatal(err)
			}
			conns = append(conns, c)
		}
		defer func() {
			for _, c := range conns {
				_ = c.Close()
			}
		}()
		for _, c := range conns {
			_, _ = io.WriteString(c, "GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n")
			if _, err := c.Read(make([]byte, 1)); err == nil {
				open++
			}
		}
		return open
	}
	s, addr := start(t, Options{Access: Open}, true)
	if n := hold(addr, 2*maxConnectionsPerPeer); n != maxConnectionsPerPeer {
		t.Errorf("a stranger holds %d connections", n)
	}
	if n := testutil.ToFloat64(s.refused); n != maxConnectionsPerPeer {
		t.Errorf("%v connections are counted as refused", n)
	}
	if n := testutil.ToFloat64(s.requests.WithLabelValues("200")); n != maxConnectionsPerPeer {
		t.Errorf("%v requests are counted", n)
	}
	if problems, err := testutil.CollectAndLint(s); err != nil || len(problems) > 0 {
		t.Errorf("%v, %v", problems, err)
	}
	_, addr = start(t, Options{Access: Open}, false)
	if n := hold(addr, 2*maxConnections); n != 2*maxConnections {
		t.Errorf("the node holds %d connections", n)
	}
}

func TestOptions(t *testing.T) {
	for _, tt := range []struct {
		o    Options
		want string
	}{
		{Options{Access: Open, Address: "127.0.0.1:0"}, "scrape: a gatherer is needed"},
		{Options{Access: "public", Address: "127.0.0.1:0", Gatherer: newGatherer()}, `scrape: access "public": want authenticated or open`},
		{Options{Access: Authenticated, Address: "0.0.0.0:0", Gatherer: newGatherer()}, "scrape: no API server could review tokens: access must be open, or the address loopback"},
		{Options{Access: Authenticated, Address: "127.0.0.1:0", Gatherer: newGatherer()}, ""},
	} {
		s, err := New(tt.o)
		if fmt.Sprint(err) != tt.want && !(err == nil && tt.want == "") {
			t.Errorf("%v, want %s", err, tt.want)
		}
		if s != nil {
			_ = s.listener.Close()
		}
	}
}

// A certificate lasts for its time, and a new one comes well before its end.
func TestCertificates(t *testing.T) {
	clock := clocktesting.NewFakePassiveClock(time.Now())
	c := &certificates{clock: clock}
	first, err := c.get(nil)
	if err != nil {
		t.Fatal(err)
	}
	if again, _ := c.get(nil); again != first {
		t.Error("made twice")
	}
	clock.SetTime(clock.Now().Add(validity / 2))
	next, _ := c.get(nil)
	if next == first {
		t.Error("not renewed")
	}
	clock.SetTime(clock.Now().Add(-59 * time.Minute))
	if same, _ := c.get(nil); same != next {
		t.Error("made anew for a clock that was set back a little")
	}
	clock.SetTime(clock.Now().Add(-time.Hour))
	if early, _ := c.get(nil); early == next {
		t.Error("a certificate that is not valid yet is kept after the clock was set back")
	}
}

// brokenListener fails once, as where a process has too many files open.
type brokenListener struct {
	net.Listener
	failed atomic.Bool
}

func (b *brokenListener) Accept() (net.Conn, error) {
	if !b.failed.Swap(true) {
		return nil, errors.New("too many open files")
	}
	return b.Listener.Accept()
}

func TestAcceptGoesOn(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s, err := newOn(&brokenListener{Listener: l}, Options{Access: Open, Gatherer: newGatherer(), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var over sync.WaitGroup
	over.Go(func() { _ = s.Start(ctx) })
	defer over.Wait()
	defer cancel()
	resp, err := http.Get("http://" + l.Addr().String() + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Error(resp.Status)
	}
}
