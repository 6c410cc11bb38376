package cluster

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/go-logr/logr"
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/tierwall/tierwall/test/integration/env"
)

func TestCluster(t *testing.T) {
	RegisterFailHandler(Fail)
	SetDefaultEventuallyTimeout(time.Minute)
	SetDefaultEventuallyPollingInterval(5 * time.Millisecond)
	RunSpecs(t, "cluster")
}

var (
	server *env.Env
	admin  client.Client
)

// The server comes without Tierwall's CRDs: specs that need them call withCRDs.
var _ = BeforeSuite(func() {
	log.SetLogger(logr.FromSlogHandler(slog.DiscardHandler))
	var err error
	// A server that is told to stop waits for open streams as long as a request may take.
	server, err = env.Start(env.Options{NoCRDs: true, Arguments: map[string]string{"request-timeout": "10s"}})
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(func() { Expect(server.Stop()).To(Succeed()) })
	admin, err = server.Client(fast(server.Admin()))
	Expect(err).NotTo(HaveOccurred())
})

// withCRDs installs Tierwall's CRDs and ClusterNetworkPolicy's unless they are there.
func withCRDs() {
	GinkgoHelper()
	Expect(server.InstallCRDs()).To(Succeed())
	Expect(server.InstallClusterNetworkPolicyCRD()).To(Succeed())
}

// withoutCRDs removes the CRDs that withCRDs installs, and all objects with them.
func withoutCRDs() {
	GinkgoHelper()
	list := func() []apiextensionsv1.CustomResourceDefinition {
		var all apiextensionsv1.CustomResourceDefinitionList
		Expect(admin.List(ctx(), &all)).To(Succeed())
		return all.Items
	}
	for _, o := range list() {
		Expect(client.IgnoreNotFound(admin.Delete(ctx(), &o))).To(Succeed())
	}
	Eventually(list).Should(BeEmpty())
}

// fast lifts the limit of requests a second.
func fast(c *rest.Config) *rest.Config {
	c.QPS = -1
	return c
}

// ctx of a request.
func ctx() context.Context { return context.Background() }
