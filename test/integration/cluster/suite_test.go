package cluster

import (
	"context"
	"log/slog"
	"testing"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/go-logr/logr"

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

// fast lifts the limit of requests a second.
func fast(c *rest.Config) *rest.Config {
	c.QPS = -1
	return c
}

// ctx of a request.
func ctx() context.Context { return context.Background() }
