package agent

import (
	"errors"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/tierwall/tierwall/dataplane"
	"github.com/tierwall/tierwall/policy/model"
)

var _ = Describe("guards", func() {
	type packets = map[model.GuardName]model.GuardPackets
	var rec *recorder
	reporting := func(o *Options) { o.Reporter = rec }
	met := func() packets { return rec.last().GuardPackets }
	source, link := dataplane.GuardOrigin(model.GuardSourceName, false), dataplane.GuardOrigin(model.GuardLinkName, true)
	rule := dataplane.Origin{Tier: "default", Policy: ref("GlobalNetworkPolicy/db"), Action: model.Deny}
	BeforeEach(func() { rec = &recorder{} })

	It("are told of with each minute's packets, and with the modes in the kernel", func() {
		r := newRig(reporting)
		r.backend.SetCounters(map[dataplane.Origin]dataplane.Count{source: {Packets: 3}, link: {Packets: 5}, rule: {Packets: 7}}, nil)
		r.run()
		r.to.Update(objects(small), nil)
		r.to.Report(errors.New("no answer"))
		Eventually(func() []error { return rec.last().Source }).ShouldNot(BeEmpty())
		Expect(rec.last().Guards).To(BeNil(), "the kernel is not known yet")
		Expect(met()).To(BeNil())
		r.to.Synced()
		r.next()
		Eventually(met).Should(Equal(packets{model.GuardSourceName: {Dropped: 3}, model.GuardLinkName: {Counted: 5}}))
		Expect(rec.last().Guards).To(HaveValue(Equal(model.Guards{})))

		By("packets alone")
		r.backend.SetCounters(map[dataplane.Origin]dataplane.Count{source: {Packets: 4}}, nil)
		Eventually(func() packets {
			r.rest(time.Second)
			return met()
		}).WithPolling(time.Millisecond).Should(Equal(packets{model.GuardSourceName: {Dropped: 4}}))
		Expect(r.clock.Since(start)).To(BeNumerically(">=", time.Minute))

		By("another mode")
		r.to.Update(objects("apiVersion: tierwall.io/v1alpha1\nkind: Tierwall\nmetadata: {name: default}\nspec: {linkGuard: Count}\n"), nil)
		r.next()
		Eventually(func() *model.Guards { return rec.last().Guards }).Should(HaveValue(Equal(model.Guards{Link: model.GuardCount})))

		By("counters that cannot be read")
		r.backend.SetCounters(nil, errors.New("no nft"))
		Eventually(func() float64 {
			r.rest(time.Second)
			return testutil.ToFloat64(r.metrics.errors.WithLabelValues("counters"))
		}).WithPolling(time.Millisecond).Should(Equal(1.0))
		Expect(met()).To(Equal(packets{model.GuardSourceName: {Dropped: 4}}))
	})

	It("are read for nobody but a reporter", func() {
		r := newRig(nil)
		r.backend.SetCounters(nil, errors.New("no nft"))
		r.run()
		r.to.Update(objects(small), nil)
		r.to.Synced()
		r.next()
		r.rest(2 * time.Minute)
		r.rest(time.Minute)
		Expect(testutil.ToFloat64(r.metrics.errors.WithLabelValues("counters"))).To(BeZero())
	})

	It("are no rules of the packet log", func() {
		r := newRig(func(o *Options) { o.Backend = guardNamer{o.Backend} })
		answers := make(chan answer, 1)
		r.nameRule(question{"g-source", answers})
		Expect(<-answers).To(Equal(answer{prefix: "g-source"}))
	})
})

// guardNamer is a backend that takes every prefix for a guard's.
type guardNamer struct{ dataplane.Backend }

func (guardNamer) Origin(string) (dataplane.Origin, bool) {
	return dataplane.GuardOrigin(model.GuardSourceName, false), true
}
