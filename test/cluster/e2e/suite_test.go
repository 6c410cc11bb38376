//go:build e2e

package e2e

import (
	"cmp"
	"context"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/go-logr/logr"
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/test/cluster"
	"github.com/tierwall/tierwall/test/cluster/install"
)

// What the specs work on.
var (
	bed *cluster.Cluster
	// admin is the administrator's client.
	admin client.Client
	// module is the folder of Tierwall's go.mod, work one for what is built.
	module, work string
	// how Tierwall is installed.
	how install.Options
	// before is what was in the cluster and its kernels before Tierwall.
	before traces
	pods   *world
	// kind of cluster that it is.
	kind []string
)

func TestCluster(t *testing.T) {
	RegisterFailHandler(Fail)
	SetDefaultEventuallyTimeout(30 * time.Second)
	SetDefaultEventuallyPollingInterval(100 * time.Millisecond)
	EnforceDefaultTimeoutsWhenUsingContexts()
	log.SetLogger(logr.Discard())
	RunSpecs(t, "Tierwall on a cluster")
}

// All specs are one container, in this order: the first installs, the last
// removes. A spec that fails keeps no other from being run.
var _ = Describe("Tierwall", Ordered, ContinueOnFailure, func() {
	AfterEach(clean, NodeTimeout(2*time.Minute))

	Describe("installed with kubectl", Label("short"), installSpecs)
	Describe("native NetworkPolicy", nativeSpecs)
	Describe("tiers of policies", tierSpecs)
	Describe("other kinds", kindSpecs)
	Describe("Services", serviceSpecs)
	Describe("rules by DNS name", nameSpecs)
	Describe("host endpoints", hostSpecs)
	Describe("owners of tiers", Label("short"), ownerSpecs)
	Describe("pods without an object", ghostSpecs)
	Describe("the operator", operatorSpecs)
	Describe("agents under traffic", restartSpecs)
	Describe("what fails", outageSpecs)
	Describe("removed", Label("short"), removeSpecs)
})

var _ = BeforeSuite(func(ctx SpecContext) {
	Expect(os.Getuid()).To(BeZero(), "a cluster needs root")
	var err error
	module, err = install.Module()
	Expect(err).NotTo(HaveOccurred())
	work, err = os.MkdirTemp("/tmp", "tw-e2e-") // sockets have short paths
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(os.RemoveAll, work)

	bed = open(ctx)
	how = install.Options{Module: module, Work: work, Kubectl: bed.Program("kubectl"), Dataplane: v1alpha1.Dataplane(os.Getenv("DATAPLANE"))}
	config, err := bed.Config()
	Expect(err).NotTo(HaveOccurred())
	config.QPS = -1
	scheme := runtime.NewScheme()
	Expect(clientgoscheme.AddToScheme(scheme)).To(Succeed())
	Expect(v1alpha1.AddToScheme(scheme)).To(Succeed())
	admin, err = client.New(config, client.Options{Scheme: scheme})
	Expect(err).NotTo(HaveOccurred())
	kind = kindOfCluster(ctx)
	pods = newWorld(ctx)
	before = findTraces(ctx)
	Expect(before.ofTierwall()).To(BeEmpty(), "the cluster has Tierwall already")
}, NodeTimeout(15*time.Minute))

// open finds the cluster or makes one.
func open(ctx context.Context) *cluster.Cluster {
	GinkgoHelper()
	if dir := os.Getenv("TIERWALL_CLUSTER"); dir != "" {
		c, err := cluster.Open(dir)
		Expect(err).NotTo(HaveOccurred())
		return c
	}
	nodes, err := strconv.Atoi(cmp.Or(os.Getenv("NODES"), "3"))
	Expect(err).NotTo(HaveOccurred(), "NODES")
	dual, err := strconv.ParseBool(cmp.Or(os.Getenv("DUAL"), "false"))
	Expect(err).NotTo(HaveOccurred(), "DUAL")
	o := cluster.Options{
		Dir: filepath.Join(work, "cluster"), Nodes: nodes, DualStack: dual,
		PodNetwork: os.Getenv("PODNET"), ProxyMode: os.Getenv("PROXY"), Runtime: os.Getenv("RUNTIME"), Log: GinkgoWriter,
	}
	start := time.Now()
	c, err := cluster.Up(ctx, o)
	Expect(err).NotTo(HaveOccurred())
	AddReportEntry("cluster up", time.Since(start).Round(100*time.Millisecond).String())
	DeferCleanup(func(ctx SpecContext) { Expect(c.Down(ctx)).To(Succeed()) }, NodeTimeout(2*time.Minute))
	return c
}
