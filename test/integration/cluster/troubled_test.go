package cluster

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"

	"github.com/tierwall/tierwall/dataplane/fake"
)

// trouble answers an agent's requests in the place of the API server, while it is
// on, and ends the watches that are open.
type trouble struct {
	mu     sync.Mutex
	answer func(*http.Request) (*http.Response, error) // nil: no trouble
	open   map[*stream]struct{}
	met    int
}

func newTrouble() *trouble { return &trouble{open: map[*stream]struct{}{}} }

// at wraps an agent's way to the server.
func (t *trouble) at(config *rest.Config) *rest.Config {
	config.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(r *http.Request) (*http.Response, error) {
			if answer := t.now(); answer != nil {
				return answer(r)
			}
			resp, err := next.RoundTrip(r)
			if err == nil && r.URL.Query().Get("watch") != "" {
				resp.Body = t.opened(resp.Body)
			}
			return resp, err
		})
	})
	return config
}

func (t *trouble) now() func(*http.Request) (*http.Response, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.answer != nil {
		t.met++
	}
	return t.answer
}

// begin answers all from now on, and ends open watches; nil ends the trouble.
func (t *trouble) begin(answer func(*http.Request) (*http.Response, error)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.answer, t.met = answer, 0
	for s := range t.open {
		_ = s.ReadCloser.Close()
	}
	clear(t.open)
}

func (t *trouble) requests() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.met
}

func (t *trouble) opened(body io.ReadCloser) io.ReadCloser {
	s := &stream{body, t}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.open[s] = struct{}{}
	return s
}

// stream is the body of a watch.
type stream struct {
	io.ReadCloser
	of *trouble
}

func (s *stream) Close() error {
	s.of.mu.Lock()
	delete(s.of.open, s)
	s.of.mu.Unlock()
	return s.ReadCloser.Close()
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// status is an answer of the API server.
func status(code int, reason string, header http.Header) func(*http.Request) (*http.Response, error) {
	return func(r *http.Request) (*http.Response, error) {
		header := header.Clone() // several requests are answered at a time
		if header == nil {
			header = http.Header{}
		}
		header.Set("Content-Type", "application/json")
		body := fmt.Sprintf(`{"kind":"Status","apiVersion":"v1","status":"Failure","reason":%q,"code":%d,"message":"made to fail"}`, reason, code)
		return &http.Response{
			StatusCode: code, Status: http.StatusText(code), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
			Header: header, Body: io.NopCloser(strings.NewReader(body)), Request: r,
		}, nil
	}
}

var _ = Describe("An API server in trouble", Ordered, func() {
	const node = "troubled-node"
	pods := 0
	var kernel *fake.Backend
	BeforeAll(func() {
		withCRDs()
		namespace("troubled")
		Expect(admin.Create(ctx(), &corev1.Node{ObjectMeta: named(node)})).To(Succeed())
	})
	BeforeEach(func() { kernel = &fake.Backend{} })

	// another makes one more pod of the node, and returns how many there are.
	another := func() int {
		GinkgoHelper()
		pods++
		pod("troubled", fmt.Sprint("pod-", pods), node, fmt.Sprint("10.77.0.", pods), nil)
		return pods
	}
	endpoints := func() int { return len(kernel.World().Endpoints) }

	for _, what := range []struct {
		name   string
		answer func(*http.Request) (*http.Response, error)
	}{
		{"too many requests", status(http.StatusTooManyRequests, "TooManyRequests", http.Header{"Retry-After": {"1"}})},
		{"internal errors", status(http.StatusInternalServerError, "InternalError", nil)},
		{"errors of a proxy before it", func(r *http.Request) (*http.Response, error) {
			resp, err := status(http.StatusBadGateway, "", nil)(r)
			resp.Header.Set("Content-Type", "text/html")
			resp.Body = io.NopCloser(strings.NewReader("<html>bad gateway</html>"))
			return resp, err
		}},
		{"connections that break", func(*http.Request) (*http.Response, error) { return nil, errors.New("connection reset by peer") }},
		{"watches that expire", func(r *http.Request) (*http.Response, error) {
			return status(http.StatusGone, "Expired", nil)(r)
		}},
	} {
		It("changes nothing in the kernel and is followed again: "+what.name, func() {
			t := newTrouble()
			n := another()
			a, _ := enforce(t.at(server.Admin()), node, kernel)
			Eventually(a.Ready).Should(Succeed())
			Expect(endpoints()).To(Equal(n))
			before := kernel.World()

			t.begin(what.answer)
			n = another()
			Eventually(t.requests).Should(BeNumerically(">=", 5))
			Expect(kernel.World()).To(Equal(before))
			Expect(a.Healthy()).To(Succeed())

			t.begin(nil)
			Eventually(endpoints).Should(Equal(n))
			Expect(a.Ready()).To(Succeed())
		})

		It("is waited for at the start: "+what.name, func() {
			t := newTrouble()
			t.begin(what.answer)
			a, _ := enforce(t.at(server.Admin()), node, kernel)
			Eventually(t.requests).Should(BeNumerically(">=", 3))
			Expect(a.Ready()).NotTo(Succeed())
			Expect(endpoints()).To(BeZero())
			t.begin(nil)
			Eventually(a.Ready).Should(Succeed())
			Expect(endpoints()).To(Equal(pods))
		})
	}

	It("is followed past a compaction of its store", func() {
		t := newTrouble()
		n := another()
		a, _ := enforce(t.at(server.Admin()), node, kernel)
		Eventually(a.Ready).Should(Succeed())
		Expect(endpoints()).To(Equal(n))
		t.begin(func(*http.Request) (*http.Response, error) { return nil, errors.New("connection refused") })
		n = another()
		// What happened meanwhile is not to be had from the server any more.
		Expect(server.Compact(ctx())).To(Succeed())
		Expect(server.StopServer()).To(Succeed())
		Expect(server.StartServer()).To(Succeed())
		t.begin(nil)
		Eventually(endpoints).Should(Equal(n))
		Expect(a.Ready()).To(Succeed())
	})
})
