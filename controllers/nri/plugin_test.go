package nri

import (
	"context"
	"log/slog"
	"net/netip"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	runtimenri "github.com/containerd/nri/pkg/adaptation"
	"github.com/containerd/nri/pkg/api"
	nrilog "github.com/containerd/nri/pkg/log"
	validator "github.com/containerd/nri/plugins/default-validator/builtin"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/tierwall/tierwall/controllers/startup"
)

// patient is how long a test waits for what must come.
const patient = 20 * time.Second

// fakePods notes what it is told.
type fakePods struct {
	events chan string
	// answer is what Started returns; nil: nothing.
	answer func(ctx context.Context, s startup.Sandbox) error
	lost   atomic.Int32 // calls of Lost
}

func newFakePods() *fakePods { return &fakePods{events: make(chan string, 100)} }

func (f *fakePods) Running(list []startup.Sandbox) {
	var names []string
	for _, s := range list {
		names = append(names, text(s))
	}
	f.events <- "running " + strings.Join(names, ", ")
}

func (f *fakePods) Started(ctx context.Context, s startup.Sandbox) error {
	f.events <- "started " + text(s)
	if f.answer == nil {
		return nil
	}
	return f.answer(ctx, s)
}

func (f *fakePods) Lost() { f.lost.Add(1) }

func (f *fakePods) Stopped(s startup.Sandbox) { f.events <- "stopped " + text(s) }

func text(s startup.Sandbox) string {
	out := s.ID + " " + s.Namespace + "/" + s.Name + " " + s.UID
	for _, a := range s.Addrs {
		out += " " + a.String()
	}
	return out
}

func (f *fakePods) next(t *testing.T, want string) {
	t.Helper()
	select {
	case got := <-f.events:
		if got != want {
			t.Fatalf("got %q, want %q", got, want)
		}
	case <-time.After(patient):
		t.Fatalf("waited in vain for %q", want)
	}
}

// lines is a log that a test can read.
type lines struct {
	slog.Handler
	mu   sync.Mutex
	text []string
}

func (l *lines) Enabled(context.Context, slog.Level) bool { return true }
func (l *lines) Handle(_ context.Context, r slog.Record) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if r.Level > slog.LevelDebug {
		l.text = append(l.text, r.Level.String()+" "+r.Message)
	}
	return nil
}

func (l *lines) count(part string) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, t := range l.text {
		if strings.Contains(t, part) {
			n++
		}
	}
	return n
}

// silent is what the runtime's side logs to.
type silent struct{}

func (silent) Debugf(context.Context, string, ...any) {}
func (silent) Infof(context.Context, string, ...any)  {}
func (silent) Warnf(context.Context, string, ...any)  {}
func (silent) Errorf(context.Context, string, ...any) {}

func TestMain(m *testing.M) {
	nrilog.Set(silent{})
	m.Run()
}

// containerd is the runtime's side of NRI, the one that containerd has.
func containerd(t *testing.T, socket string, pods []*api.PodSandbox, o ...runtimenri.Option) *runtimenri.Adaptation {
	t.Helper()
	dir := filepath.Dir(socket)
	o = append(o, runtimenri.WithSocketPath(socket), runtimenri.WithPluginPath(filepath.Join(dir, "plugins")), runtimenri.WithPluginConfigPath(filepath.Join(dir, "conf")))
	r, err := runtimenri.New("containerd", "v2.4.2",
		func(ctx context.Context, sync runtimenri.SyncCB) error {
			_, err := sync(ctx, pods, nil)
			return err
		},
		func(context.Context, []*runtimenri.ContainerUpdate) ([]*runtimenri.ContainerUpdate, error) {
			return nil, nil
		}, o...)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Stop)
	return r
}

// listen runs a plugin until the test ends.
func listen(t *testing.T, o Options) *Plugin {
	t.Helper()
	p, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	over := make(chan error, 1)
	go func() { over <- p.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-over:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(patient):
			t.Error("it does not end")
		}
	})
	return p
}

func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(patient); !f(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

func sandbox(id, name, uid string, ips ...string) *api.PodSandbox {
	ns, n, _ := strings.Cut(name, "/")
	return &api.PodSandbox{Id: id, Namespace: ns, Name: n, Uid: uid, Ips: ips, Labels: map[string]string{"app": "forged"}}
}

// run does what containerd does: it waits for a plugin that is being taken in.
func run(t *testing.T, r *runtimenri.Adaptation, p *api.PodSandbox) error {
	t.Helper()
	defer r.BlockPluginSync().Unblock()
	return r.RunPodSandbox(context.Background(), &runtimenri.RunPodSandboxRequest{Pod: p})
}

func TestEvents(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "nri.sock")
	r := containerd(t, socket, []*api.PodSandbox{sandbox("s0", "a/old", "u0", "10.0.0.9"), sandbox("s9", "kube-system/proxy", "u9")})
	pods := newFakePods()
	p := listen(t, Options{Pods: pods, Socket: socket})
	pods.next(t, "running s0 a/old u0 10.0.0.9")
	eventually(t, "the connection", func() bool { return testutil.ToFloat64(p.metrics.connected) == 1 })
	if err := run(t, r, sandbox("s1", "a/p", "u1", "10.0.0.1", "fd00::1", "nonsense")); err != nil {
		t.Error(err)
	}
	pods.next(t, "started s1 a/p u1 10.0.0.1 fd00::1")
	// The host's network: nobody is asked.
	if err := run(t, r, sandbox("s2", "kube-system/agent", "u2")); err != nil {
		t.Error(err)
	}
	for _, end := range []func(p *api.PodSandbox) error{
		func(p *api.PodSandbox) error {
			return r.StopPodSandbox(context.Background(), &runtimenri.StopPodSandboxRequest{Pod: p})
		},
		func(p *api.PodSandbox) error {
			return r.RemovePodSandbox(context.Background(), &runtimenri.RemovePodSandboxRequest{Pod: p})
		},
	} {
		if err := end(sandbox("s1", "a/p", "u1", "10.0.0.1")); err != nil {
			t.Error(err)
		}
		pods.next(t, "stopped s1 a/p u1 10.0.0.1")
	}
	if n := testutil.CollectAndCount(p, "tierwall_agent_pod_start_wait_seconds"); n != 1 {
		t.Errorf("%d histograms", n)
	}
}

// The start of a pod waits for the answer.
func TestHoldsTheStart(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "nri.sock")
	r := containerd(t, socket, nil)
	pods, inForce := newFakePods(), make(chan struct{})
	pods.answer = func(ctx context.Context, _ startup.Sandbox) error {
		select {
		case <-inForce:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	listen(t, Options{Pods: pods, Socket: socket})
	pods.next(t, "running ")
	over := make(chan error, 1)
	go func() { over <- run(t, r, sandbox("s1", "a/p", "u1", "10.0.0.1")) }()
	pods.next(t, "started s1 a/p u1 10.0.0.1")
	select {
	case err := <-over:
		t.Fatalf("it has started: %v", err)
	default:
	}
	close(inForce)
	if err := <-over; err != nil {
		t.Error(err)
	}
}

// An older runtime does not say addresses: that is said, once.
func TestNoAddresses(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "nri.sock")
	r := containerd(t, socket, nil)
	pods, log := newFakePods(), &lines{}
	listen(t, Options{Pods: pods, Socket: socket, Log: slog.New(log)})
	pods.next(t, "running ")
	for range 2 {
		if err := run(t, r, sandbox("s1", "kube-system/agent", "u1")); err != nil {
			t.Error(err)
		}
		p := sandbox("s2", "a/p", "u2")
		p.Linux = &api.LinuxPodSandbox{Namespaces: []*api.LinuxNamespace{{Type: "pid"}, {Type: "network", Path: "/run/netns/x"}}}
		if err := run(t, r, p); err != nil {
			t.Error(err)
		}
	}
	if n := log.count("does not report the addresses"); n != 1 {
		t.Errorf("said %d times: %v", n, log.text)
	}
}

// After three quarters of what the runtime grants the pod starts, or fails to; the
// runtime does not throw the plugin out.
func TestPatience(t *testing.T) {
	runtimenri.SetPluginRequestTimeout(400 * time.Millisecond)
	defer runtimenri.SetPluginRequestTimeout(runtimenri.DefaultPluginRequestTimeout)
	tests := []struct {
		name    string
		require bool
		missing startup.Missing
		fails   bool
	}{
		{"starts all the same", false, startup.MissingKernel, false},
		{"fails if that is wanted", true, startup.MissingKernel, true},
		{"fails if the pod is not known", true, startup.MissingPod, true},
		{"what other nodes know does not count", true, startup.MissingAnnouncement, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			socket := filepath.Join(t.TempDir(), "nri.sock")
			r := containerd(t, socket, nil)
			pods, log := newFakePods(), &lines{}
			pods.answer = func(ctx context.Context, _ startup.Sandbox) error {
				<-ctx.Done()
				return &startup.Late{Pod: "a/p", What: tt.missing, Err: ctx.Err()}
			}
			p := listen(t, Options{Pods: pods, Socket: socket, Require: tt.require, Log: slog.New(log)})
			pods.next(t, "running ")
			for range 2 {
				err := run(t, r, sandbox("s1", "a/p", "u1", "10.0.0.1"))
				if tt.fails != (err != nil) {
					t.Errorf("got error %v", err)
				}
				if err != nil && !strings.Contains(err.Error(), "Pod/a/p: ") {
					t.Errorf("the error names no pod: %v", err)
				}
				pods.next(t, "started s1 a/p u1 10.0.0.1")
			}
			if n := testutil.ToFloat64(p.metrics.late.WithLabelValues(string(tt.missing))); n != 2 {
				t.Errorf("counted %v", n)
			}
			if n := log.count("WARN pod "); n != 2 {
				t.Errorf("%d lines: %v", n, log.text)
			}
			if testutil.ToFloat64(p.metrics.connected) != 1 {
				t.Error("the connection is lost")
			}
		})
	}
}

func TestPatienceOf(t *testing.T) {
	if got := answerWithin(context.Background()); got != 1500*time.Millisecond {
		t.Errorf("without a deadline %v", got)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
	defer cancel()
	if got := answerWithin(ctx); got != maxWait {
		t.Errorf("with a far deadline %v", got)
	}
}

// A runtime that is away or comes back is found.
func TestReconnects(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "nri.sock")
	pods, log := newFakePods(), &lines{}
	first := containerd(t, socket, []*api.PodSandbox{sandbox("s1", "a/p", "u1", "10.0.0.1")})
	p := listen(t, Options{Pods: pods, Socket: socket, Log: slog.New(log)})
	pods.next(t, "running s1 a/p u1 10.0.0.1")
	eventually(t, "the connection", func() bool { return testutil.ToFloat64(p.metrics.connected) == 1 })
	// The plugin takes too long: the runtime throws it out.
	runtimenri.SetPluginRequestTimeout(50 * time.Millisecond)
	block := make(chan struct{})
	pods.answer = func(context.Context, startup.Sandbox) error {
		<-block
		return nil
	}
	if err := run(t, first, sandbox("s2", "a/q", "u2", "10.0.0.2")); err != nil {
		t.Error(err)
	}
	pods.next(t, "started s2 a/q u2 10.0.0.2")
	runtimenri.SetPluginRequestTimeout(runtimenri.DefaultPluginRequestTimeout)
	close(block)
	pods.next(t, "running s1 a/p u1 10.0.0.1")
	if got := pods.lost.Load(); got != 1 {
		t.Errorf("lost %d times, want 1", got)
	}
	if log.count("WARN connection to the container runtime is lost") == 0 {
		t.Errorf("nothing said: %v", log.text)
	}
}

func TestNoRuntime(t *testing.T) {
	log := &lines{}
	p := listen(t, Options{Pods: newFakePods(), Socket: filepath.Join(t.TempDir(), "none"), Log: slog.New(log)})
	eventually(t, "a line", func() bool { return log.count("INFO no container runtime with NRI here") == 1 })
	if testutil.ToFloat64(p.metrics.connected) != 0 {
		t.Error("it is connected")
	}
}

func TestNew(t *testing.T) {
	if _, err := New(Options{}); err == nil {
		t.Error("nobody takes what the runtime says, and that is no error")
	}
	p, err := New(Options{Pods: newFakePods()})
	if err != nil || p.opts.Socket != "/var/run/nri/nri.sock" {
		t.Errorf("%v %v", p, err)
	}
	if err := prometheus.NewPedanticRegistry().Register(p); err != nil {
		t.Error(err)
	}
}

// A runtime that is told so starts no container without the plugin, but for those
// of pods that say that they may.
func TestRequiredByTheRuntime(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "nri.sock")
	r := containerd(t, socket, nil, runtimenri.WithDefaultValidator(&validator.DefaultValidatorConfig{
		Enable: true, RequiredPlugins: []string{Name}, TolerateMissingAnnotation: "tierwall.io/start-without-agent",
	}))
	create := func(annotations map[string]string) error {
		pod := sandbox("s1", "a/p", "u1", "10.0.0.1")
		pod.Annotations = annotations
		_, err := r.CreateContainer(context.Background(), &runtimenri.CreateContainerRequest{Pod: pod, Container: &api.Container{Id: "c", PodSandboxId: "s1", Name: "c"}})
		return err
	}
	if err := create(nil); err == nil || !strings.Contains(err.Error(), Name) {
		t.Errorf("a container without the plugin: %v", err)
	}
	if err := create(map[string]string{"tierwall.io/start-without-agent": "true"}); err != nil {
		t.Errorf("one that may: %v", err)
	}
	pods := newFakePods()
	listen(t, Options{Pods: pods, Socket: socket})
	pods.next(t, "running ")
	eventually(t, "the plugin to be among the runtime's", func() bool { return create(nil) == nil })
}

func TestSandboxOf(t *testing.T) {
	got := sandboxOf(sandbox("s1", "a/p", "u1", "10.0.0.1", "", "fd00::1"))
	want := startup.Sandbox{ID: "s1", Namespace: "a", Name: "p", UID: "u1", Addrs: []netip.Addr{netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("fd00::1")}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v", got)
	}
	if got := sandboxOf(nil); !reflect.DeepEqual(got, startup.Sandbox{}) {
		t.Errorf("of none: %+v", got)
	}
}
