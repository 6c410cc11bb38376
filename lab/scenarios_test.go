//go:build linux

package lab

import (
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/tierwall/tierwall/controllers/manifests"
	"github.com/tierwall/tierwall/policy/model"
	"github.com/tierwall/tierwall/policy/policytest"
)

// No policy is programmed here: whatever a policy test can ask about must then
// get through, so that a lab with policies denies by policy alone.
var _ = Describe("policy tests", func() {
	for name, network := range map[string]Network{"routed": Routed, "bridged": Bridge} {
		It("can send each case of the scenarios and samples, "+name, func() {
			tests, err := manifests.FindTests([]string{"../test/scenarios", "../config/samples"}, manifests.Options{})
			Expect(err).NotTo(HaveOccurred())
			sent := 0
			for i := range tests {
				r, err := tests[i].Load()
				Expect(err).NotTo(HaveOccurred(), tests[i].Name)
				r.Complete()
				index, _ := r.Index()
				var objects []runtime.Object
				for _, o := range r.Objects {
					objects = append(objects, o.Object)
				}
				w := policytest.NewWorld(index, objects)
				spec, _, err := FromObjects(objects)
				Expect(err).NotTo(HaveOccurred(), tests[i].Name)
				spec.Network = network
				l := bring(spec)
				var flows []model.Flow
				for j := range tests[i].Spec.Cases {
					f, err := w.Resolve(&tests[i].Spec.Cases[j])
					Expect(err).NotTo(HaveOccurred(), tests[i].Name)
					flows = append(flows, f)
				}
				Expect(probeAll(l, flows, func(_ model.Flow, r Result) error {
					if !r.Delivered || r.Rejected {
						return errLost
					}
					return nil
				})).To(BeEmpty(), tests[i].Name)
				Expect(l.Close()).To(Succeed())
				sent += len(flows)
			}
			Expect(sent).To(BeNumerically(">", 500))
		})
	}
})
