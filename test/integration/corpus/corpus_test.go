//go:build linux

package corpus

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/test/adversaries"
	"github.com/tierwall/tierwall/test/integration/env"
)

// good is the other tenant's namespace.
const good = "good"

// memoryLimit is what an agent must do with, whatever a tenant writes.
const memoryLimit = 512 << 20

// mostRounds is how many transactions a change of the other tenant's may wait for: one
// that was under way when it came, a slice of the adversary's, and its own.
const mostRounds = 3

// rig is an API server with both tenants.
type rig struct {
	c          client.Client
	kubeconfig string
	web        *networkingv1.NetworkPolicy
	pods       int
}

func newRig(tb testing.TB) *rig {
	tb.Helper()
	if os.Getuid() != 0 {
		tb.Skip("NOT RUN: a kernel of its own needs root")
	}
	// Watches outlive a stop of the server by as long as a request may take.
	e, err := env.Start(env.Options{Arguments: map[string]string{"request-timeout": "20s"}})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := e.Stop(); err != nil {
			tb.Error(err)
		}
	})
	config := e.Admin()
	config.QPS = -1
	r := &rig{kubeconfig: filepath.Join(tb.TempDir(), "kubeconfig")}
	if r.c, err = e.Client(config); err != nil {
		tb.Fatal(err)
	}
	data, err := e.Kubeconfig("agent", "system:masters")
	if err == nil {
		err = os.WriteFile(r.kubeconfig, data, 0o600)
	}
	for _, ns := range []string{adversaries.Namespace, good} {
		err = errors.Join(err, r.c.Create(tb.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: ns}}))
	}
	err = errors.Join(err,
		r.c.Create(tb.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: node}, Spec: corev1.NodeSpec{PodCIDR: "10.66.0.0/16", PodCIDRs: []string{"10.66.0.0/16"}}}),
		r.startPod(tb.Context(), pod(good, "web", "10.66.0.1")),
		r.startPod(tb.Context(), pod(adversaries.Namespace, "web", "10.66.0.2")))
	if os.Getenv("TIERWALL_BUDGETS") != "" {
		tw := &v1alpha1.Tierwall{ObjectMeta: metav1.ObjectMeta{Name: v1alpha1.TierwallName}}
		tw.Spec.Budgets.Mode = v1alpha1.GuardMode(os.Getenv("TIERWALL_BUDGETS"))
		err = errors.Join(err, r.c.Create(tb.Context(), tw))
	}
	r.web = &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: good, Name: "web"}}
	r.web.Spec.PodSelector.MatchLabels = map[string]string{"app": "web"}
	if err = errors.Join(err, r.c.Create(tb.Context(), r.web)); err != nil {
		tb.Fatal(err)
	}
	return r
}

func pod(namespace, name, ip string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: map[string]string{"app": "web"}},
		Spec:       corev1.PodSpec{NodeName: node, Containers: []corev1.Container{{Name: "c", Image: "i"}}},
		Status:     corev1.PodStatus{Phase: corev1.PodRunning, PodIP: ip, PodIPs: []corev1.PodIP{{IP: ip}}},
	}
}

// startPod creates a pod and then gives it its address, as a kubelet does.
func (r *rig) startPod(ctx context.Context, p *corev1.Pod) error {
	status := p.Status
	if err := r.c.Create(ctx, p); err != nil {
		return err
	}
	p.Status = status
	return r.c.Status().Update(ctx, p)
}

// sample is one change of the other tenant's.
type sample struct {
	// total is from the begin of the write until it was in the kernel, agent from when
	// the agent had it.
	total, agent time.Duration
	rounds       int
}

// change has the other tenant change its policy or, every second time, start a pod, and
// waits until that is in the kernel.
func (r *rig) change(ctx context.Context, p *process, i int) (sample, error) {
	var what string
	began := time.Now()
	if i%2 == 0 {
		port := intstr.FromInt32(int32(8000 + r.web.Generation%1000))
		r.web.Spec.Ingress = []networkingv1.NetworkPolicyIngressRule{{Ports: []networkingv1.NetworkPolicyPort{{Port: &port}}}}
		if err := r.c.Update(ctx, r.web); err != nil {
			return sample{}, err
		}
		what = fmt.Sprint("policy/", r.web.Generation)
	} else {
		r.pods++
		name := fmt.Sprint("pod-", r.pods)
		if err := r.startPod(ctx, pod(good, name, fmt.Sprintf("10.66.%d.%d", 128+r.pods>>8&63, r.pods&255))); err != nil {
			return sample{}, err
		}
		what = "pod/" + name
	}
	e, err := p.wait(5*time.Minute, func(e event) bool { return e.What == what })
	if err != nil {
		return sample{}, fmt.Errorf("%s: %w", what, err)
	}
	if what, isPod := strings.CutPrefix(what, "pod/"); isPod {
		err = r.c.Delete(ctx, pod(good, what, ""), client.GracePeriodSeconds(0))
	}
	return sample{e.Enforced.Sub(began), e.Enforced.Sub(e.Delivered), e.Rounds}, err
}

func (r *rig) changes(ctx context.Context, p *process, n int) (out []sample, err error) {
	for i := range n {
		s, err := r.change(ctx, p, i)
		if err != nil {
			return nil, err
		}
		out = append(out, s)
	}
	return out, nil
}

// outcome is what came of a world.
type outcome struct {
	name          string
	alone, beside []sample
	writes        int // objects written meanwhile
	usage         usage
	restart       time.Duration // of an agent, with the objects there
	restarted     usage
	// firstAlone and first are a pod's that is created when an agent starts anew, without
	// the objects and with them.
	firstAlone, first sample
}

// run measures the other tenant's changes alone, and beside a world: while its objects
// are written and then altered again and again, until n changes have been made.
func (r *rig) run(tb testing.TB, w adversaries.World, n int) *outcome {
	tb.Helper()
	ctx := tb.Context()
	must := func(err error) {
		tb.Helper()
		if err != nil {
			tb.Fatalf("%s: %v", w.Name, err)
		}
	}
	for _, o := range w.Owned {
		must(r.c.Create(ctx, o))
	}
	network, err := newNetwork()
	must(err)
	defer func() { _ = network.Close() }()
	p, err := startAgent(r.kubeconfig, network)
	must(err)
	must(p.untilReady())
	o := &outcome{name: w.Name}
	must(p.stop())
	p, err = startAgent(r.kubeconfig, network)
	must(err)
	o.firstAlone, err = r.change(ctx, p, 1)
	must(err)
	must(p.untilReady())
	o.alone, err = r.changes(ctx, p, n)
	must(err)

	var done atomic.Bool
	var writes atomic.Int64
	written := make(chan error, 1)
	go func() { written <- r.write(ctx, w.Objects, &writes, &done) }()
	for len(o.beside) < n || len(written) == 0 && int(writes.Load()) < len(w.Objects) {
		s, err := r.change(ctx, p, len(o.beside))
		must(err)
		o.beside = append(o.beside, s)
	}
	done.Store(true)
	must(<-written)
	o.writes = int(writes.Load())
	_, err = p.ask("settle")
	must(err)
	e, err := p.ask("usage")
	must(err)
	o.usage = *e.Usage
	must(p.stop())

	p, err = startAgent(r.kubeconfig, network)
	must(err)
	o.first, err = r.change(ctx, p, 1)
	must(err)
	must(p.untilReady())
	o.restart = p.ready
	e, err = p.ask("usage")
	must(err)
	o.restarted = *e.Usage
	must(p.stop())
	for _, obj := range slices.Concat(w.Objects, w.Owned) {
		must(client.IgnoreNotFound(r.c.Delete(ctx, obj, client.GracePeriodSeconds(0))))
	}
	return o
}

// write writes objects one after the other, and alters them in turn until it is done.
func (r *rig) write(ctx context.Context, objects []client.Object, writes *atomic.Int64, done *atomic.Bool) error {
	for i := 0; i < len(objects) || !done.Load(); i++ {
		o := objects[i%len(objects)]
		p, isPod := o.(*corev1.Pod)
		var err error
		switch {
		case i >= len(objects):
			adversaries.Alter(o, i)
			err = r.c.Update(ctx, o)
		case isPod:
			err = r.startPod(ctx, p)
		default:
			err = r.c.Create(ctx, o)
		}
		if err != nil {
			return fmt.Errorf("%T %s: %w", o, o.GetName(), err)
		}
		writes.Add(1)
	}
	return nil
}

func milliseconds(d time.Duration) string {
	return fmt.Sprintf("%.1f", float64(d.Microseconds())/1000)
}

// figures are p50, p99 and the worst of a list.
func figures(list []sample, of func(*sample) time.Duration) [3]time.Duration {
	var all []time.Duration
	for i := range list {
		all = append(all, of(&list[i]))
	}
	slices.Sort(all)
	return [3]time.Duration{all[len(all)/2], all[(len(all)*99-1)/100], all[len(all)-1]}
}

func total(s *sample) time.Duration   { return s.total }
func inAgent(s *sample) time.Duration { return s.agent }

// goal is what p99 may be beside a world.
func (o *outcome) goal() time.Duration {
	return max(2*figures(o.alone, total)[1], 250*time.Millisecond)
}

func (o *outcome) met() bool { return figures(o.beside, total)[1] <= o.goal() }

// worstRounds is the most transactions that a change has waited for.
func (o *outcome) worstRounds() (n int) {
	for _, s := range o.beside {
		n = max(n, s.rounds)
	}
	return n
}

// String is a row of the table.
func (o *outcome) String() string {
	alone, beside, own := figures(o.alone, total), figures(o.beside, total), figures(o.beside, inAgent)
	mb := func(n uint64) uint64 { return n >> 20 }
	verdict := "met"
	if !o.met() {
		verdict = "MISSED"
	}
	return fmt.Sprintf("| %s | %s / %s / %s | %s / %s / %s | %.1f | %s / %s / %s | %d | %s | %d | %s, %d | %s / %s | %s |", o.name,
		milliseconds(alone[0]), milliseconds(alone[1]), milliseconds(alone[2]),
		milliseconds(beside[0]), milliseconds(beside[1]), milliseconds(beside[2]), float64(beside[1])/float64(alone[1]),
		milliseconds(own[0]), milliseconds(own[1]), milliseconds(own[2]),
		o.worstRounds(), milliseconds(o.usage.Worst), mb(max(o.usage.Peak, o.restarted.Peak)), o.restart.Round(10*time.Millisecond), mb(o.restarted.Peak),
		milliseconds(o.firstAlone.total), milliseconds(o.first.total), verdict)
}

const heading = `| adversary | alone p50 / p99 / worst, ms | beside it | ratio of p99 | of it in the agent | rounds | longest round, ms | memory, MB | restart, and its MB | a pod created at the restart, alone / beside it, ms | goal |
|---|---|---|---|---|---|---|---|---|---|---|`

// TestCorpus writes a small form of every world, and holds to what does not depend on the
// machine: a change of the other tenant's waits for no more than a round that was under way
// and a slice, and the agent's memory is bounded.
func TestCorpus(t *testing.T) {
	r := newRig(t)
	t.Log("\n" + heading)
	for _, w := range adversaries.Corpus(node, 16) {
		o := r.run(t, w, 12)
		t.Log(o)
		if n := o.worstRounds(); n > mostRounds {
			t.Errorf("%s: a change of the other tenant's was in the kernel after %d transactions, want %d at most", w.Name, n, mostRounds)
		}
		if peak := max(o.usage.Peak, o.restarted.Peak); peak > memoryLimit {
			t.Errorf("%s: the agent had %d MB", w.Name, peak>>20)
		}
	}
}

// BenchmarkCorpus writes every world in full, one after the other, or the one that
// TIERWALL_WORLD names a part of, and prints a table.
//
//	make bench-corpus
func BenchmarkCorpus(b *testing.B) {
	r := newRig(b)
	for b.Loop() {
		fmt.Println(heading)
		missed := 0
		for _, w := range adversaries.Corpus(node, 1) {
			if !strings.Contains(w.Name, os.Getenv("TIERWALL_WORLD")) {
				continue
			}
			o := r.run(b, w, 100)
			fmt.Println(o)
			if !o.met() {
				missed++
			}
		}
		b.ReportMetric(float64(missed), "missed")
	}
}
