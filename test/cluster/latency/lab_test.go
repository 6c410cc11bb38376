//go:build linux

package latency

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	k8sruntime "k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/controllers/agent"
	"github.com/tierwall/tierwall/controllers/agent/reporter"
	"github.com/tierwall/tierwall/controllers/cluster"
	"github.com/tierwall/tierwall/controllers/manifests"
	"github.com/tierwall/tierwall/dataplane/conntrack"
	"github.com/tierwall/tierwall/dataplane/links"
	"github.com/tierwall/tierwall/dataplane/nftables"
	"github.com/tierwall/tierwall/dataplane/watch"
	"github.com/tierwall/tierwall/lab"
	"github.com/tierwall/tierwall/test/integration/env"
)

// childVariable makes the test program an agent: "KUBECONFIG NODE", in the
// namespace of file 3.
const childVariable = "TIERWALL_LATENCY_AGENT"

var rounds = flag.Int("rounds", 100, "rounds of each change that is measured")

// noLab is why there can be no lab on this machine; nil if there can.
var noLab error

func TestMain(m *testing.M) {
	if spec := os.Getenv(childVariable); spec != "" {
		kubeconfig, node, _ := strings.Cut(spec, " ")
		fmt.Fprintln(os.Stderr, node, child(kubeconfig, node))
		os.Exit(1)
	}
	noLab = lab.Reexec()
	os.Exit(m.Run())
}

// child is an agent as `tierwall agent` runs it, but that it reaches the API
// server from the namespace it is started in.
func child(kubeconfig, node string) error {
	config, err := manifests.ClusterConfig(kubeconfig, nil)
	if err != nil {
		return err
	}
	level := slog.LevelWarn
	if os.Getenv("TIERWALL_LATENCY_DEBUG") != "" {
		level = slog.LevelDebug
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
	from, err := cluster.New(cluster.Options{Config: config, Node: node, Log: log})
	if err != nil {
		return err
	}
	rc, err := reporter.NewClient(config)
	if err != nil {
		return err
	}
	report, err := reporter.New(reporter.Options{Client: rc, Node: node, Version: "test", Dataplane: v1alpha1.DataplaneNFTables, Log: log})
	if err != nil {
		return err
	}
	go func() { _ = report.Run(context.Background()) }()
	runtime.LockOSThread()
	if err := unix.Setns(3, unix.CLONE_NEWNET); err != nil {
		return err
	}
	backend, err := nftables.New(nftables.Options{})
	if err != nil {
		return err
	}
	table, err := conntrack.New()
	if err != nil {
		return err
	}
	w, err := watch.New(nftables.TableName)
	if err != nil {
		return err
	}
	own, err := links.New()
	if err != nil {
		return err
	}
	a, err := agent.New(agent.Options{Node: node, Source: from, Backend: backend, Conntrack: table, Links: own, Watcher: w, Reporter: report, Log: log})
	if err != nil {
		return err
	}
	return a.Run(context.Background())
}

// BenchmarkLab measures on a real kube-apiserver and nodes that are network
// namespaces, each with an agent in a process of its own: no kubelet, no
// kube-proxy, no webhook.
//
//	go test ./test/cluster/latency -run '^$' -bench Lab -benchtime 1x
func BenchmarkLab(b *testing.B) {
	if noLab != nil {
		b.Fatal(noLab)
	}
	ctx := context.Background()
	e, err := env.Start(env.Options{ClusterNetworkPolicies: true})
	must(b, err)
	defer func() { must(b, e.Stop()) }()
	config := e.Admin()
	config.QPS = -1
	c, err := e.Client(config)
	must(b, err)
	data, err := e.Kubeconfig("agent", "system:masters")
	must(b, err)
	kubeconfig := b.TempDir() + "/kubeconfig"
	must(b, os.WriteFile(kubeconfig, data, 0o600))
	world := objects(b, c)
	spec, _, err := lab.FromObjects(world)
	must(b, err)
	l, err := lab.New(ctx, spec)
	must(b, err)
	defer func() { must(b, l.Close()) }()
	var stops []func()
	defer func() { // before the server, which waits for those who watch
		for _, stop := range stops {
			stop()
		}
	}()
	for _, n := range []string{"n1", "n2", "n3"} {
		stops = append(stops, startAgent(b, l, kubeconfig, n))
	}
	time.Sleep(3 * time.Second) // nothing says when all have read the cluster
	end := func(pod, addr string) End {
		path, err := l.Path("latency/" + pod)
		must(b, err)
		return End{path, netip.MustParseAddr(addr)}
	}
	for b.Loop() {
		var rows []Row
		for _, p := range []Protocol{UDP, TCP} {
			s, err := Open(p, end("sender", "10.1.1.10"), end("receiver", "10.1.2.10"), 7777)
			must(b, err)
			for _, t := range Triggers(c, Pods{"latency", "sender", "receiver"}) {
				res, err := Run(ctx, s, t, *rounds)
				must(b, err)
				rows = append(rows, res.Rows()...)
			}
			s.Close()
		}
		load, _ := os.ReadFile("/proc/loadavg")
		fmt.Printf("load %s%s", load, Table("what", rows)) // b.Log cuts it short
	}
}

func startAgent(b *testing.B, l *lab.Lab, kubeconfig, node string) (stop func()) {
	b.Helper()
	self, err := os.Executable()
	must(b, err)
	ns, err := l.Netns(node)
	must(b, err)
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), childVariable+"="+kubeconfig+" "+node)
	cmd.ExtraFiles = []*os.File{ns}
	cmd.Stderr = os.Stderr
	must(b, cmd.Start())
	return func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
}

// objects makes three nodes and two pods.
func objects(b *testing.B, c client.Client) (out []k8sruntime.Object) {
	b.Helper()
	ctx := context.Background()
	add := func(o client.Object) {
		out = append(out, o)
	}
	must(b, c.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "latency"}}))
	must(b, c.Create(ctx, &v1alpha1.Tierwall{ObjectMeta: metav1.ObjectMeta{Name: "default"}}))
	must(b, c.Create(ctx, &v1alpha1.Tier{ObjectMeta: metav1.ObjectMeta{Name: "default"}, Spec: v1alpha1.TierSpec{Order: ptr(1000000.)}}))
	for i := range 3 {
		n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("n%d", i+1)}}
		n.Spec.PodCIDR = fmt.Sprintf("10.1.%d.0/24", i+1)
		n.Spec.PodCIDRs = []string{n.Spec.PodCIDR}
		must(b, c.Create(ctx, n))
		n.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: fmt.Sprintf("192.0.2.%d", i+1)}}
		must(b, c.Status().Update(ctx, n))
		add(n)
	}
	for i, name := range []string{"sender", "receiver"} {
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "latency", Name: name, Labels: map[string]string{role: name}}}
		p.Spec = corev1.PodSpec{NodeName: fmt.Sprintf("n%d", i+1), Containers: []corev1.Container{{Name: "c", Image: "i"}}}
		must(b, c.Create(ctx, p))
		p.Status.Phase = corev1.PodRunning
		p.Status.PodIP = fmt.Sprintf("10.1.%d.10", i+1)
		p.Status.PodIPs = []corev1.PodIP{{IP: p.Status.PodIP}}
		must(b, c.Status().Update(ctx, p))
		add(p)
	}
	return out
}

func ptr[T any](v T) *T { return &v }

func must(b *testing.B, err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}
