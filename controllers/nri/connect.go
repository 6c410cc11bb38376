package nri

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"time"

	"github.com/containerd/nri/pkg/api"
	"github.com/containerd/nri/pkg/stub"
)

const (
	// lookAgain is the pause where there is no runtime with NRI.
	lookAgain = 10 * time.Second
	// minPause and maxPause bound the pause after a lost connection, which doubles:
	// a runtime that restarts goes on starting pods.
	minPause, maxPause = 100 * time.Millisecond, 5 * time.Second
	// registration is how long it may take to be accepted as a plugin.
	registration = 2 * api.DefaultPluginRegistrationTimeout
)

// Run listens to the runtime until the context ends; then it returns nil. It may
// be called once.
func (p *Plugin) Run(ctx context.Context) error {
	said, pause := "", minPause
	for ctx.Err() == nil {
		accepted, err := p.connect(ctx)
		if ctx.Err() != nil {
			break
		}
		wait := pause
		switch {
		case accepted:
			said, pause, wait = "", minPause, minPause
			p.opts.Log.Warn("connection to the container runtime is lost; new pods do not wait for their policy until it is back", "error", err)
		case errors.Is(err, os.ErrNotExist):
			wait = lookAgain
			if said != "absent" {
				said = "absent"
				p.opts.Log.Info("no container runtime with NRI here: until the kubelet has reported a new pod's address, unknownWorkloads decides", "socket", p.opts.Socket)
			}
		default:
			pause = min(2*pause, maxPause)
			if text := err.Error(); said != text {
				said = text
				p.opts.Log.Warn("cannot connect to the container runtime; new pods do not wait for their policy", "error", err)
			}
		}
		timer := p.opts.Clock.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-timer.C():
		}
		timer.Stop()
	}
	return nil
}

// connect is one connection, from its beginning to its end. It reports whether the
// runtime had accepted the plugin.
func (p *Plugin) connect(ctx context.Context) (accepted bool, err error) {
	conn, err := (&net.Dialer{Timeout: registration}).DialContext(ctx, "unix", p.opts.Socket)
	if err != nil {
		return false, err
	}
	defer func() { _ = conn.Close() }()
	h := &handler{Plugin: p, configured: make(chan struct{})}
	s, err := stub.New(h, stub.WithLogger(quiet{p.opts.Log}), stub.WithPluginName(Name), stub.WithPluginIdx(index), stub.WithConnection(conn))
	if err != nil {
		return false, fmt.Errorf("nri: %w", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	timer := p.opts.Clock.NewTimer(registration)
	defer timer.Stop()
	select {
	case err := <-ended:
		return false, fmt.Errorf("register as a plugin: %w", err)
	case <-ctx.Done():
		return false, ctx.Err()
	case <-timer.C():
		// The stub may wait for ever for a runtime that went away meanwhile: it is
		// left behind with its connection closed.
		return false, errors.New("register as a plugin: no answer")
	case <-h.configured:
	}
	p.opts.Log.Info("the container runtime has new pods wait for their policy", "runtime", h.runtime, "socket", p.opts.Socket, "required", p.opts.Require)
	p.metrics.connected.Set(1)
	defer p.metrics.connected.Set(0)
	defer p.opts.Pods.Lost()
	select {
	case err = <-ended:
	case <-ctx.Done():
		s.Stop()
	}
	return true, err
}

// quiet turns what the stub logs into debugging output.
type quiet struct{ log *slog.Logger }

func (q quiet) line(ctx context.Context, format string, args ...any) {
	q.log.DebugContext(ctx, fmt.Sprintf(format, args...))
}

// Debugf implements the stub's logger.
func (q quiet) Debugf(ctx context.Context, format string, args ...any) { q.line(ctx, format, args...) }

// Infof implements the stub's logger.
func (q quiet) Infof(ctx context.Context, format string, args ...any) { q.line(ctx, format, args...) }

// Warnf implements the stub's logger.
func (q quiet) Warnf(ctx context.Context, format string, args ...any) { q.line(ctx, format, args...) }

// Errorf implements the stub's logger.
func (q quiet) Errorf(ctx context.Context, format string, args ...any) { q.line(ctx, format, args...) }
