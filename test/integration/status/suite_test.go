package status

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/controllers/agent"
	"github.com/tierwall/tierwall/controllers/agent/reporter"
	"github.com/tierwall/tierwall/controllers/status"
	"github.com/tierwall/tierwall/policy/model"
	"github.com/tierwall/tierwall/test/goroutines"
	"github.com/tierwall/tierwall/test/integration/env"
)

func TestStatus(t *testing.T) {
	goroutines.MustEnd(t)
	RegisterFailHandler(Fail)
	SetDefaultEventuallyTimeout(time.Minute)
	SetDefaultEventuallyPollingInterval(20 * time.Millisecond)
	SetDefaultConsistentlyDuration(3 * time.Second)
	SetDefaultConsistentlyPollingInterval(50 * time.Millisecond)
	RunSpecs(t, "status")
}

var (
	server *env.Env
	admin  client.Client
	// Writes of the agents and of the manager, by what they write.
	agentWrites, managerWrites = &tally{}, &tally{}
)

var _ = BeforeSuite(func() {
	log.SetLogger(logr.FromSlogHandler(slog.DiscardHandler))
	var err error
	server, err = env.Start(env.Options{})
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(func() { Expect(server.Stop()).To(Succeed()) })
	admin, err = server.Client(counted(server.Admin(), &tally{}))
	Expect(err).NotTo(HaveOccurred())
	startManager()
})

// startManager runs a manager that keeps the status of policies, and nothing else,
// with the manager's permissions.
func startManager() {
	Expect(server.Apply(ctx(), "config/default/namespace.yaml", "config/rbac/clusterrole.yaml", "config/rbac/serviceaccount.yaml")).To(Succeed())
	config := counted(server.As("system:serviceaccount:tierwall-system:tierwall-manager"), managerWrites)
	mgr, err := ctrl.NewManager(config, ctrl.Options{
		Scheme: env.Scheme(), Cache: cache.Options{ByObject: status.Cache()}, Metrics: metricsserver.Options{BindAddress: "0"},
	})
	Expect(err).NotTo(HaveOccurred())
	Expect(status.Add(mgr, status.Options{Listen: 200 * time.Millisecond, Steady: time.Second})).To(Succeed())
	ctx, cancel := context.WithCancel(context.Background())
	over := make(chan error, 1)
	go func() { over <- mgr.Start(ctx) }()
	DeferCleanup(func() {
		cancel()
		Eventually(over).Should(Receive(BeNil()))
	})
}

// tally counts requests that write, by verb and resource.
type tally struct {
	mu     sync.Mutex
	counts map[string]int
}

func (t *tally) add(what string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.counts == nil {
		t.counts = map[string]int{}
	}
	t.counts[what]++
}

// since returns what has been counted since an earlier result.
func (t *tally) since(before map[string]int) map[string]int {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := map[string]int{}
	for what, n := range t.counts {
		if d := n - before[what]; d > 0 {
			out[what] = d
		}
	}
	return out
}

func (t *tally) now() map[string]int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return maps.Clone(t.counts)
}

// counted lifts the limit of requests a second and counts writes.
func counted(c *rest.Config, t *tally) *rest.Config {
	c.QPS = -1
	c.Wrap(func(next http.RoundTripper) http.RoundTripper { return counter{next, t} })
	return c
}

type counter struct {
	next  http.RoundTripper
	tally *tally
}

// RoundTrip implements http.RoundTripper.
func (c counter) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Method != http.MethodGet {
		parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
		what := parts[len(parts)-1]
		switch {
		case what == "status":
			what = "status of policies"
		case strings.Contains(r.URL.Path, "/nodereports"):
			what = "nodereports"
		}
		c.tally.add(what)
	}
	return c.next.RoundTrip(r)
}

func ctx() context.Context { return context.Background() }

// node is a node with an agent that a test speaks for.
type node struct {
	name     string
	reporter *reporter.Reporter
	nodes    int
	version  uint64
	enforced map[model.Ref]int64
	failed   []agent.Failure
}

// newNode makes a node of a cluster of so many, and runs its reporter.
func newNode(name string, nodes int, c client.Client) *node {
	GinkgoHelper()
	o := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}
	Expect(admin.Create(ctx(), o)).To(Succeed())
	DeferCleanup(func() {
		Expect(client.IgnoreNotFound(admin.Delete(ctx(), o))).To(Succeed())
		Expect(client.IgnoreNotFound(admin.Delete(ctx(), &v1alpha1.NodeReport{ObjectMeta: metav1.ObjectMeta{Name: name}}))).To(Succeed())
	})
	options := reporter.Options{Client: c, Node: name, Version: "v-test", Dataplane: v1alpha1.DataplaneNFTables}
	if nodes < 100 {
		options.Window = 100 * time.Millisecond // these specs count no writes
	}
	r, err := reporter.New(options)
	Expect(err).NotTo(HaveOccurred())
	n := &node{name: name, reporter: r, nodes: nodes, enforced: map[model.Ref]int64{}}
	run, cancel := context.WithCancel(context.Background())
	over := make(chan error, 1)
	go func() { over <- r.Run(run) }()
	DeferCleanup(func() {
		cancel()
		Eventually(over).Should(Receive(BeNil()))
	})
	return n
}

// say tells what the agent would say.
func (n *node) say() {
	n.version++
	now := time.Now()
	n.reporter.Report(&agent.Status{
		Time: now, Synced: true, InSync: len(n.failed) == 0, LastSuccess: now, Took: time.Millisecond, Nodes: n.nodes,
		Policies: len(n.enforced), Version: n.version, Enforced: maps.Clone(n.enforced), Failed: n.failed,
	})
}

// enforces has the agents say that a policy is in their kernels as it stands.
func enforces(p client.Object, list ...*node) {
	for _, n := range list {
		n.enforced[refOf(p)] = p.GetGeneration()
		n.failed = nil
		n.say()
	}
}

func refOf(p client.Object) model.Ref {
	if _, ok := p.(*v1alpha1.GlobalNetworkPolicy); ok {
		return model.Ref{Kind: model.KindGlobalNetworkPolicy, Name: p.GetName()}
	}
	return model.Ref{Kind: model.KindTierwallNetworkPolicy, Namespace: p.GetNamespace(), Name: p.GetName()}
}

// agents is a client with the rights of an agent.
func agents() client.Client {
	GinkgoHelper()
	c, err := reporter.NewClient(counted(server.Admin(), agentWrites))
	Expect(err).NotTo(HaveOccurred())
	return c
}

// threeNodes makes nodes whose agents have nothing to enforce yet.
func threeNodes() []*node {
	GinkgoHelper()
	c := agents()
	prefix := fmt.Sprintf("n%06d", rand.IntN(1e6))
	var out []*node
	for i := range 3 {
		n := newNode(fmt.Sprintf("%s-%d", prefix, i), 3, c)
		n.say()
		Eventually(func() error {
			return admin.Get(ctx(), client.ObjectKey{Name: n.name}, &v1alpha1.NodeReport{})
		}).Should(Succeed())
		out = append(out, n)
	}
	return out
}

// globalPolicy makes a GlobalNetworkPolicy that is gone with the spec.
func globalPolicy(name string, change func(*v1alpha1.GlobalNetworkPolicySpec)) *v1alpha1.GlobalNetworkPolicy {
	GinkgoHelper()
	p := &v1alpha1.GlobalNetworkPolicy{ObjectMeta: metav1.ObjectMeta{Name: name}}
	p.Spec.Selector, p.Spec.Ingress = "all()", []v1alpha1.Rule{{Action: v1alpha1.Allow}}
	if change != nil {
		change(&p.Spec)
	}
	Expect(admin.Create(ctx(), p)).To(Succeed())
	DeferCleanup(func() { Expect(client.IgnoreNotFound(admin.Delete(ctx(), p))).To(Succeed()) })
	return p
}

// line is a policy's status in short: Accepted, Enforced, ready, generation.
func line(p client.Object) func() string {
	return func() string {
		if err := admin.Get(ctx(), client.ObjectKeyFromObject(p), p); err != nil {
			return err.Error()
		}
		var st v1alpha1.PolicyStatus
		switch p := p.(type) {
		case *v1alpha1.GlobalNetworkPolicy:
			st = p.Status
		case *v1alpha1.NetworkPolicy:
			st = p.Status
		}
		show := func(typ string) string {
			c := meta.FindStatusCondition(st.Conditions, typ)
			if c == nil {
				return "-"
			}
			if c.ObservedGeneration != st.ObservedGeneration {
				return "of another generation"
			}
			return string(c.Status) + "/" + c.Reason
		}
		ready := "-"
		if st.Nodes != nil {
			ready = st.Nodes.Ready
		}
		return fmt.Sprintf("%s %s %s g%d", show(status.Accepted), show(status.Enforced), ready, st.ObservedGeneration)
	}
}

// events of a policy, as reason: note.
func events(p client.Object) func() []string {
	return func() []string {
		var list eventsv1.EventList
		if err := admin.List(ctx(), &list); err != nil {
			return []string{err.Error()}
		}
		var out []string
		for i := range list.Items {
			if e := &list.Items[i]; e.Regarding.UID == p.GetUID() {
				out = append(out, e.Reason+": "+e.Note)
			}
		}
		return out
	}
}
