package dataplane

import (
	"context"
	"net/netip"
	"strconv"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/tierwall/tierwall/controllers/agent"
	"github.com/tierwall/tierwall/lab"
	"github.com/tierwall/tierwall/lab/fleet"
	"github.com/tierwall/tierwall/policy/convert"
	"github.com/tierwall/tierwall/policy/model"
)

var nodes = []string{"n1", "n2"}

// cluster is a lab whose nodes' agents are told of changes as by a cluster.
type cluster struct {
	plane *plane
	lab   *lab.Lab
	fleet *fleet.Fleet
	// tunnels are reported as the nodes', whatever the kernel has.
	tunnels []model.Tunnel
	objects map[model.Ref]runtime.Object
	// change of the agents' options; see fleet.Options.
	change func(*agent.Options) (func(*agent.Agent), error)
}

// found builds the lab of manifests and runs the agents.
func found(p *plane, manifests string) *cluster {
	GinkgoHelper()
	c := &cluster{plane: p, objects: map[model.Ref]runtime.Object{}}
	list := objects(manifests)
	c.note(list)
	c.lab = bring(list)
	c.run()
	DeferCleanup(func() { c.halt() })
	return c
}

func (c *cluster) note(list []runtime.Object) {
	GinkgoHelper()
	for _, o := range list {
		r, known := convert.RefOf(o)
		Expect(known).To(BeTrue())
		c.objects[r] = o
	}
}

// run starts the agents; it returns when the kernels hold what the objects say.
func (c *cluster) run() {
	GinkgoHelper()
	var list []runtime.Object
	for _, o := range c.objects {
		list = append(list, o)
	}
	var err error
	c.fleet, err = fleet.Start(context.Background(), c.lab, nodes, list, fleet.Options{Backend: c.plane.backend, Tunnels: c.tunnels, Change: c.change})
	Expect(err).NotTo(HaveOccurred())
}

// halt stops the agents.
func (c *cluster) halt() {
	GinkgoHelper()
	if c.fleet != nil {
		Expect(c.fleet.Stop()).To(Succeed())
	}
	c.fleet = nil
}

// apply creates or changes objects.
func (c *cluster) apply(manifests string) {
	GinkgoHelper()
	list := objects(manifests)
	c.note(list)
	if c.fleet != nil {
		c.fleet.Update(list, nil)
	}
}

// remove deletes an object.
func (c *cluster) remove(name string) {
	GinkgoHelper()
	r, err := model.ParseRef(name)
	Expect(err).NotTo(HaveOccurred())
	delete(c.objects, r)
	if c.fleet != nil {
		c.fleet.Update(nil, []model.Ref{r})
	}
}

func join(a string, port uint16) netip.AddrPort { return netip.AddrPortFrom(addr(a), port) }

var _ = onEach("Steady traffic", func(p *plane) {
	It("does not notice 100 changes of policies", SpecTimeout(2*time.Minute), func(ctx SpecContext) {
		c := found(p, world())
		t := start(c.lab)
		for i := range 25 {
			By("round " + strconv.Itoa(i))
			// Elsewhere: other rules for other pods.
			c.apply(elsewherePolicy(elsewhereB))
			becomes(c.lab, tcp(here, there, elsewhereB), true)
			// At the server itself: one more rule, and later one less.
			c.apply(serversPolicy("ingress TCP 8888 intruder"))
			becomes(c.lab, tcp(intruder, server, extraPort), true)
			// Gone altogether, and back.
			c.remove("GlobalNetworkPolicy/elsewhere")
			becomes(c.lab, tcp(here, there, elsewhereA), true)
			c.apply(elsewherePolicy(elsewhereA) + serversPolicy())
			becomes(c.lab, tcp(here, there, elsewhereB), false)
			becomes(c.lab, tcp(intruder, server, extraPort), false)
		}
		t.goesOn(ctx, 3)
		t.finish()
	})

	It("does not notice that agents stop and start 30 times", SpecTimeout(2*time.Minute), func(ctx SpecContext) {
		c := found(p, world())
		t := start(c.lab)
		for i := range 30 {
			c.halt()
			extra := i%3 == 0
			if extra { // something changes while nobody looks
				c.apply(serversPolicy("ingress TCP 8888 intruder"))
			} else {
				c.apply(serversPolicy())
			}
			c.run()
			// Ready means that it holds.
			Expect(delivered(c.lab, tcp(intruder, server, extraPort))).To(Equal(extra), "restart %d", i)
		}
		t.goesOn(ctx, 3)
		t.finish()
	})
})
