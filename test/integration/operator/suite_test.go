package operator

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/go-logr/logr"
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/tierwall/tierwall/test/goroutines"
	"github.com/tierwall/tierwall/test/install"
	"github.com/tierwall/tierwall/test/integration/env"
)

func TestOperator(t *testing.T) {
	goroutines.MustEnd(t)
	RegisterFailHandler(Fail)
	SetDefaultEventuallyTimeout(time.Minute)
	SetDefaultEventuallyPollingInterval(20 * time.Millisecond)
	RunSpecs(t, "operator")
}

var (
	server *env.Env
	admin  client.Client
	// installed are the objects of config/default, in the order of their application.
	installed []*unstructured.Unstructured
)

var _ = BeforeSuite(func() {
	log.SetLogger(logr.FromSlogHandler(slog.NewTextHandler(GinkgoWriter, nil)))
	var err error
	installed, err = install.Render("config/default")
	Expect(err).NotTo(HaveOccurred())
	server, err = env.Start(env.Options{NoCRDs: true})
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(func() { Expect(server.Stop()).To(Succeed()) })
	config := server.Admin()
	config.QPS = -1
	admin, err = server.Client(config)
	Expect(err).NotTo(HaveOccurred())
	// A kind that was defined a moment ago may not be served yet: applied again,
	// as a person would.
	Eventually(func() error { return apply(installed...) }).Should(Succeed())
})

// apply applies objects as `kubectl apply --server-side` does.
func apply(objects ...*unstructured.Unstructured) error {
	for _, o := range objects {
		if err := admin.Apply(ctx(), client.ApplyConfigurationFromUnstructured(o.DeepCopy()), client.FieldOwner("kubectl")); err != nil {
			return err
		}
	}
	return nil
}

// ctx of a request.
func ctx() context.Context { return context.Background() }
