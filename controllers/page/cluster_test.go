package page

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
	testclock "k8s.io/utils/clock/testing"

	"github.com/tierwall/tierwall/controllers/manifests"
)

// apiServer knows tokens: a reads a cluster with one policy, b may list nothing, any other
// is not valid.
type apiServer struct {
	reads map[string]int
}

func (a *apiServer) load(_ context.Context, c *rest.Config) (*manifests.Result, error) {
	if c.CertFile != "" || c.Username != "" || c.BearerTokenFile != "" {
		return nil, fmt.Errorf("the manager's own credentials are used: %v", c)
	}
	a.reads[c.BearerToken]++
	switch {
	case strings.HasPrefix(c.BearerToken, "a"):
		return manifests.LoadBytes("x", []byte("apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: of-"+c.BearerToken+", namespace: x}\nspec: {podSelector: {}}\n"))
	case c.BearerToken == "b":
		return nil, apierrors.NewForbidden(schema.GroupResource{Resource: "pods"}, "", nil)
	}
	return nil, apierrors.NewUnauthorized("no such token")
}

func clusterOf(t *testing.T) (*Cluster, *apiServer, *testclock.FakeClock) {
	t.Helper()
	a, c := &apiServer{reads: map[string]int{}}, testclock.NewFakeClock(time.Unix(1000, 0))
	x, err := NewCluster(ClusterOptions{
		Config: &rest.Config{Host: "https://api", BearerTokenFile: "/own", Username: "own", TLSClientConfig: rest.TLSClientConfig{CertFile: "/own"}},
		Build:  build, Clock: c, Load: a.load,
	})
	if err != nil {
		t.Fatal(err)
	}
	return x, a, c
}

// TestCluster: each caller sees what the own token reads, and nothing without one.
func TestCluster(t *testing.T) {
	x, a, clock := clusterOf(t)
	h := x.Handler()
	ask := func(token string) (int, string) {
		w := send(h, "/ui/v1/board", "", func(r *http.Request) {
			r.Host = "tierwall.example"
			if r.Header.Set("Authorization", "Bearer "+token); token == "" {
				r.Header.Del("Authorization")
			}
		})
		return w.Code, w.Body.String()
	}
	for _, c := range []struct {
		token string
		code  int
	}{{"a1", 200}, {"", 401}, {"b", 403}, {"wrong", 401}, {"a2", 200}, {"a1", 200}} {
		code, text := ask(c.token)
		if code != c.code {
			t.Errorf("token %q: %d %s, want %d", c.token, code, text, c.code)
		}
		for _, other := range []string{"a1", "a2"} {
			if has := strings.Contains(text, "of-"+other); has != (other == c.token) {
				t.Errorf("token %q: policy of %s: %v", c.token, other, has)
			}
		}
	}
	if a.reads["a1"] != 1 {
		t.Errorf("objects that are fresh were read %d times", a.reads["a1"])
	}
	clock.Step(freshFor)
	if ask("a1"); a.reads["a1"] != 2 {
		t.Errorf("objects that are not fresh were read %d times", a.reads["a1"])
	}
	if w := send(h, "/ui/v1/board", "", func(r *http.Request) { r.Header.Set("Origin", "https://evil.example") }); w.Code != http.StatusForbidden {
		t.Errorf("another site's page: %d", w.Code)
	}
}

// TestClusterIsBounded: neither many callers nor many wrong tokens stay in memory.
func TestClusterIsBounded(t *testing.T) {
	x, _, clock := clusterOf(t)
	h := x.Handler()
	for i := range 100 {
		for _, kind := range []string{"a", "wrong"} {
			send(h, "/ui/v1/info", "", func(r *http.Request) { r.Header.Set("Authorization", fmt.Sprintf("Bearer %s%d", kind, i)) })
		}
		if n := len(x.sessions); n > maxSessions {
			t.Fatalf("%d sessions", n)
		}
	}
	clock.Step(idleFor)
	send(h, "/ui/v1/info", "", func(r *http.Request) { r.Header.Set("Authorization", "Bearer a") })
	if n := len(x.sessions); n != 1 {
		t.Errorf("%d sessions after all but one were idle", n)
	}
}
