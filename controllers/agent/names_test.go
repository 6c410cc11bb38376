package agent

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math/rand"
	"net/netip"
	"slices"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"golang.org/x/net/dns/dnsmessage"

	"github.com/tierwall/tierwall/controllers/agent/answers"
	"github.com/tierwall/tierwall/dataplane"
	"github.com/tierwall/tierwall/dataplane/fake"
	"github.com/tierwall/tierwall/dataplane/nfqueue"
	"github.com/tierwall/tierwall/policy/model"
	"github.com/tierwall/tierwall/policy/names"
)

// reaching is a policy that lets an app reach names.
func reaching(name, app string, domains ...string) string {
	return fmt.Sprintf(`
apiVersion: tierwall.io/v1alpha1
kind: GlobalNetworkPolicy
metadata: {name: %s}
spec:
  tier: default
  selector: app == '%s'
  types: [Egress]
  egress:
  - {action: Allow, destination: {domains: ["%s"]}}
`, name, app, strings.Join(domains, `", "`))
}

const dnsSettings = `
apiVersion: tierwall.io/v1alpha1
kind: Tierwall
metadata: {name: default}
spec: {dns: {trustedServers: [10.96.0.10]}}
`

// dnsAnswer is a packet with an answer of that server's to the pod web.
func dnsAnswer(name string, ttl uint32, addrs ...string) []byte {
	m := dnsmessage.Message{
		Header:    dnsmessage.Header{Response: true},
		Questions: []dnsmessage.Question{{Name: dnsmessage.MustNewName(name + "."), Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET}},
	}
	for _, s := range addrs {
		h := dnsmessage.ResourceHeader{Name: m.Questions[0].Name, Class: dnsmessage.ClassINET, TTL: ttl}
		m.Answers = append(m.Answers, dnsmessage.Resource{Header: h, Body: &dnsmessage.AResource{A: netip.MustParseAddr(s).As4()}})
	}
	msg, err := m.Pack()
	Expect(err).NotTo(HaveOccurred())
	b := make([]byte, 28, 28+len(msg))
	b[0], b[9] = 0x45, 17
	binary.BigEndian.PutUint16(b[2:], uint16(28+len(msg)))
	copy(b[12:], []byte{10, 96, 0, 10, 10, 0, 0, 1})
	binary.BigEndian.PutUint16(b[20:], 53)
	binary.BigEndian.PutUint16(b[22:], 40000)
	binary.BigEndian.PutUint16(b[24:], uint16(8+len(msg)))
	return append(b, msg...)
}

// namesRig is a rig with rules by name.
func namesRig(change func(*Options, *answers.Options)) (*rig, *nfqueue.Fake) {
	GinkgoHelper()
	queue := nfqueue.NewFake()
	r := newRig(func(o *Options) {
		o.Audit = -1
		keeper := answers.Options{Reader: queue}
		if change != nil {
			change(o, &keeper)
		}
		o.Names = &NamesOptions{Open: func() (answers.Options, error) { return keeper, nil }}
	}).run()
	DeferCleanup(r.ended)
	return r, queue
}

// ended ends the agent, whose clock has to go on for that.
func (r *rig) ended() {
	GinkgoHelper()
	r.cancel()
	Eventually(func() bool {
		r.clock.Step(time.Second)
		select {
		case _, open := <-r.over:
			return !open
		default:
			return false
		}
	}).WithPolling(time.Millisecond).Should(BeTrue())
}

// byName are the members of the sets that rules ask for, all together.
func byName(w fake.World) (out []string) {
	for _, members := range w.Sets {
		for _, m := range members {
			out = append(out, m.Prefix.Addr().String())
		}
	}
	slices.Sort(out)
	return out
}

var _ = Describe("Rules by name", func() {
	text := join(world, dnsSettings, pod("web", "10.0.0.1"), pod("db", "10.0.0.2"), reaching("names", "web", "a.example", "*.b.example"))

	It("have answers wait until the kernel has their addresses", func() {
		r, queue := namesRig(nil)
		r.to.Update(objects(text), nil)
		r.to.Synced()
		c := r.next()
		Expect(c.Err).NotTo(HaveOccurred())
		Expect(c.World.Answers).NotTo(BeNil())
		Expect(c.World.Answers.Servers).To(Equal([]netip.Addr{netip.MustParseAddr("10.96.0.10")}))
		Expect(c.World.Answers.Pods).To(Equal([]netip.Addr{netip.MustParseAddr("10.0.0.1")}))
		Expect(byName(c.World)).To(BeEmpty())
		p := queue.Send(dnsAnswer("a.example", 60, "198.51.100.1"), dnsAnswer("x.b.example", 60, "198.51.100.2"))
		c = r.next()
		Expect(c.Op).To(Equal(fake.Apply))
		Expect(byName(c.World)).To(Equal([]string{"198.51.100.1", "198.51.100.2"}))
		Eventually(p[0]).Should(BeClosed())
		Eventually(p[1]).Should(BeClosed())
		Eventually(queue.Send(dnsAnswer("a.example", 60, "198.51.100.1"))[0]).Should(BeClosed())
		// Without such rules nothing waits.
		r.to.Update(nil, []model.Ref{ref("GlobalNetworkPolicy/names")})
		Expect(r.next().World.Answers).To(BeNil())
		Expect(r.table.Lists()).To(BeNumerically("<", 5))
	})

	It("hold no answer back when the kernel does not take it", func() {
		fail := make(chan error, 1)
		r, queue := namesRig(func(o *Options, _ *answers.Options) {
			o.Backend.(*fake.Backend).Before = func(fake.Op, *dataplane.State) error {
				select {
				case err := <-fail:
					return err
				default:
					return nil
				}
			}
		})
		r.to.Update(objects(text), nil)
		r.to.Synced()
		r.next()
		fail <- errors.New("refused")
		p := queue.Send(dnsAnswer("a.example", 60, "198.51.100.1"))
		Expect(r.next().Err).To(HaveOccurred())
		Eventually(p[0]).Should(BeClosed())
		c, _ := r.nextAfter(50 * time.Millisecond)
		Expect(c.Op).To(Equal(fake.Sync))
		Expect(byName(c.World)).To(Equal([]string{"198.51.100.1"}))
	})

	It("say so where the kernel has no queue", func() {
		r, _ := namesRig(func(o *Options, _ *answers.Options) {
			o.Backend.(*fake.Backend).NoQueue = errors.New("no module")
		})
		r.to.Update(objects(text), nil)
		r.to.Synced()
		c := r.next()
		Expect(c.World.Answers).To(BeNil())
		Expect(c.World.Endpoints).To(HaveLen(2))
	})

	// TestModel: over random traces the kernel holds what a naive table says.
	It("agree with a naive table", func() {
		for seed := range int64(6) {
			rng := rand.New(rand.NewSource(seed))
			r, queue := namesRig(nil)
			policies := map[string][]string{"names": {"a.example", "*.b.example"}}
			r.to.Update(objects(text), nil)
			r.to.Synced()
			r.next()
			known := naive{}
			for step := range 60 {
				what := fmt.Sprintf("seed %d, step %d", seed, step)
				switch rng.Intn(6) {
				case 0:
					d := time.Duration(rng.Intn(90)) * time.Second
					r.clock.Step(d)
				case 1:
					n := fmt.Sprintf("p%d", rng.Intn(3))
					if policies[n] != nil {
						delete(policies, n)
						r.to.Update(nil, []model.Ref{ref("GlobalNetworkPolicy/" + n)})
					} else {
						policies[n] = []string{[]string{"a.example", "c.example", "*.b.example", "*.example"}[rng.Intn(4)]}
						r.to.Update(objects(reaching(n, "web", policies[n]...)), nil)
					}
				default:
					name := []string{"a.example", "x.b.example", "y.b.example", "c.example", "d.other"}[rng.Intn(5)]
					addr := fmt.Sprintf("198.51.100.%d", 1+rng.Intn(6))
					ttl := []uint32{0, 30, 100}[rng.Intn(3)]
					known.learn(policies, name, addr, ttl, r.clock.Now())
					Eventually(queue.Send(dnsAnswer(name, ttl, addr))[0]).Should(BeClosed(), what)
				}
				known.forget(policies)
				Eventually(func() (out []string) {
					for _, p := range r.names.keeper.Patterns() {
						out = append(out, p.String())
					}
					return out
				}).Should(Equal(patternsOf(policies)), what)
				Eventually(func() []string {
					r.clock.Step(0)
					r.names.keeper.Expire()
					return byName(r.backend.World())
				}).WithPolling(time.Millisecond).Should(Equal(known.at(policies, r.clock.Now())), what)
				for len(r.backend.Done) > 0 {
					<-r.backend.Done
				}
			}
			r.ended()
		}
	})
})

// naive is what is known of names, kept as simply as can be: until when, by name and address.
type naive map[string]map[string]time.Time

func matches(policies map[string][]string, name string) bool {
	for _, list := range policies {
		for _, s := range list {
			p, err := names.ParsePattern(s)
			Expect(err).NotTo(HaveOccurred())
			if p.Matches(name) {
				return true
			}
		}
	}
	return false
}

func (n naive) learn(policies map[string][]string, name, addr string, ttl uint32, now time.Time) {
	if !matches(policies, name) {
		return
	}
	until := now.Truncate(time.Second).Add(max(time.Duration(ttl)*time.Second, names.DefaultMinTTL) + names.DefaultExtraTTL)
	if n[name] == nil {
		n[name] = map[string]time.Time{}
	}
	if until.After(n[name][addr]) {
		n[name][addr] = until
	}
}

// forget forgets names that no rule speaks of.
func (n naive) forget(policies map[string][]string) {
	maps.DeleteFunc(n, func(name string, _ map[string]time.Time) bool { return !matches(policies, name) })
}

// at returns the addresses of each rule, which has a set of its own.
func (n naive) at(policies map[string][]string, now time.Time) (out []string) {
	sets := map[string]bool{}
	for _, list := range policies {
		sets[strings.Join(list, " ")] = true
	}
	for set := range sets {
		addrs := map[string]bool{}
		for name, known := range n {
			if !matches(map[string][]string{"": strings.Fields(set)}, name) {
				continue
			}
			for addr, until := range known {
				if until.After(now) {
					addrs[addr] = true
				}
			}
		}
		for a := range addrs {
			out = append(out, a)
		}
	}
	slices.Sort(out)
	return out
}

// patternsOf are those of all policies, sorted.
func patternsOf(policies map[string][]string) []string {
	var out []string
	for _, list := range policies {
		out = append(out, list...)
	}
	slices.Sort(out)
	return slices.Compact(out)
}
