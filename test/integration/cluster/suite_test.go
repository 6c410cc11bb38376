package cluster

import (
	"context"
	"fmt"
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

	"github.com/tierwall/tierwall/test/goroutines"
	"github.com/tierwall/tierwall/test/integration/env"
)

func TestCluster(t *testing.T) {
	goroutines.MustEnd(t)
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
	var all apiextensionsv1.CustomResourceDefinitionList
	Expect(admin.List(ctx(), &all)).To(Succeed())
	for _, o := range all.Items {
		Expect(client.IgnoreNotFound(admin.Delete(ctx(), &o))).To(Succeed())
	}
	// The API server removes a definition's objects once, and looks for a minute
	// whether they are gone before it does so again: an object that somebody wrote in
	// between, with a request that was under way, takes that long.
	Eventually(func() (left []string) {
		Expect(admin.List(ctx(), &all)).To(Succeed())
		for _, o := range all.Items {
			left = append(left, fmt.Sprintf("%s: %+v", o.Name, o.Status.Conditions))
		}
		return left
	}).WithTimeout(3 * time.Minute).WithPolling(50 * time.Millisecond).Should(BeEmpty())
}

// fast lifts the limit of requests a second.
func fast(c *rest.Config) *rest.Config {
	c.QPS = -1
	return c
}

// ctx of a request.
func ctx() context.Context { return context.Background() }
