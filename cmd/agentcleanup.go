//go:build linux

package cmd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/tierwall/tierwall/dataplane"
)

// cleanupRetry is how long after a failure the kernel is tried again.
const cleanupRetry = 10 * time.Second

// stayClean removes what is in the kernel, again and again until that succeeds,
// and then stays, doing nothing but to answer probes: ready means clean. So a
// DaemonSet can tell which nodes are done.
func stayClean(ctx context.Context, log *slog.Logger, backend dataplane.Backend, addr string) error {
	var left atomic.Pointer[error] // what keeps the node from being clean; nil: it is
	begun := errors.New("not cleaned yet")
	left.Store(&begun)
	if addr != "" {
		stop, err := serveCleanup(log, addr, &left)
		if err != nil {
			return fmt.Errorf("--metrics-addr: %w", err)
		}
		defer stop()
	}
	for {
		err := backend.Cleanup(ctx)
		if err == nil {
			left.Store(nil)
			log.Info("removed table inet tierwall")
			<-ctx.Done()
			return nil
		}
		left.Store(&err)
		log.Error("the table is still there", "error", err)
		select {
		case <-ctx.Done():
			return err
		case <-time.After(cleanupRetry):
		}
	}
}

// serveCleanup answers /healthz and /readyz until stop is called.
func serveCleanup(log *slog.Logger, addr string, left *atomic.Pointer[error]) (stop func(), err error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, err
	}
	server := &http.Server{
		Handler: cleanupHandler(left), ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
	over := make(chan struct{})
	go func() {
		defer close(over)
		if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			log.Error("probes are not answered any more", "error", err)
		}
	}()
	return func() {
		_ = server.Close() // probes that are under way are not worth waiting for
		<-over
	}, nil
}

// cleanupHandler answers the probes.
func cleanupHandler(left *atomic.Pointer[error]) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if err := left.Load(); err != nil {
			http.Error(w, (*err).Error(), http.StatusServiceUnavailable)
			return
		}
		_, _ = fmt.Fprintln(w, "ok")
	})
	return mux
}
