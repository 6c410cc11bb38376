package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/tierwall/tierwall/controllers/agent"
	"github.com/tierwall/tierwall/dataplane"
	"github.com/tierwall/tierwall/test/integration/agentprocess"
	"github.com/tierwall/tierwall/test/integration/env"
)

// TestMain runs an agent in place of the tests if a test has asked for that.
func TestMain(m *testing.M) { agentprocess.Main(m, child()) }

// usage of an agent's process.
type usage struct {
	// Heap that is live; the memory that the kernel counts for the process, now and
	// once the runtime has given back what it does not use, as it does within
	// minutes; in bytes.
	Heap, RSS, Settled uint64
	// CPU time so far.
	CPU time.Duration
	// Ready says how long it took from the start until the kernel was up to date.
	Ready time.Duration
	// Applied counts transactions.
	Applied int
	// Seen is when the kernel was told of an endpoint, or of a change of programs.
	Seen map[string]time.Time
}

// child is an agent of the first node on a kernel that costs nothing. It answers the line
// "usage" with its usage, and any other with what it has seen since the last one.
func child() agentprocess.Child {
	var mu sync.Mutex
	seen := map[string]time.Time{}
	var ready time.Duration
	kernel := &counting{seen: func(ch *dataplane.Change) {
		now := time.Now()
		mu.Lock()
		defer mu.Unlock()
		for _, e := range ch.Endpoints {
			if strings.HasPrefix(e.Ref.String(), "Pod/") && e.Before.Policy == nil {
				seen[e.Ref.String()] = now
			}
		}
		if len(ch.Added) > 0 {
			seen["programs"] = now
		}
	}}
	return agentprocess.Child{
		Node: scaleNode(0),
		Agent: func(from agent.Source, log *slog.Logger) (*agent.Agent, error) {
			return agent.New(agent.Options{Node: scaleNode(0), Source: from, Backend: kernel, Log: log})
		},
		Ready: func(took time.Duration) { ready = took },
		Answer: func(_ context.Context, _ *agent.Agent, line string) error {
			u := usage{Ready: ready}
			if line == "usage" {
				u.measure()
			}
			mu.Lock()
			defer mu.Unlock()
			u.Seen, u.Applied = seen, kernel.applied
			err := json.NewEncoder(os.Stdout).Encode(u)
			clear(seen)
			return err
		},
	}
}

// measure reads what this process uses.
func (u *usage) measure() {
	u.RSS = agentprocess.Memory("VmRSS")
	debug.FreeOSMemory()
	u.Settled = agentprocess.Memory("VmRSS")
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	u.Heap, u.CPU = m.HeapAlloc, agentprocess.CPU()
}

// process is a child at work.
type process struct{ *agentprocess.Process }

func startAgent(b *testing.B, kubeconfig string) process {
	b.Helper()
	p, err := agentprocess.Start(kubeconfig)
	ok(b, err)
	return process{p}
}

// ask asks for "usage", or for what has been "seen".
func (p process) ask(b *testing.B, what string) (u usage) {
	b.Helper()
	ok(b, p.Ask(what))
	ok(b, p.Answers.Decode(&u))
	return u
}

func (p process) stop(b *testing.B) {
	b.Helper()
	ok(b, p.Close())
	ok(b, p.Wait())
}

func ok(b *testing.B, err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

// BenchmarkAgent says what an agent on a real API server costs: memory at 0,
// 10,000 and 20,000 remote pods, time and work of a start, work of following
// 10,000 pods that start elsewhere, and the time from a write to the API until
// the kernel is told. The kernel itself costs nothing here.
//
//	go test ./test/integration/cluster -run '^$' -bench Agent -benchtime 1x -timeout 30m
func BenchmarkAgent(b *testing.B) {
	e, err := env.Start(env.Options{ClusterNetworkPolicies: true, Arguments: map[string]string{"request-timeout": "10s"}})
	ok(b, err)
	defer func() { ok(b, e.Stop()) }()
	c, err := e.Client(fast(e.Admin()))
	ok(b, err)
	ok(b, scaleObjects(c))
	data, err := e.Kubeconfig("agent", "system:masters")
	ok(b, err)
	kubeconfig := b.TempDir() + "/kubeconfig"
	ok(b, os.WriteFile(kubeconfig, data, 0o600))
	create := func(from, to int) {
		ok(b, parallel(to-from, func(i int) error { return startPod(c, scalePod(from+i, elsewhere(from+i)), scaleIP(from+i)) }))
	}
	mb := func(n uint64) float64 { return float64(n) / 1e6 }
	report := func(name string, u usage) {
		b.Logf("%-22s heap %6.1f MB  RSS %6.1f MB  settled %6.1f MB  CPU %8s  ready after %8s", name, mb(u.Heap), mb(u.RSS), mb(u.Settled), u.CPU.Round(time.Millisecond), u.Ready.Round(time.Millisecond))
	}
	for b.Loop() {
		p := startAgent(b, kubeconfig)
		empty := p.ask(b, "usage")
		report("no pods", empty)
		create(0, 10_000)
		followed := p.ask(b, "usage")
		report("10,000 as they start", followed)
		p.stop(b)
		p = startAgent(b, kubeconfig)
		ten := p.ask(b, "usage")
		report("start at 10,000", ten)
		p.stop(b)
		create(10_000, 20_000)
		p = startAgent(b, kubeconfig)
		twenty := p.ask(b, "usage")
		report("start at 20,000", twenty)
		b.ReportMetric(mb(twenty.Heap-ten.Heap), "MB-heap/10k-pods")
		b.ReportMetric((float64(twenty.RSS)-float64(empty.RSS))/2e6, "MB-RSS/10k-pods")
		b.ReportMetric((float64(twenty.Settled)-float64(empty.Settled))/2e6, "MB-settled/10k-pods")
		b.ReportMetric((followed.CPU - empty.CPU).Seconds(), "CPU-s/10k-pod-starts")
		latency(b, c, p)
		p.stop(b)
	}
}

// elsewhere is a node that is not the agent's.
func elsewhere(i int) string { return fmt.Sprintf("scale-node-%d", 1+i%(scaleNodes-1)) }

// latency measures how long it takes from a write until the kernel is told: of
// the address of a pod of the node, and of a policy that selects one.
func latency(b *testing.B, c client.Client, p process) {
	b.Helper()
	const samples = 300
	pods, policies := make([]time.Duration, samples), make([]time.Duration, samples)
	var written [samples]time.Time
	for i := range samples {
		pod := scalePod(100_000+i, scaleNode(0))
		ok(b, c.Create(ctx(), pod))
		pod.Status.PodIP = scaleIP(100_000 + i)
		written[i] = time.Now()
		ok(b, c.Status().Update(ctx(), pod))
	}
	for seen := map[string]time.Time{}; len(seen) < samples; delete(seen, "programs") {
		maps.Copy(seen, p.ask(b, "seen").Seen)
		for i := range samples {
			if at, there := seen["Pod/"+scaleNamespace(100_000+i)+"/"+scalePod(100_000+i, "").Name]; there {
				pods[i] = at.Sub(written[i])
			}
		}
	}
	for i := range samples {
		np := &networkingv1.NetworkPolicy{ObjectMeta: in(scaleNamespace(100_000), fmt.Sprintf("latency-%d", i))}
		np.Spec.PodSelector = metav1.LabelSelector{MatchLabels: scalePod(100_000, "").Labels}
		np.Spec.Ingress = []networkingv1.NetworkPolicyIngressRule{{From: []networkingv1.NetworkPolicyPeer{{IPBlock: &networkingv1.IPBlock{CIDR: fmt.Sprintf("192.0.%d.%d/32", i/256, i%256)}}}}}
		written[0] = time.Now()
		ok(b, c.Create(ctx(), np))
		for told := false; !told; {
			if at, there := p.ask(b, "seen").Seen["programs"]; there {
				policies[i], told = at.Sub(written[0]), true
			}
		}
	}
	for name, all := range map[string][]time.Duration{"pod": pods, "policy": policies} {
		slices.Sort(all)
		b.ReportMetric(float64(all[samples/2].Microseconds())/1000, "ms-p50/"+name)
		b.ReportMetric(float64(all[samples*99/100].Microseconds())/1000, "ms-p99/"+name)
	}
}
