package agent

import (
	"os"
	"path/filepath"
	"syscall"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/tierwall/tierwall/controllers/agent/kept"
	"github.com/tierwall/tierwall/dataplane"
	"github.com/tierwall/tierwall/dataplane/fake"
	"github.com/tierwall/tierwall/policy/model"
)

// guarded is the small world with a host endpoint that lets one port in.
var guarded = join(small, hostAllows("8000"))

func hostAllows(port string) string {
	return `
apiVersion: tierwall.io/v1alpha1
kind: HostEndpoint
metadata: {name: host, labels: {is: host}}
spec: {node: node, interfaceName: eth0}
---
apiVersion: tierwall.io/v1alpha1
kind: GlobalNetworkPolicy
metadata: {name: hosts}
spec:
  tier: default
  selector: is == 'host'
  types: [Ingress]
  ingress: [{action: Allow, protocol: TCP, destination: {ports: [` + port + `]}}]
`
}

// at is a store of a state folder as of a boot.
func at(dir, boot string) *kept.Store {
	return &kept.Store{Dir: dir, Cluster: "c", Node: "node", Boot: boot}
}

// booted starts an agent with a state folder.
func booted(s *kept.Store, change func(*Options)) *rig {
	GinkgoHelper()
	return newRig(func(o *Options) {
		o.Boot = &Boot{Store: s}
		if change != nil {
			change(o)
		}
	})
}

// keep runs an agent until it has kept the guarded world, and ends it.
func keep(dir, boot string) {
	GinkgoHelper()
	r := booted(at(dir, boot), nil).run()
	r.to.Update(objects(guarded), nil)
	r.to.Synced()
	r.next()
	r.cancel()
	Eventually(r.over).Should(BeClosed())
	Expect(filepath.Join(dir, kept.FileName)).To(BeAnExistingFile())
}

var _ = Describe("kept state", func() {
	var dir string
	BeforeEach(func() { dir = GinkgoT().TempDir() })

	It("is in the kernel after a boot before the source is in sync, without pods", func() {
		keep(dir, "one")
		r := booted(at(dir, "two"), nil).run()
		c := r.next()
		Expect(c.Op).To(Equal(fake.Sync))
		Expect(c.Err).NotTo(HaveOccurred())
		Expect(c.World.Endpoints).To(HaveLen(1))
		Expect(c.World.Endpoints).To(HaveKey(ref("HostEndpoint/host")))
		Expect(c.World.PodCIDRs).To(HaveLen(1))
		Expect(c.World.Settings.UnknownWorkloads).To(Equal(model.Deny))
		Expect(r.Ready()).To(MatchError(ContainSubstring("waiting for the source")))
		host := c.World.Endpoints[ref("HostEndpoint/host")].Programs

		r.to.Update(objects(guarded), nil)
		r.to.Synced()
		c = r.next()
		Expect(c.Op).To(Equal(fake.Sync))
		Expect(c.World.Endpoints).To(HaveLen(3))
		Expect(c.World.Endpoints[ref("HostEndpoint/host")].Programs).To(Equal(host), "its policy is what it was")
	})

	DescribeTable("is left out", func(s func() *kept.Store, change func(*Options)) {
		keep(dir, "one")
		r := booted(s(), change).run()
		r.to.Update(objects(small), nil)
		r.to.Synced()
		c := r.next()
		Expect(c.Err).NotTo(HaveOccurred())
		Expect(c.World.Endpoints).To(HaveLen(2), "the first transaction is the source's")
	},
		Entry("after a mere restart", func() *kept.Store { return at(dir, "one") }, nil),
		Entry("where the kernel holds rules", func() *kept.Store { return at(dir, "two") }, func(o *Options) { o.Boot.Holds = func() bool { return true } }),
		Entry("of another cluster", func() *kept.Store { s := at(dir, "two"); s.Cluster = "d"; return s }, nil),
		Entry("of another node", func() *kept.Store { s := at(dir, "two"); s.Node = "other"; return s }, nil),
		Entry("that is torn", func() *kept.Store {
			Expect(os.Truncate(filepath.Join(dir, kept.FileName), 400)).To(Succeed())
			return at(dir, "two")
		}, nil),
		Entry("that is not there", func() *kept.Store { return at(filepath.Join(dir, "none"), "two") }, nil),
	)

	It("that the kernel does not take stops nothing", func() {
		keep(dir, "one")
		first := true
		r := booted(at(dir, "two"), nil)
		r.backend.Before = func(fake.Op, *dataplane.State) error {
			if first {
				first = false
				return syscall.EINVAL
			}
			return nil
		}
		r.run()
		Expect(r.next().Err).To(HaveOccurred())
		r.to.Update(objects(guarded), nil)
		r.to.Synced()
		Expect(r.next().World.Endpoints).To(HaveLen(3))
		Expect(testutil.ToFloat64(r.metrics.errors.WithLabelValues("kept"))).To(Equal(1.0))
	})

	It("is written a few seconds after a change, however many there are", func() {
		name := filepath.Join(dir, kept.FileName)
		r := booted(at(dir, "one"), nil).run()
		r.to.Update(objects(guarded), nil)
		r.to.Synced()
		r.next()
		r.rest(keepDelay - time.Second)
		Consistently(func() error { _, err := os.Stat(name); return err }, "20ms").ShouldNot(Succeed())
		Eventually(func() error { r.rest(time.Second); _, err := os.Stat(name); return err }).Should(Succeed())
		was, err := os.ReadFile(name)
		Expect(err).NotTo(HaveOccurred())
		for _, port := range []string{"1", "2", "3"} {
			r.to.Update(objects(hostAllows(port)), nil)
			r.next()
		}
		Consistently(func() ([]byte, error) { return os.ReadFile(name) }, "20ms").Should(Equal(was))
		Eventually(func() ([]byte, error) { r.rest(time.Second); return os.ReadFile(name) }).ShouldNot(Equal(was))
		k, err := at(dir, "two").Load()
		Expect(err).NotTo(HaveOccurred())
		Expect(k.State.Hosts).To(HaveLen(1))
	})

	It("that cannot be written stops nothing", func() {
		r := booted(at("/dev/null/no", "one"), nil).run()
		r.to.Update(objects(guarded), nil)
		r.to.Synced()
		r.next()
		Eventually(func() float64 {
			r.rest(time.Second)
			return testutil.ToFloat64(r.metrics.errors.WithLabelValues("kept"))
		}).Should(BeNumerically(">=", 1))
		r.to.Update(objects(pod("new", "10.0.0.9")), nil)
		Expect(r.next().Err).NotTo(HaveOccurred())
		Expect(r.Ready()).To(Succeed())
	})
})
