package cluster

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/tierwall/tierwall/controllers/agent"
	"github.com/tierwall/tierwall/controllers/cluster"
	"github.com/tierwall/tierwall/controllers/manifests"
	"github.com/tierwall/tierwall/dataplane"
	"github.com/tierwall/tierwall/test/integration/env"
)

// childVariable makes the test binary an agent with the kubeconfig that it names.
const childVariable = "TIERWALL_TEST_AGENT_KUBECONFIG"

// TestMain runs an agent in place of the tests if a test has asked for that.
func TestMain(m *testing.M) {
	if kubeconfig := os.Getenv(childVariable); kubeconfig != "" {
		if err := child(kubeconfig); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

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

// child runs an agent of the first node on a kernel that costs nothing, and
// answers each line on standard input, until the input ends: "usage" with its
// usage, anything else with what it has seen since.
func child(kubeconfig string) error {
	began := time.Now()
	config, err := manifests.ClusterConfig(kubeconfig, nil)
	if err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))
	from, err := cluster.New(cluster.Options{Config: config, Node: scaleNode(0), Log: log})
	if err != nil {
		return err
	}
	var mu sync.Mutex
	seen := map[string]time.Time{}
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
	a, err := agent.New(agent.Options{Node: scaleNode(0), Source: from, Backend: kernel, Log: log})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	over := make(chan error, 1)
	go func() { over <- a.Run(ctx) }()
	for a.Ready() != nil {
		time.Sleep(time.Millisecond)
	}
	ready := time.Since(began)
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		u := usage{Ready: ready}
		if in.Text() == "usage" {
			u.measure()
		}
		mu.Lock()
		u.Seen, u.Applied = seen, kernel.applied
		err := json.NewEncoder(os.Stdout).Encode(u)
		clear(seen)
		mu.Unlock()
		if err != nil {
			return err
		}
	}
	cancel()
	return <-over
}

// measure reads what this process uses.
func (u *usage) measure() {
	u.RSS = statusLine("VmRSS:")
	debug.FreeOSMemory()
	u.Settled = statusLine("VmRSS:")
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	u.Heap = m.HeapAlloc
	var r syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &r) == nil {
		u.CPU = time.Duration(r.Utime.Nano() + r.Stime.Nano())
	}
}

// statusLine reads a size from /proc/self/status.
func statusLine(name string) uint64 {
	data, _ := os.ReadFile("/proc/self/status")
	for line := range strings.Lines(string(data)) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == name {
			kilobytes, _ := strconv.ParseUint(f[1], 10, 64)
			return kilobytes << 10
		}
	}
	return 0
}

// process is a child at work.
type process struct {
	in  io.WriteCloser
	out *json.Decoder
	cmd *exec.Cmd
}

func startAgent(b *testing.B, kubeconfig string) *process {
	b.Helper()
	self, err := os.Executable()
	ok(b, err)
	c := exec.Command(self)
	c.Env, c.Stderr = append(os.Environ(), childVariable+"="+kubeconfig), os.Stderr
	in, err := c.StdinPipe()
	ok(b, err)
	out, err := c.StdoutPipe()
	ok(b, err)
	ok(b, c.Start())
	return &process{in, json.NewDecoder(out), c}
}

// ask asks for "usage", or for what has been "seen".
func (p *process) ask(b *testing.B, what string) (u usage) {
	b.Helper()
	_, err := io.WriteString(p.in, what+"\n")
	ok(b, err)
	ok(b, p.out.Decode(&u))
	return u
}

func (p *process) stop(b *testing.B) {
	b.Helper()
	ok(b, p.in.Close())
	ok(b, p.cmd.Wait())
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
func latency(b *testing.B, c client.Client, p *process) {
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
