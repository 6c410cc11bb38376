//go:build linux

package cmd

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	appsv1 "k8s.io/api/apps/v1"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/controllers/operator"
	"github.com/tierwall/tierwall/dataplane"
)

// stubborn is a kernel whose table goes at the last of some attempts.
type stubborn struct {
	dataplane.Backend
	refusals, attempts atomic.Int32
}

func (s *stubborn) Cleanup(context.Context) error {
	if s.attempts.Add(1) <= s.refusals.Load() {
		return errors.New("device or resource busy")
	}
	return nil
}

func TestStayClean(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		kernel := &stubborn{}
		kernel.refusals.Store(2)
		ended := make(chan error, 1)
		go func() { ended <- stayClean(ctx, slog.New(slog.DiscardHandler), kernel, "") }()
		time.Sleep(2*cleanupRetry - 1)
		if got := kernel.attempts.Load(); got != 2 {
			t.Errorf("%d attempts", got)
		}
		time.Sleep(time.Hour)
		if got := kernel.attempts.Load(); got != 3 || len(ended) > 0 {
			t.Errorf("%d attempts, ended: %d", got, len(ended))
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// A node that is never clean is told so at the end.
func TestStayCleanNever(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	kernel := &stubborn{}
	kernel.refusals.Store(100)
	err := stayClean(ctx, slog.New(slog.DiscardHandler), kernel, "")
	if err == nil || !strings.Contains(err.Error(), "busy") {
		t.Errorf("error %v", err)
	}
	if err := stayClean(t.Context(), slog.New(slog.DiscardHandler), kernel, "nowhere:x"); err == nil || !strings.HasPrefix(err.Error(), "--metrics-addr: ") {
		t.Errorf("error %v", err)
	}
}

func TestCleanupProbes(t *testing.T) {
	var left atomic.Pointer[error]
	handler := cleanupHandler(&left)
	ask := func(path string) (int, string) {
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		body, err := io.ReadAll(w.Result().Body)
		if err != nil {
			t.Fatal(err)
		}
		return w.Code, strings.TrimSpace(string(body))
	}
	busy := errors.New("busy")
	left.Store(&busy)
	if code, text := ask("/readyz"); code != http.StatusServiceUnavailable || text != "busy" {
		t.Errorf("%d %q", code, text)
	}
	if code, _ := ask("/healthz"); code != http.StatusOK {
		t.Errorf("%d: a restart would not help", code)
	}
	left.Store(nil)
	if code, text := ask("/readyz"); code != http.StatusOK || text != "ok" {
		t.Errorf("%d %q", code, text)
	}
}

// Flags that would have no effect beside each other are refused.
func TestAgentFlagsThatDoNotGoTogether(t *testing.T) {
	for args, want := range map[string]string{
		"--stay":                         "--stay goes with --cleanup",
		"--cleanup --from x":             "--cleanup cannot be combined with --from",
		"--from x --context y":           "--from cannot be combined with --kubeconfig and --context: there is no cluster",
		"--require-policy --from x":      "--require-policy cannot be combined with --from: no pods start",
		"--require-policy --nri off":     "--require-policy cannot be combined with --nri off: nothing would wait",
		"--node x --dataplane netfilter": "--dataplane netfilter: want auto, nftables or iptables",
	} {
		got := runMain(t, "", append([]string{"agent"}, strings.Fields(args)...)...)
		if got.status != exitUnusable || got.errOut != "error: "+want+"\n" {
			t.Errorf("%s: %+v", args, got)
		}
	}
}

// The agent takes the arguments that the operator gives it.
func TestOperatorsArguments(t *testing.T) {
	for _, cleanup := range []bool{false, true} {
		found := false
		tw := &v1alpha1.Tierwall{}
		tw.Spec.Dataplane = v1alpha1.DataplaneNFTables
		for _, o := range operator.Desired(tw, operator.Settings{Image: "x", Cleanup: cleanup}) {
			ds, ok := o.(*appsv1.DaemonSet)
			if !ok {
				continue
			}
			found = true
			args := ds.Spec.Template.Spec.Containers[0].Args
			c := newAgentCommand(streams{})
			if args[0] != c.Name() {
				t.Errorf("%v is no agent", args)
			}
			if err := c.ParseFlags(args[1:]); err != nil {
				t.Errorf("%v: %v", args, err)
			}
			if got := c.Flags().Lookup("dataplane").Value.String(); got != map[bool]string{false: "nftables", true: "auto"}[cleanup] {
				t.Errorf("%v: data plane %s", args, got)
			}
			if got := c.Flags().Lookup("cleanup").Value.String(); got != strconv.FormatBool(cleanup) {
				t.Errorf("%v: cleanup %s", args, got)
			}
		}
		if !found {
			t.Error("no DaemonSet")
		}
	}
}
