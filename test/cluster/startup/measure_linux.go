package startup

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/tierwall/tierwall/test/cluster"
	"github.com/tierwall/tierwall/test/cluster/image"
)

// Options of a measurement. Cluster, Client and Module are needed.
type Options struct {
	// Cluster that is up, of two nodes or more, with Tierwall on it.
	Cluster *cluster.Cluster
	// Client of the administrator, for core, networking and Tierwall's kinds.
	Client client.Client
	// Module is the folder of Tierwall's go.mod; Work one for what is built.
	Module, Work string
	// Pods that are started, and how many at a time; 0: 200, and 4.
	Pods, Parallel int
	// Duration for which each sends, and the pause between its rounds; 0: 400 ms, and 4 ms.
	Duration, Interval time.Duration
	// Log is told how far it is; nil: nobody is.
	Log func(format string, args ...any)
}

// Namespace of all that is made for a measurement.
const Namespace = "startup"

// starterImage is the image of the pods that send.
const starterImage = "tierwall.example/starter:1"

// target is a pod that packets are sent to.
type target struct {
	role, place string
	node        string
	addr        netip.Addr
	witness     *witness
}

// run is a measurement at work.
type run struct {
	Options
	targets []*target

	mu     sync.Mutex
	result *Result
}

// Measure starts the pods and counts. What it has made is gone when it returns.
func Measure(ctx context.Context, o Options) (*Result, error) {
	fill := func(v *int, def int) {
		if *v == 0 {
			*v = def
		}
	}
	fill(&o.Pods, 200)
	fill(&o.Parallel, 4)
	if o.Duration == 0 {
		o.Duration = 400 * time.Millisecond
	}
	if o.Interval == 0 {
		o.Interval = 4 * time.Millisecond
	}
	if o.Log == nil {
		o.Log = func(string, ...any) {}
	}
	if len(o.Cluster.Nodes()) < 2 {
		return nil, errors.New("startup: two nodes are needed")
	}
	r := &run{Options: o}
	if err := r.loadStarter(ctx); err != nil {
		return nil, err
	}
	defer r.clean()
	if err := r.prepare(ctx); err != nil {
		return nil, err
	}
	defer func() {
		for _, t := range r.targets {
			if t.witness != nil {
				t.witness.close()
			}
		}
	}()
	r.result = newResult(o.Interval, r.targets)
	return r.result, r.startAll(ctx)
}

// loadStarter builds the image of the pods that send, and gives it to all nodes.
func (r *run) loadStarter(ctx context.Context) error {
	program := filepath.Join(r.Work, "starter")
	c := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o", program, "./test/cluster/startup/starter")
	c.Dir, c.Env = r.Module, append(c.Environ(), "CGO_ENABLED=0")
	if said, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("startup: starter: %w\n%s", err, said)
	}
	archive := filepath.Join(r.Work, "starter.tar")
	i := image.Image{Names: []string{starterImage}, Entrypoint: []string{"/starter"}, Files: []image.File{{Path: "/starter", Source: program}}}
	if err := i.WriteFile(archive); err != nil {
		return fmt.Errorf("startup: %w", err)
	}
	return r.Cluster.LoadImage(ctx, archive)
}

// prepare makes the namespace, the policies and the targets, and has witnesses see these.
func (r *run) prepare(ctx context.Context) error {
	objects := append([]client.Object{&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: Namespace}}}, policies()...)
	nodes := r.Cluster.Nodes()
	for _, place := range []string{sameNode, otherNode} {
		for _, role := range roles {
			t := &target{role: role, place: place, node: nodes[0]}
			if place == otherNode {
				t.node = nodes[1]
			}
			r.targets = append(r.targets, t)
			objects = append(objects, targetPod(t))
		}
	}
	for _, o := range objects {
		if err := r.Client.Create(ctx, o); err != nil {
			return fmt.Errorf("startup: %w", err)
		}
	}
	for _, t := range r.targets {
		p, err := r.await(ctx, t.name(), func(p *corev1.Pod) bool { return p.Status.Phase == corev1.PodRunning && p.Status.PodIP != "" })
		if err != nil {
			return err
		}
		m, err := r.Cluster.Machine(t.node)
		if err != nil {
			return err
		}
		if t.addr, err = netip.ParseAddr(p.Status.PodIP); err != nil {
			return fmt.Errorf("startup: %w", err)
		}
		if t.witness, err = watch(m.PID(), t.addr); err != nil {
			return fmt.Errorf("startup: target %s: %w", t.name(), err)
		}
	}
	// The policies are older than any packet.
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(2 * time.Second):
		return nil
	}
}

// startAll starts the pods, a few at a time.
func (r *run) startAll(ctx context.Context) error {
	numbers := make(chan int)
	var work sync.WaitGroup
	var mu sync.Mutex
	var failed []error
	for range r.Parallel {
		work.Go(func() {
			for n := range numbers {
				if err := r.start(ctx, n); err != nil {
					mu.Lock()
					failed = append(failed, err)
					mu.Unlock()
				}
			}
		})
	}
	for n := 1; n <= r.Pods && ctx.Err() == nil; n++ {
		if n%20 == 0 {
			r.Log("%d of %d pods", n, r.Pods)
		}
		numbers <- n
	}
	close(numbers)
	work.Wait()
	return errors.Join(failed...)
}

// start starts one pod, waits until it has sent all, and counts.
func (r *run) start(ctx context.Context, n int) error {
	name := fmt.Sprintf("starter-%04d", n)
	args := []string{r.Duration.String(), r.Interval.String()}
	for _, t := range r.targets {
		args = append(args, netip.AddrPortFrom(t.addr, port).String())
	}
	p := starterPod(name, r.Cluster.Nodes()[0], args)
	if err := r.Client.Create(ctx, p); err != nil {
		return fmt.Errorf("startup: %w", err)
	}
	p, err := r.await(ctx, name, func(p *corev1.Pod) bool {
		return p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
	})
	if err != nil {
		return err
	}
	var rounds int
	addr, err := netip.ParseAddr(p.Status.PodIP)
	if err != nil {
		return fmt.Errorf("startup: %s: %w", name, errNoAddress)
	}
	state := p.Status.ContainerStatuses[0].State.Terminated
	if state == nil {
		return fmt.Errorf("startup: %s: its container has not ended", name)
	}
	if _, err := fmt.Sscanf(state.Message, "rounds %d", &rounds); err != nil || state.ExitCode != 0 {
		return fmt.Errorf("startup: %s: exit status %d: %s", name, state.ExitCode, strings.TrimSpace(state.Message))
	}
	r.mu.Lock()
	r.result.count(rounds, func(t *target) arrived { return t.witness.take(addr) })
	r.mu.Unlock()
	return client.IgnoreNotFound(r.Client.Delete(ctx, p, client.GracePeriodSeconds(0)))
}

// await polls a pod until it is as wanted.
func (r *run) await(ctx context.Context, name string, good func(*corev1.Pod) bool) (*corev1.Pod, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	for {
		p := &corev1.Pod{}
		err := r.Client.Get(ctx, client.ObjectKey{Namespace: Namespace, Name: name}, p)
		if err == nil && good(p) {
			return p, nil
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("startup: %s is %s: %w", name, p.Status.Phase, errors.Join(err, ctx.Err()))
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// clean removes what has been made.
func (r *run) clean() {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	for _, o := range append(policies(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: Namespace}}) {
		if err := client.IgnoreNotFound(r.Client.Delete(ctx, o)); err != nil {
			r.Log("not removed: %v", err)
		}
	}
	for ctx.Err() == nil {
		if err := r.Client.Get(ctx, client.ObjectKey{Name: Namespace}, &corev1.Namespace{}); apierrors.IsNotFound(err) {
			return
		}
		time.Sleep(time.Second)
	}
}

func (t *target) name() string { return t.role + "-" + strings.ReplaceAll(t.place, " ", "-") }

func targetPod(t *target) *corev1.Pod {
	p := podOn(t.name(), t.node, map[string]string{"app": "target", "role": t.role}, image.PauseName, nil)
	return p
}

func starterPod(name, node string, args []string) *corev1.Pod {
	p := podOn(name, node, map[string]string{"app": "starter"}, starterImage, args)
	p.Spec.RestartPolicy = corev1.RestartPolicyNever
	return p
}

func podOn(name, node string, labels map[string]string, img string, args []string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: Namespace, Name: name, Labels: labels},
		Spec: corev1.PodSpec{
			NodeName: node, TerminationGracePeriodSeconds: ptr.To[int64](0), AutomountServiceAccountToken: ptr.To(false),
			EnableServiceLinks: ptr.To(false),
			Containers:         []corev1.Container{{Name: "c", Image: img, Args: args, ImagePullPolicy: corev1.PullIfNotPresent}},
		},
	}
}
