package agent

import (
	"context"
	"fmt"
	"runtime"
	runtimemetrics "runtime/metrics"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kruntime "k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/dataplane"
	"github.com/tierwall/tierwall/dataplane/iptables"
	"github.com/tierwall/tierwall/dataplane/nftables"
)

// BenchmarkNeighbour has one namespace write what costs a node most, all at once, and
// changes the policy of another namespace meanwhile, 50 times. It reports how long
// such a change takes until it is enforced, before and beside that.
func BenchmarkNeighbour(b *testing.B) {
	policies := func(n int) func() []kruntime.Object {
		return func() (out []kruntime.Object) {
			for i := range n {
				out = append(out, blockPolicy(i, 500))
			}
			return out
		}
	}
	for _, kernel := range []string{"none", "nftables", "iptables-legacy", "iptables-nft"} {
		for _, world := range []struct {
			name    string
			objects func() []kruntime.Object
		}{
			{"policies=100", policies(100)},
			{"policies=2000", policies(2000)},
			{"grid", gridObjects},
			{"large", largePolicies},
			{"labels", labelledPods},
			{"groups", groupedPods},
			{"global", globalPolicy},
		} {
			b.Run(kernel+"/"+world.name, func(b *testing.B) {
				objects := world.objects()
				for b.Loop() {
					benchNeighbour(b, kernel, objects, false)
				}
			})
			b.Run(kernel+"/start/"+world.name, func(b *testing.B) {
				objects := world.objects()
				for b.Loop() {
					benchNeighbour(b, kernel, objects, true)
				}
			})
		}
	}
}

// gridObjects are a policy of 1,000 rules of a set each, and sets of half of 1,024
// addresses that overlap.
func gridObjects() (out []kruntime.Object) {
	p := &v1alpha1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: "evil", Name: "grid", Generation: 1}}
	for i := range 1000 {
		s := &v1alpha1.NetworkSet{ObjectMeta: metav1.ObjectMeta{Namespace: "evil", Name: fmt.Sprint(i), Labels: map[string]string{"set": fmt.Sprint(i)}}}
		for a := range 1024 {
			if (a*(i+7)+i)%31 < 15 {
				s.Spec.Nets = append(s.Spec.Nets, fmt.Sprintf("198.18.%d.%d", a>>8, a&255))
			}
		}
		p.Spec.Ingress = append(p.Spec.Ingress, v1alpha1.Rule{Action: v1alpha1.Allow, Source: v1alpha1.EntityRule{Selector: fmt.Sprintf("set == '%d'", i)}})
		out = append(out, s)
	}
	return append(out, p)
}

// largePolicies are versions of one native policy of 1.4 MB, and another one between
// each two: overlapping blocks with exceptions, and ports.
func largePolicies() (out []kruntime.Object) {
	for version := range int64(20) {
		p := blockPolicy(0, 0)
		p.Generation = version + 1
		var rule networkingv1.NetworkPolicyIngressRule
		for i := range 12_000 {
			rule.From = append(rule.From, networkingv1.NetworkPolicyPeer{IPBlock: &networkingv1.IPBlock{
				CIDR: fmt.Sprintf("198.%d.0.0/%d", i&255, 16+i>>8&7), Except: []string{fmt.Sprintf("198.%d.0.%d/32", i&255, i>>8)},
			}})
		}
		for i := range 4000 {
			port := intstr.FromInt(1 + 4*i + int(version))
			rule.Ports = append(rule.Ports, networkingv1.NetworkPolicyPort{Port: &port})
		}
		p.Spec.Ingress = []networkingv1.NetworkPolicyIngressRule{rule}
		out = append(out, p, blockPolicy(int(version)+1, 1))
	}
	return out
}

// labelledPods are 1,000 local pods of 50 labels each, and a policy of its own for each.
func labelledPods() (out []kruntime.Object) {
	for i := range 1000 {
		labels := map[string]string{"app": fmt.Sprint("app-", i)}
		for l := range 50 {
			labels[fmt.Sprintf("l-%d-%d", i, l)] = "x"
		}
		p := blockPolicy(i, 3)
		p.Spec.PodSelector.MatchLabels = map[string]string{"app": labels["app"]}
		out = append(out, p, &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: "evil", Name: fmt.Sprint("pod-", i), Labels: labels},
			Spec:       corev1.PodSpec{NodeName: "node"},
			Status:     corev1.PodStatus{Phase: corev1.PodRunning, PodIPs: []corev1.PodIP{{IP: fmt.Sprintf("10.0.%d.%d", 10+i>>8, i&255)}}},
		})
	}
	return out
}

// groupedPods are 20 pods that one more policy selects each and 20 policies of all of
// them, of 470 rules: 20 groups that have nearly the whole budget of the namespace each.
// Then one policy of all changes, ten times.
func groupedPods() (out []kruntime.Object) {
	for i := range 20 {
		labels := map[string]string{"app": fmt.Sprint("app-", i)}
		p := blockPolicy(100+i, 1)
		p.Spec.PodSelector.MatchLabels = labels
		out = append(out, blockPolicy(i, 150), p, &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: "evil", Name: fmt.Sprint("pod-", i), Labels: labels},
			Spec:       corev1.PodSpec{NodeName: "node"},
			Status:     corev1.PodStatus{Phase: corev1.PodRunning, PodIPs: []corev1.PodIP{{IP: fmt.Sprintf("10.0.10.%d", i)}}},
		})
	}
	for version := range 10 {
		p := blockPolicy(0, 151+version)
		p.Generation = int64(version + 2)
		out = append(out, p)
	}
	return out
}

// globalPolicy is one of 300 rules for all pods, each by the label of NetworkSets, and a
// tenant with 20 groups of pods with large policies and 300 sets of 20 addresses. Then
// the policy changes ten times, and the sets' labels in between.
func globalPolicy() []kruntime.Object {
	out := groupedPods()
	out = out[:len(out)-10]
	set := func(i, label int) *v1alpha1.NetworkSet {
		s := &v1alpha1.NetworkSet{ObjectMeta: metav1.ObjectMeta{Namespace: "evil", Name: fmt.Sprint("s", i), Labels: map[string]string{"set": fmt.Sprint(label % 300)}}}
		for a := range 20 {
			s.Spec.Nets = append(s.Spec.Nets, fmt.Sprintf("198.19.%d.%d", (i*7+a)%250, a))
		}
		return s
	}
	for i := range 300 {
		out = append(out, set(i, i))
	}
	for version := range 10 {
		p := &v1alpha1.GlobalNetworkPolicy{ObjectMeta: metav1.ObjectMeta{Name: "watch", Generation: int64(version + 1)}}
		for i := range 300 {
			p.Spec.Ingress = append(p.Spec.Ingress, v1alpha1.Rule{Action: v1alpha1.Pass, Source: v1alpha1.EntityRule{
				Selector: fmt.Sprintf("set == '%d'", i+version%2), NamespaceSelector: "all()",
			}})
		}
		out = append(out, p)
		for i := range 30 {
			out = append(out, set(i*10+version, i+version))
		}
	}
	return out
}

// benchNeighbour has one tenant write objects and another one change a policy meanwhile
// or, at the start, has the first one's objects be there before the agent is.
func benchNeighbour(b *testing.B, kernel string, objects []kruntime.Object, atStart bool) {
	quiet := newNeighbour(b, kernel, nil)
	alone := quiet.changes(50)
	quiet.stop()
	heap := watchHeap()
	var n *neighbour
	start := time.Now()
	if atStart {
		n = newNeighbour(b, kernel, objects)
	} else {
		n = newNeighbour(b, kernel, nil)
		n.changes(1)
		start = time.Now()
		for _, o := range objects {
			n.to.Update([]kruntime.Object{o}, nil)
		}
	}
	defer n.stop()
	beside := n.changes(50)
	ctx, cancel := context.WithTimeout(b.Context(), 9*time.Minute)
	defer cancel()
	if err := n.agent.Settled(ctx, ""); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(time.Since(start).Seconds(), "all-s")
	b.ReportMetric(float64(heap())/(1<<20), "heap-MB")
	if atStart {
		b.ReportMetric(beside[0].Seconds()*1000, "first-ms")
	}
	slices.Sort(alone)
	slices.Sort(beside)
	ms := func(list []time.Duration, at int) float64 { return list[at].Seconds() * 1000 }
	b.ReportMetric(ms(alone, 25), "alone-p50-ms")
	b.ReportMetric(ms(alone, 49), "alone-max-ms")
	b.ReportMetric(ms(beside, 25), "p50-ms")
	b.ReportMetric(ms(beside, 49), "max-ms")
	b.ReportMetric(float64(beside[49])/float64(alone[49]), "worst-ratio")
}

// neighbour is an agent with two tenants.
type neighbour struct {
	b     *testing.B
	agent *Agent
	to    Sink
	stop  func()

	mu         sync.Mutex
	generation int64
	enforced   map[int64]time.Time
}

// Report implements StatusReporter.
func (n *neighbour) Report(s *Status) {
	n.mu.Lock()
	defer n.mu.Unlock()
	g, now := s.Enforced[ref("NetworkPolicy/good/web")], time.Now()
	if _, known := n.enforced[g]; g > 0 && !known {
		n.enforced[g] = now
	}
}

func (n *neighbour) changes(times int) (out []time.Duration) {
	for range times {
		n.generation++
		start := time.Now()
		n.to.Update([]kruntime.Object{goodPolicy(n.generation)}, nil)
		for {
			n.mu.Lock()
			at, done := n.enforced[n.generation]
			n.mu.Unlock()
			if done {
				out = append(out, at.Sub(start))
				break
			}
			if time.Since(start) > 5*time.Minute {
				n.b.Fatal("not enforced")
			}
			time.Sleep(200 * time.Microsecond)
		}
		time.Sleep(10 * time.Millisecond)
	}
	return out
}

type nullBackend struct{}

func (nullBackend) Sync(context.Context, *dataplane.State) error                     { return nil }
func (nullBackend) Apply(context.Context, *dataplane.Change, *dataplane.State) error { return nil }
func (nullBackend) Cleanup(context.Context) error                                    { return nil }
func (nullBackend) Counters(context.Context) (map[dataplane.Origin]dataplane.Count, error) {
	return nil, nil
}

// watchHeap returns what returns how far the heap has grown since at most, what is
// not collected yet included.
func watchHeap() (most func() uint64) {
	end, over := make(chan struct{}), make(chan uint64)
	sample := []runtimemetrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	runtime.GC()
	runtimemetrics.Read(sample)
	before := sample[0].Value.Uint64() // the objects themselves, which a cluster's agent has in its caches
	go func() {
		peak := before
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-end:
				over <- peak - before
				return
			case <-tick.C:
				runtimemetrics.Read(sample)
				peak = max(peak, sample[0].Value.Uint64())
			}
		}
	}()
	return func() uint64 {
		close(end)
		return <-over
	}
}

// newNeighbour starts an agent; what it is to find at its start is there besides.
func newNeighbour(b *testing.B, kernel string, besides []kruntime.Object) *neighbour {
	n := &neighbour{b: b, enforced: map[int64]time.Time{}}
	src := newScript()
	ctx, cancel := context.WithCancel(context.Background())
	made, over := make(chan error), make(chan struct{})
	go func() {
		defer close(over)
		o := Options{Node: "node", Source: src, Backend: nullBackend{}, Reporter: n}
		var err error
		if kernel != "none" {
			runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
			err = unix.Unshare(unix.CLONE_NEWNET)
		}
		switch kernel {
		case "nftables":
			if err == nil {
				o.Backend, err = nftables.New(nftables.Options{})
			}
		case "iptables-legacy":
			if err == nil {
				o.Backend, err = iptables.New(iptables.Options{Variant: iptables.Legacy})
			}
		case "iptables-nft":
			if err == nil {
				o.Backend, err = iptables.New(iptables.Options{Variant: iptables.NFT})
			}
		}
		if err == nil {
			n.agent, err = New(o)
		}
		if err == nil {
			n.agent.kernel.fresh = true // the kernel is empty
		}
		made <- err
		if err == nil {
			_ = n.agent.Run(ctx)
		}
	}()
	if err := <-made; err != nil {
		b.Fatal(err)
	}
	n.stop = func() {
		cancel()
		<-over
	}
	n.to = <-src.sink
	objects := []kruntime.Object{
		&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node"}, Spec: corev1.NodeSpec{PodCIDRs: []string{"10.0.0.0/16"}}},
	}
	for i, ns := range []string{"evil", "good"} {
		objects = append(objects,
			&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: ns}},
			&corev1.Pod{
				ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "web", Labels: map[string]string{"app": "web"}},
				Spec:       corev1.PodSpec{NodeName: "node"},
				Status:     corev1.PodStatus{Phase: corev1.PodRunning, PodIPs: []corev1.PodIP{{IP: fmt.Sprintf("10.0.%d.1", i)}}},
			})
	}
	n.to.Update(append(objects, besides...), nil)
	n.to.Synced()
	return n
}

func blockPolicy(i, rules int) *networkingv1.NetworkPolicy {
	p := &networkingv1.NetworkPolicy{
		ObjectMeta: metav1.ObjectMeta{Namespace: "evil", Name: fmt.Sprintf("p%d", i), Generation: 1},
	}
	for r := range rules {
		port := intstr.FromInt(1 + (i*rules+r)%65535)
		p.Spec.Ingress = append(p.Spec.Ingress, networkingv1.NetworkPolicyIngressRule{
			From:  []networkingv1.NetworkPolicyPeer{{IPBlock: &networkingv1.IPBlock{CIDR: fmt.Sprintf("198.%d.%d.0/24", r>>8, (i+r)&255)}}},
			Ports: []networkingv1.NetworkPolicyPort{{Port: &port}},
		})
	}
	return p
}

func goodPolicy(generation int64) *networkingv1.NetworkPolicy {
	port := intstr.FromInt(int(8000 + generation))
	return &networkingv1.NetworkPolicy{
		ObjectMeta: metav1.ObjectMeta{Namespace: "good", Name: "web", Generation: generation},
		Spec: networkingv1.NetworkPolicySpec{Ingress: []networkingv1.NetworkPolicyIngressRule{{
			Ports: []networkingv1.NetworkPolicyPort{{Port: &port}},
		}}},
	}
}
