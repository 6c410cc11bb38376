package agent

import (
	"context"
	"net/netip"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/tierwall/tierwall/dataplane"
	"github.com/tierwall/tierwall/dataplane/fake"
	"github.com/tierwall/tierwall/policy/model"
)

var _ = Describe("whoever waits for the kernel", func() {
	wait := func(r *rig) chan error {
		over := make(chan error, 1)
		ctx, cancel := context.WithCancel(context.Background())
		DeferCleanup(cancel)
		go func() { over <- r.Settled(ctx, "") }()
		return over
	}

	It("waits until it holds what was delivered before", func() {
		r := newRig(nil).run()
		Expect(r.Settled(short(), "")).To(MatchError(context.DeadlineExceeded), "nothing has been delivered")
		r.to.Update(objects(small), nil)
		over := wait(r)
		Consistently(over, 50*time.Millisecond).ShouldNot(Receive(), "the source is not in sync")
		r.to.Synced()
		Eventually(over).Should(Receive(BeNil()))
		Expect(r.next().Op).To(Equal(fake.Sync))
		Expect(r.Settled(context.Background(), "")).To(Succeed())
	})

	It("and not while a transaction is under way or has failed", func() {
		r := settled(nil)
		gate := make(chan error)
		r.backend.Before = func(fake.Op, *dataplane.State) error { return <-gate }
		r.to.Update(objects(pod("new", "10.0.0.9")), nil)
		over := wait(r)
		Consistently(over, 50*time.Millisecond).ShouldNot(Receive())
		gate <- context.DeadlineExceeded
		Expect(r.next().Err).To(HaveOccurred())
		Consistently(over, 50*time.Millisecond).ShouldNot(Receive())
		go func() { gate <- nil }()
		c, _ := r.nextAfter(10 * time.Millisecond)
		Expect(c.Err).NotTo(HaveOccurred())
		Expect(c.World.Endpoints).To(HaveKey(ref("Pod/shop/new")))
		Eventually(over).Should(Receive(BeNil()))
	})

	It("for something that changes nothing too", func() {
		r := settled(nil)
		r.to.Update(objects(pod("web", "10.0.0.1")), nil)
		Expect(r.Settled(context.Background(), "")).To(Succeed())
		Expect(r.backend.Done).NotTo(Receive())
	})

	It("is told when the agent ends", func() {
		r := newRig(nil).run()
		over := wait(r)
		r.cancel()
		Eventually(over).Should(Receive(MatchError(ContainSubstring("it has ended"))))
	})
})

func short() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	DeferCleanup(cancel)
	return ctx
}

var _ = Describe("whoever has an address", func() {
	It("is a pod, a node, or nobody", func() {
		r := settled(nil)
		r.to.Update(objects(strings.Replace(pod("far", "10.0.1.1"), "nodeName: node", "nodeName: other", 1)), nil)
		Eventually(func() model.Ref {
			who, _ := r.Holder(netip.MustParseAddr("10.0.1.1"))
			return who
		}).Should(Equal(ref("Pod/shop/far")))
		_, node := r.Holder(netip.MustParseAddr("10.0.1.1"))
		Expect(node).To(Equal("other"))
		who, node := r.Holder(netip.MustParseAddr("10.0.0.1"))
		Expect(who).To(Equal(ref("Pod/shop/web")))
		Expect(node).To(Equal("node"))
		who, node = r.Holder(netip.MustParseAddr("192.0.2.1"))
		Expect(who).To(Equal(ref("Node/node")))
		Expect(node).To(Equal("node"))
		who, node = r.Holder(netip.MustParseAddr("198.51.100.1"))
		Expect(who).To(Equal(model.Ref{}))
		Expect(node).To(BeEmpty())
	})
})
