package podexec_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/rest"

	"github.com/tierwall/tierwall/controllers/podexec"
	"github.com/tierwall/tierwall/controllers/podexec/fake"
)

func TestOutput(t *testing.T) {
	mux := http.NewServeMux()
	mux.Handle("/api/v1/namespaces/ns/pods/a/exec", fake.Handler(func(words []string) (string, string, int) {
		if !slices.Equal(words, []string{"echo", "a b"}) {
			return "", "unknown command " + strings.Join(words, " "), 3
		}
		return strings.Repeat("long ", 10_000), "a warning", 0
	}))
	mux.HandleFunc("/api/v1/namespaces/ns/pods/secret/exec", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusForbidden)
		_, _ = w.Write([]byte(`{"kind":"Status","apiVersion":"v1","status":"Failure","message":"pods \"secret\" is forbidden","reason":"Forbidden","code":403}`))
	})
	hangs := make(chan struct{})
	mux.Handle("/api/v1/namespaces/ns/pods/hangs/exec", fake.Handler(func([]string) (string, string, int) { <-hangs; return "", "", 0 }))
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	t.Cleanup(func() { close(hangs) })
	config := &rest.Config{Host: server.URL}
	in := func(pod string) podexec.Container {
		return podexec.Container{Namespace: "ns", Pod: pod, Name: "agent"}
	}

	out, err := podexec.Output(t.Context(), config, in("a"), "echo", "a b")
	if err != nil || len(out) != 50_000 {
		t.Errorf("%d bytes, %v", len(out), err)
	}
	for _, test := range []struct {
		pod, want string
	}{
		{"a", "pod ns/a: rm: command terminated with exit code 3: unknown command rm"},
		{"secret", "forbidden"},
		{"none", "pod ns/none: rm: "},
	} {
		if _, err := podexec.Output(t.Context(), config, in(test.pod), "rm"); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %s", test.pod, err, test.want)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := podexec.Output(ctx, config, in("hangs"), "rm"); err == nil {
		t.Error("no error of a command that hangs")
	}
}
