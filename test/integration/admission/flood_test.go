package admission

import (
	"context"
	"fmt"
	"sync"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/controllers/admission"
)

// largest is a policy about as large as an API server stores.
func largest(name string) *v1alpha1.NetworkPolicy {
	p := &v1alpha1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name}}
	p.Spec.Tier = "front"
	for i := range 250 {
		r := v1alpha1.Rule{Action: v1alpha1.Allow}
		for j := range 256 {
			r.Source.Nets = append(r.Source.Nets, fmt.Sprintf("10.%d.%d.0/24", i, j))
		}
		p.Spec.Ingress = append(p.Spec.Ingress, r)
	}
	return p
}

var _ = Describe("a tenant who writes the largest objects, many at a time", func() {
	It("does not keep the webhook from answering about others' objects", func() {
		r := manage(admission.Options{NoInstall: true})
		webhookAt(r.port)
		answers()

		const writers, each = 8, 2
		flood, cancel := context.WithCancel(ctx())
		defer cancel()
		config := server.Admin()
		config.QPS = -1 // no limit
		tenant, err := server.Client(config)
		Expect(err).NotTo(HaveOccurred())
		var group sync.WaitGroup
		for i := range writers {
			group.Go(func() {
				for j := range each {
					// It may also be too much for the API server.
					_ = tenant.Create(flood, largest(fmt.Sprintf("large-%d-%d", i, j)), client.DryRunAll)
				}
			})
		}
		over := make(chan struct{})
		go func() { group.Wait(); close(over) }()

		var slowest time.Duration
		refused := 0
		for during := true; during; {
			select {
			case <-over:
				during = false
			default:
			}
			began := time.Now()
			err := admin.Create(ctx(), global("small", func(s *v1alpha1.GlobalNetworkPolicySpec) { s.Selector = "app = 'web'" }), client.DryRunAll)
			slowest = max(slowest, time.Since(began))
			Expect(apierrors.IsInvalid(err)).To(BeTrue(), "another's invalid object: %v", err)
			refused++
		}
		AddReportEntry("others' objects", fmt.Sprintf("%d, the slowest in %s", refused, slowest))
		Expect(refused).To(BeNumerically(">", 3))
		heard.take()
	})
})
