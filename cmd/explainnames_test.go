package cmd

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tierwall/tierwall/controllers/podexec/fake"
)

// TestExplainNamesOfACluster: explain asks the agent of the sender's node, and no other.
func TestExplainNamesOfACluster(t *testing.T) {
	now := time.Now().UTC()
	known := func(name, addr string) string {
		return fmt.Sprintf(`{"name":%q,"address":%q,"since":%q,"expires":%q}`, name, addr,
			now.Add(-3*time.Minute).Format(time.RFC3339), now.Add(90*time.Second).Format(time.RFC3339))
	}
	agent := func(name, node, phase string) string {
		return fmt.Sprintf(`{"metadata":{"name":%q,"namespace":"tierwall-system","labels":{"app.kubernetes.io/name":"tierwall","app.kubernetes.io/component":"agent"}},`+
			`"spec":{"nodeName":%q,"hostNetwork":true,"containers":[{"name":"agent","image":"i"}]},"status":{"phase":%q,"podIP":"192.168.0.1"}}`, name, node, phase)
	}
	lists, asked := liveServer(t, map[string][]string{
		"/api/v1/namespaces": {`{"metadata":{"name":"shop"}}`, `{"metadata":{"name":"tierwall-system"}}`},
		"/api/v1/nodes":      {`{"metadata":{"name":"n1"},"status":{"addresses":[{"type":"InternalIP","address":"192.168.0.1"}]}}`},
		"/api/v1/services":   nil, "/api/v1/serviceaccounts": nil,
		"/api/v1/pods": {
			livePod("shop", "web", "10.0.0.1", `"app":"web"`, ""), livePod("shop", "db", "10.0.0.2", `"app":"db"`, ""),
			agent("tierwall-agent-old", "n1", "Failed"), agent("tierwall-agent-1", "n1", "Running"), agent("tierwall-agent-2", "n2", "Running"),
			strings.Replace(livePod("shop", "far", "10.0.1.1", `"app":"far"`, ""), `"n1"`, `"n3"`, 1),
		},
		"/apis/discovery.k8s.io/v1/endpointslices": nil, "/apis/networking.k8s.io/v1/networkpolicies": nil,
		"/apis/tierwall.io/v1alpha1/globalnetworkpolicies": {
			`{"metadata":{"name":"names"},"spec":{"selector":"app in {'web', 'far'}","types":["Egress"],"egress":[{"action":"Allow","protocol":"TCP","destination":{"domains":["*.example.com"]}}]}}`,
		},
	}, nil)
	answer := "[" + known("api.example.com", "203.0.113.5") + "," + known("www.other.example", "203.0.113.6") + "]"
	exit := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/api/v1/namespaces/tierwall-system/pods/tierwall-agent-1/exec" {
			lists.Config.Handler.ServeHTTP(w, r)
			return
		}
		fake.Handler(func(words []string) (string, string, int) {
			if !slices.Equal(words, []string{"tierwall", "names", "-o", "json"}) || r.URL.Query().Get("container") != "agent" {
				return "", fmt.Sprint(words), 9
			}
			return answer, "no state", exit
		}).ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	explain := func(args ...string) outcome {
		return runMain(t, "", append([]string{"explain", "--server", server.URL, "--port", "443"}, args...)...)
	}

	got := explain("--from", "shop/web", "--to", "203.0.113.5")
	when := regexp.MustCompile(`matched: DNS has brought 203\.0\.113\.5 for api\.example\.com \(first at [-0-9]+T[0-9:]+Z, 3m[0-9]+s ago; known until [-0-9]+T[0-9:]+Z, for 1m[0-9]+s\)`)
	if got.status != exitOK || got.errOut != "" || !when.MatchString(got.out) {
		t.Errorf("an address that is known: %+v", got)
	}
	if got := explain("--from", "shop/web", "--to", "203.0.113.6"); got.status != exitNegative || !strings.Contains(got.out, "no DNS answer that is known has brought 203.0.113.6") {
		t.Errorf("an address of another name: %+v", got)
	}
	if got := explain("-n", "shop", "--from", "web", "--to", "api.example.com"); got.status != exitOK || !strings.Contains(got.out, "api.example.com port 443/TCP: 1 address") {
		t.Errorf("to a name: %+v", got)
	}
	if got := explain("--from", "10.0.0.1", "--to", "new.example.com"); got.status != exitUnusable || !strings.Contains(got.errOut, "--to: new.example.com: no DNS answer that node n1 knows") {
		t.Errorf("to a name that nobody has asked for: %+v", got)
	}
	var view struct {
		DNSAnswers []struct {
			Address        string
			Names          []string
			Since, Expires time.Time
		}
	}
	got = explain("--from", "shop/web", "--to", "203.0.113.5", "-o", "json")
	if err := json.Unmarshal([]byte(got.out), &view); err != nil || len(view.DNSAnswers) != 1 || view.DNSAnswers[0].Names[0] != "api.example.com" ||
		!view.DNSAnswers[0].Expires.After(now) || !view.DNSAnswers[0].Since.Before(now) {
		t.Errorf("as JSON: %v: %+v", err, got)
	}

	exit = 2
	got = explain("--from", "shop/web", "--to", "203.0.113.5")
	if got.status != exitNegative || !strings.Contains(got.errOut, "warning: the DNS names that node n1 knows cannot be read") || !strings.Contains(got.errOut, "no state") {
		t.Errorf("of an agent that knows nothing: %+v", got)
	}
	*asked = nil
	if got := explain("--from", "203.0.113.5", "--to", "shop/db"); got.status != exitOK || got.errOut != "" {
		t.Errorf("from outside: %+v", got)
	}
	if got := explain("--from", "shop/far", "--to", "203.0.113.5"); got.status != exitNegative || !strings.Contains(got.errOut, "node n3 knows cannot be read, and rules by name match nothing for it: no agent runs there") {
		t.Errorf("from a node without an agent: %+v", got)
	}
	if slices.ContainsFunc(*asked, func(path string) bool { return strings.HasSuffix(path, "/exec") }) {
		t.Errorf("asked for %v", *asked)
	}
}
