package agent

import (
	"net/netip"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/tierwall/tierwall/dataplane/links"
	"github.com/tierwall/tierwall/policy/convert"
	"github.com/tierwall/tierwall/policy/model"
	"github.com/tierwall/tierwall/policy/verdict"
)

var _ = Describe("a pod whose object is gone", func() {
	ghost := &convert.Ghost{Namespace: "shop", Name: "web", UID: "u1", Node: "node", Addrs: []netip.Addr{netip.MustParseAddr("10.0.0.1")}}

	It("is denied all in one transaction with the end of its object, is reported, and its connections are cut", func() {
		reports := &recorder{}
		kernel := &links.Fake{}
		kernel.Set(onBridge)
		r := settled(func(o *Options) { o.Links, o.Reporter = kernel, reports })
		entry := conn("10.0.0.1:4000", "10.0.0.2:5432")
		r.table.Add(entry)
		r.to.Update([]runtime.Object{ghost}, []model.Ref{ref("Pod/shop/web")})
		c := r.next()
		Expect(c.World.Endpoints).To(HaveLen(2))
		Eventually(r.table.Deleted).Should(ContainElement(entry))
		f := model.Flow{Src: netip.MustParseAddr("10.0.0.1"), Dst: netip.MustParseAddr("10.0.0.2"), Protocol: model.TCP, SrcPort: 4000, DstPort: 5432}
		Expect(verdict.DecideAt(r.ix, "node", f).Action).To(Equal(model.Deny))
		Eventually(func() []model.Ghost { return reports.last().Ghosts }).Should(Equal([]model.Ghost{{Addr: ghost.Addrs[0], Ref: ghost.Ref()}}))
		// It is looked for where the pod was: its place at a bridge stays known.
		_, pods := kernel.Reads()
		Expect(pods).To(HaveKeyWithValue(ghost.Addrs[0], ref("Pod/shop/web")))
		// Whoever asks for the address may have it.
		who, _ := r.Holder(ghost.Addrs[0])
		Expect(who).To(Equal(model.Ref{}))
		r.to.Update(nil, []model.Ref{ghost.Ref()})
		Expect(r.next().World.Endpoints).To(HaveLen(1))
		Eventually(func() []model.Ghost { return reports.last().Ghosts }).Should(BeEmpty())
	})
})
