package folder

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/controllers/agent"
	"github.com/tierwall/tierwall/dataplane/fake"
	"github.com/tierwall/tierwall/policy/convert"
	"github.com/tierwall/tierwall/policy/model"
)

// notes is an agent.Sink that records what it is given.
type notes struct {
	mu      sync.Mutex
	objects map[string]runtime.Object
	updates int
	synced  bool
	report  string
}

func (n *notes) Update(upserts []runtime.Object, deletes []model.Ref) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.objects == nil {
		n.objects = map[string]runtime.Object{}
	}
	for _, o := range upserts {
		r, _ := convert.RefOf(o)
		n.objects[r.String()] = o
		n.updates++
	}
	for _, r := range deletes {
		delete(n.objects, r.String())
		n.updates++
	}
}

func (n *notes) Synced() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.synced = true
}

func (n *notes) Report(errs ...error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.report = ""
	if err := errors.Join(errs...); err != nil {
		n.report = err.Error()
	}
}

func (n *notes) names() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	var out []string
	for name := range n.objects {
		out = append(out, name)
	}
	return out
}

func (n *notes) said() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.report
}

func (n *notes) get(name string) runtime.Object {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.objects[name]
}

func (n *notes) isSynced() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.synced
}

func (n *notes) count() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.updates
}

// tree is a folder that a Source watches.
type tree struct {
	dir   string
	clock *clocktesting.FakeClock
	sink  *notes
	opts  Options
}

func newTree() *tree {
	GinkgoHelper()
	t := &tree{dir: GinkgoT().TempDir(), clock: clocktesting.NewFakeClock(start), sink: &notes{}}
	t.opts = Options{Dir: t.dir, Clock: t.clock, Reread: 1000 * time.Hour}
	return t
}

func (t *tree) write(name, data string) {
	GinkgoHelper()
	path := filepath.Join(t.dir, name)
	Expect(os.MkdirAll(filepath.Dir(path), 0o755)).To(Succeed())
	Expect(os.WriteFile(path, []byte(data), 0o600)).To(Succeed())
}

// watch runs a Source until the test ends or the result is called.
func (t *tree) watch() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	over := make(chan error, 1)
	go func() { over <- New(t.opts).Run(ctx, t.sink) }()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			Eventually(over).Should(Receive(BeNil()))
		})
	}
	DeferCleanup(stop)
	return stop
}

// eventually is Eventually with the clock moving on.
func (t *tree) eventually(f func() any) AsyncAssertion {
	return Eventually(func() any {
		t.clock.Step(20 * time.Millisecond)
		return f()
	}).WithPolling(2 * time.Millisecond)
}

func (t *tree) has(names ...string) {
	GinkgoHelper()
	t.eventually(func() any { return t.sink.names() }).Should(ConsistOf(names))
}

func (t *tree) says(part string) {
	GinkgoHelper()
	if part == "" {
		t.eventually(func() any { return t.sink.said() }).Should(BeEmpty())
		return
	}
	t.eventually(func() any { return t.sink.said() }).Should(ContainSubstring(part))
}

const tierA = "{apiVersion: tierwall.io/v1alpha1, kind: Tier, metadata: {name: a}, spec: {order: 1}}\n"

func tier(name string) string { return strings.Replace(tierA, "name: a", "name: "+name, 1) }

var _ = Describe("the folder source", func() {
	It("delivers what there is, says that it is in sync, and follows changes", func() {
		t := newTree()
		t.write("a.yaml", tier("a"))
		t.write("sub/b.yaml", tier("b")+"---\n"+tier("c"))
		t.write(".hidden.yaml", "not: [valid")
		t.write("notes.txt", "not a manifest")
		t.watch()
		t.has("Tier/a", "Tier/b", "Tier/c")
		Eventually(t.sink.isSynced).Should(BeTrue())
		Expect(t.sink.said()).To(BeEmpty())

		By("a new file, a changed one, one that is gone, a new folder")
		t.write("d.yaml", tier("d"))
		t.has("Tier/a", "Tier/b", "Tier/c", "Tier/d")
		t.write("sub/b.yaml", tier("b"))
		t.has("Tier/a", "Tier/b", "Tier/d")
		Expect(os.Remove(filepath.Join(t.dir, "a.yaml"))).To(Succeed())
		t.has("Tier/b", "Tier/d")
		t.write("new/deep/e.yaml", tier("e"))
		t.has("Tier/b", "Tier/d", "Tier/e")
		t.write("new/deep/e.yaml", tier("f"))
		t.has("Tier/b", "Tier/d", "Tier/f")
		Expect(os.RemoveAll(filepath.Join(t.dir, "new"))).To(Succeed())
		t.has("Tier/b", "Tier/d")

		By("delivering what has changed and nothing else")
		n := t.sink.count()
		t.write("sub/b.yaml", "# a comment\n"+tier("b"))
		t.write("z.yaml", tier("z"))
		t.has("Tier/b", "Tier/d", "Tier/z")
		Expect(t.sink.count()).To(Equal(n + 1))
	})

	It("follows files that are replaced through links, as mounted ConfigMaps are", func() {
		t := newTree()
		t.write("..1/a.yaml", tier("a"))
		Expect(os.Symlink("..1", filepath.Join(t.dir, "..data"))).To(Succeed())
		Expect(os.Symlink("..data/a.yaml", filepath.Join(t.dir, "a.yaml"))).To(Succeed())
		t.watch()
		t.has("Tier/a")
		t.write("..2/a.yaml", tier("b"))
		Expect(os.Symlink("..2", filepath.Join(t.dir, "..new"))).To(Succeed())
		Expect(os.Rename(filepath.Join(t.dir, "..new"), filepath.Join(t.dir, "..data"))).To(Succeed())
		t.has("Tier/b")
	})

	It("reads again at intervals, for changes without a notice", func() {
		t := newTree()
		outside := filepath.Join(GinkgoT().TempDir(), "a.yaml")
		Expect(os.WriteFile(outside, []byte(tier("a")), 0o600)).To(Succeed())
		Expect(os.Symlink(outside, filepath.Join(t.dir, "a.yaml"))).To(Succeed())
		t.opts.Reread = time.Minute
		t.watch()
		t.has("Tier/a")
		from := t.clock.Now()
		Expect(os.WriteFile(outside, []byte(tier("b")), 0o600)).To(Succeed())
		Eventually(func() []string {
			t.clock.Step(5 * time.Second)
			return t.sink.names()
		}).Should(ConsistOf("Tier/b"))
		Expect(t.clock.Since(from)).To(BeNumerically(">", 50*time.Second))
	})

	It("keeps the last good content of a broken file, and says so", func() {
		t := newTree()
		t.write("a.yaml", tier("a"))
		t.write("b.yaml", tier("b"))
		t.watch()
		t.has("Tier/a", "Tier/b")
		t.write("a.yaml", strings.Replace(tier("x"), "order", "ordre", 1))
		t.write("b.yaml", tier("c"))
		t.has("Tier/a", "Tier/c")
		t.says("a.yaml:1: Tier/x: spec.ordre: unknown field")
		Expect(t.sink.said()).To(ContainSubstring("its last good content counts"))
		t.write("a.yaml", "")
		t.says("is empty (its last good content counts)")
		Expect(t.sink.names()).To(ConsistOf("Tier/a", "Tier/c"))
		t.write("a.yaml", "# nothing, on purpose\n---\n")
		t.has("Tier/c")
		t.says("")
		t.write("a.yaml", "no: [good")
		t.says("a.yaml:")
		t.write("a.yaml", tier("a"))
		t.has("Tier/a", "Tier/c")
		t.says("")
		t.write("a.yaml", "no: [good")
		t.says("a.yaml:")
		Expect(os.Remove(filepath.Join(t.dir, "a.yaml"))).To(Succeed())
		t.has("Tier/c")
		t.says("")
	})

	It("remembers good contents over a restart", func() {
		t := newTree()
		t.opts.StateDir = filepath.Join(GinkgoT().TempDir(), "state")
		t.write("a.yaml", tier("a"))
		t.write("b.yaml", tier("b"))
		stop := t.watch()
		t.has("Tier/a", "Tier/b")
		stop()
		t.write("a.yaml", "no: [good")
		t.write("c.yaml", "no: [good")
		Expect(os.Remove(filepath.Join(t.dir, "b.yaml"))).To(Succeed())
		t.sink = &notes{}
		t.watch()
		t.has("Tier/a")
		Eventually(t.sink.isSynced).Should(BeTrue())
		t.says("nothing of it counts")
		Expect(t.sink.said()).To(ContainSubstring("its last good content counts"))
	})

	It("is not in sync while the folder cannot be read, and keeps everything when it goes away", func() {
		t := newTree()
		t.opts.Dir = filepath.Join(t.dir, "later")
		t.watch()
		t.says("no such file or folder")
		Expect(t.sink.isSynced()).To(BeFalse())
		t.write("later/a.yaml", tier("a"))
		t.has("Tier/a")
		t.says("")
		Eventually(t.sink.isSynced).Should(BeTrue())
		Expect(os.Rename(t.opts.Dir, filepath.Join(t.dir, "away"))).To(Succeed())
		t.says("no such file or folder")
		Expect(t.sink.names()).To(ConsistOf("Tier/a"))
		Expect(os.Rename(filepath.Join(t.dir, "away"), t.opts.Dir)).To(Succeed())
		t.write("later/b.yaml", tier("b"))
		t.has("Tier/a", "Tier/b")
		t.says("")
	})

	It("takes an object that is in two files as the first says", func() {
		t := newTree()
		t.write("1.yaml", tier("a"))
		t.write("2.yaml", strings.Replace(tier("a"), "order: 1", "order: 2", 1)+"---\n"+tier("b"))
		t.watch()
		t.has("Tier/a", "Tier/b")
		t.says("2.yaml:1: Tier/a: is in " + filepath.Join(t.dir, "1.yaml") + ":1 already")
		Expect(*t.sink.get("Tier/a").(*v1alpha1.Tier).Spec.Order).To(Equal(1.0))
		Expect(os.Remove(filepath.Join(t.dir, "1.yaml"))).To(Succeed())
		t.says("")
		t.eventually(func() any { return *t.sink.get("Tier/a").(*v1alpha1.Tier).Spec.Order }).Should(Equal(2.0))
	})

	It("adds the host as a node, and its automatic host endpoint", func() {
		t := newTree()
		var mu sync.Mutex
		addrs, fail := []netip.Addr{netip.MustParseAddr("192.0.2.1")}, error(nil)
		t.opts.Node = "box"
		t.opts.Reread = time.Minute
		t.opts.HostAddrs = func() ([]netip.Addr, error) {
			mu.Lock()
			defer mu.Unlock()
			return addrs, fail
		}
		t.write("s.yaml", "{apiVersion: tierwall.io/v1alpha1, kind: Tierwall, metadata: {name: default}, spec: {autoHostEndpoints: true}}")
		t.write("h.yaml", "{apiVersion: tierwall.io/v1alpha1, kind: HostEndpoint, metadata: {name: lan}, spec: {interfaceName: eth0}}")
		t.write("n.yaml", "{apiVersion: tierwall.io/v1alpha1, kind: NetworkSet, metadata: {name: x, namespace: team}, spec: {nets: [10.0.0.0/8]}}")
		t.watch()
		t.has("Tierwall/default", "Node/box", "HostEndpoint/box-auto-hep", "HostEndpoint/lan", "NetworkSet/team/x", "Namespace/team")
		Expect(t.sink.get("HostEndpoint/lan").(*v1alpha1.HostEndpoint).Spec.Node).To(Equal("box"))
		Expect(t.sink.get("HostEndpoint/box-auto-hep").(*v1alpha1.HostEndpoint).Spec.ExpectedIPs).To(ConsistOf("192.0.2.1"))
		address := func() any {
			t.clock.Step(time.Second)
			return t.sink.get("Node/box").(*corev1.Node).Status.Addresses
		}
		mu.Lock()
		addrs = []netip.Addr{netip.MustParseAddr("192.0.2.2")}
		mu.Unlock()
		t.eventually(address).Should(ConsistOf(corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: "192.0.2.2"}))
		mu.Lock()
		fail = errors.New("no interfaces")
		mu.Unlock()
		t.eventually(func() any { t.clock.Step(time.Second); return t.sink.said() }).Should(Equal("addresses of this host: no interfaces"))
		Expect(address()).To(HaveLen(1))
	})

	It("reads the addresses of the real host", func() {
		addrs, err := HostAddrs()
		Expect(err).NotTo(HaveOccurred())
		for _, a := range addrs {
			Expect(a.IsLoopback() || a.IsLinkLocalUnicast() || a.Is4In6()).To(BeFalse(), a.String())
		}
	})

	It("feeds an agent, from a file to the kernel", func() {
		t := newTree()
		t.opts.Node = "node"
		t.opts.HostAddrs = func() ([]netip.Addr, error) { return []netip.Addr{netip.MustParseAddr("192.0.2.1")}, nil }
		t.write("host.yaml", "{apiVersion: tierwall.io/v1alpha1, kind: HostEndpoint, metadata: {name: host}, spec: {interfaceName: '*'}}")
		backend := &fake.Backend{Done: make(chan fake.Call, 1000)}
		a, err := agent.New(agent.Options{Node: "node", Source: New(t.opts), Backend: backend, Delay: -1})
		Expect(err).NotTo(HaveOccurred())
		ctx, cancel := context.WithCancel(context.Background())
		over := make(chan error, 1)
		go func() { over <- a.Run(ctx) }()
		DeferCleanup(func() { cancel(); Eventually(over).Should(Receive(BeNil())) })
		var c fake.Call
		Eventually(backend.Done).Should(Receive(&c))
		host := model.Ref{Kind: model.KindHostEndpoint, Name: "host"}
		Expect(c.Op).To(Equal(fake.Sync))
		Expect(c.World.Endpoints).To(HaveKey(host))
		Expect(c.World.NodeAddrs).To(ConsistOf(netip.MustParseAddr("192.0.2.1")))
		before := c.World.Endpoints[host].Programs
		t.write("policy.yaml", `{apiVersion: tierwall.io/v1alpha1, kind: GlobalNetworkPolicy, metadata: {name: web},
spec: {tier: default, ingress: [{action: Allow, protocol: TCP, destination: {ports: [80]}}]}}`)
		t.eventually(func() any {
			select {
			case c = <-backend.Done:
			default:
			}
			return c.World.Endpoints[host].Programs
		}).ShouldNot(Equal(before))
		Expect(c.Op).To(Equal(fake.Apply))
	})
})
