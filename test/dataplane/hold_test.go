package dataplane

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"golang.org/x/net/dns/dnsmessage"

	"github.com/tierwall/tierwall/dataplane"
	"github.com/tierwall/tierwall/dataplane/nfqueue"
	"github.com/tierwall/tierwall/lab"
	"github.com/tierwall/tierwall/policy/index"
	"github.com/tierwall/tierwall/policy/model"
	"github.com/tierwall/tierwall/test/dns"
)

// dnsWorld is a lab of two nodes with a client and DNS servers of each kind that there is:
// behind a Service on another node, on the client's node, on its own link, in the node's
// own network, and a cache on the node that nobody tracks.
type dnsWorld struct {
	*lab.Lab
	servers map[string][2]netip.AddrPort // where they are asked, by family
	answers *dataplane.Answers           // of all servers to the client
}

const (
	cache, cache6     = "169.254.20.10", "fd00:20::10"
	hostNet, hostNet6 = "192.0.2.1", "2001:db8::1"
)

// bringDNS builds the lab. The zone is the same on every server.
func bringDNS(network lab.Network, zone dns.Zone) *dnsWorld {
	GinkgoHelper()
	prefixes := func(list ...string) (out []netip.Prefix) {
		for _, s := range list {
			out = append(out, netip.MustParsePrefix(s))
		}
		return out
	}
	both := func(a, b string) []netip.Addr { return []netip.Addr{addr(a), addr(b)} }
	l, err := lab.New(context.Background(), lab.Spec{
		Network: network,
		Nodes: []lab.Node{
			{Name: "n1", Addrs: both(hostNet, hostNet6), PodCIDRs: prefixes("10.1.1.0/24", "fd00:1:1::/64")},
			{Name: "n2", Addrs: both("192.0.2.2", "2001:db8::2"), PodCIDRs: prefixes("10.1.2.0/24", "fd00:1:2::/64")},
		},
		Pods: []lab.Pod{
			{Namespace: "app", Name: "client", Node: "n1", Addrs: both(client, client6)},
			{Namespace: "app", Name: "here", Node: "n1", Addrs: both("10.1.1.12", "fd00:1:1::12")},
			{Namespace: "app", Name: "near", Node: "n1", Addrs: both(near, near6)},
			{Namespace: "app", Name: "server", Node: "n2", Addrs: both(server, server6)},
		},
		Outside: []lab.Host{{Name: "out", Addrs: both(outside, outside6)}},
	})
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(func() { Expect(l.Close()).To(Succeed()) })
	w := &dnsWorld{Lab: l, servers: map[string][2]netip.AddrPort{}, answers: &dataplane.Answers{Pods: both(client, client6)}}
	script := func(where, text string) {
		GinkgoHelper()
		out, err := l.Command(where, "sh", "-ec", text).CombinedOutput()
		Expect(err).NotTo(HaveOccurred(), string(out))
	}
	script("n1", "ip addr add "+cache+"/32 dev lo; ip -6 addr add "+cache6+"/128 dev lo nodad; "+realNft+` -f - <<EOF
table inet nodelocal {
 chain pre { type filter hook prerouting priority -300; ip daddr `+cache+` th dport 53 notrack; ip6 daddr `+cache6+` th dport 53 notrack; }
 chain out { type filter hook output priority -300; ip saddr `+cache+` th sport 53 notrack; ip6 saddr `+cache6+` th sport 53 notrack; }
}
EOF`)
	var services []lab.Service
	for kind, at := range map[string]struct {
		where      string
		addrs, ask []netip.Addr
	}{
		"behind a Service on another node": {"app/server", both(server, server6), both("10.96.0.10", "fd00:96::10")},
		"behind a Service on the node":     {"app/near", both(near, near6), both("10.96.0.11", "fd00:96::11")},
		"on the node":                      {"app/near", nil, both(near, near6)},
		"in the node's network":            {"n1", both(hostNet, hostNet6), both("10.96.0.12", "fd00:96::12")},
		"a cache on the node":              {"n1", both(cache, cache6), both(cache, cache6)},
	} {
		for i, a := range at.addrs {
			Expect(l.Do(at.where, func() error {
				s, err := dns.Listen(netip.AddrPortFrom(a, dnsPort), zone)
				if err == nil {
					DeferCleanup(s.Close)
				}
				return err
			})).To(Succeed())
			w.answers.Servers = append(w.answers.Servers, a)
			if at.ask[i] != a {
				for _, p := range []model.Protocol{model.UDP, model.TCP} {
					services = append(services, lab.Service{Addr: netip.AddrPortFrom(at.ask[i], dnsPort), Protocol: p, Backends: []netip.AddrPort{netip.AddrPortFrom(a, dnsPort)}})
				}
			}
		}
		w.servers[kind] = [2]netip.AddrPort{netip.AddrPortFrom(at.ask[0], dnsPort), netip.AddrPortFrom(at.ask[1], dnsPort)}
	}
	Expect(l.SetServices(services...)).To(Succeed())
	return w
}

// state is that of n1 without any policy.
func (w *dnsWorld) state() *dataplane.State {
	ix := index.New(index.Options{Local: func(n string) bool { return n == "n1" }})
	ix.Upsert(&model.Node{Name: "n1", Addrs: []netip.Addr{addr(hostNet), addr(hostNet6)}, PodCIDRs: []netip.Prefix{netip.MustParsePrefix("10.1.1.0/24"), netip.MustParsePrefix("fd00:1:1::/64")}})
	for name, addrs := range map[string][]netip.Addr{"client": {addr(client), addr(client6)}, "here": {addr("10.1.1.12"), addr("fd00:1:1::12")}, "near": {addr(near), addr(near6)}} {
		ix.Upsert(&model.Endpoint{Ref: model.Ref{Kind: model.KindPod, Namespace: "app", Name: name}, Node: "n1", Addrs: addrs})
	}
	c := dataplane.NewCompiler(dataplane.Options{})
	c.Apply(ix.Flush())
	s := dataplane.NewState(ix, "n1", c)
	s.Answers = w.answers
	return s
}

// queue reads what waits on n1, and accepts it when it is told to.
type queue struct {
	*nfqueue.Kernel
	*nfqueue.Switch
	mu      sync.Mutex
	waiting []uint32
	// strangers are packets to others than the client.
	strangers int
	came      chan struct{}
	stop      func()
}

func (w *dnsWorld) read() *queue {
	GinkgoHelper()
	q := &queue{came: make(chan struct{}, 10000)}
	Expect(w.Do("n1", func() (err error) {
		if q.Kernel, err = nfqueue.New(dataplane.AnswerQueue); err == nil {
			q.Switch, err = nfqueue.NewSwitch()
		}
		return err
	})).To(Succeed())
	ctx, cancel := context.WithCancel(context.Background())
	bound, over := make(chan struct{}), make(chan error, 1)
	go func() {
		over <- q.Run(ctx, func() { close(bound) }, func(list []nfqueue.Packet) {
			q.mu.Lock()
			defer q.mu.Unlock()
			for i := range list {
				q.waiting = append(q.waiting, list[i].ID)
				if s, ok := list[i].Segment(); !ok || s.Dst.Addr() != addr(client) && s.Dst.Addr() != addr(client6) {
					q.strangers++
				}
			}
			select {
			case q.came <- struct{}{}:
			default:
			}
		})
	}()
	<-bound
	q.stop = sync.OnceFunc(func() {
		cancel()
		Expect(<-over).To(Succeed())
		Expect(errors.Join(q.Kernel.Close(), q.Switch.Close())).To(Succeed())
	})
	DeferCleanup(q.stop)
	return q
}

// accept has all that waits go on, and returns how much it was.
func (q *queue) accept() int {
	GinkgoHelper()
	q.mu.Lock()
	defer q.mu.Unlock()
	Expect(q.Accept(q.waiting)).To(Succeed())
	n := len(q.waiting)
	q.waiting = nil
	return n
}

// others is how many packets have waited that were not to the client.
func (q *queue) others() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.strangers
}

// ask asks a question from a pod, on a goroutine.
func (w *dnsWorld) ask(where string, server netip.AddrPort, tcp bool, name string) <-chan error {
	out := make(chan error, 1)
	go func() {
		out <- w.Do(where, func() error {
			c, err := dns.Dial(server, dns.Options{TCP: tcp, Timeout: 5 * time.Second, Room: 4096})
			if err != nil {
				return err
			}
			a, err := c.Ask(name, dnsmessage.TypeA)
			if err == nil && len(a.Addrs) == 0 {
				err = errors.New("an answer without addresses")
			}
			return errors.Join(err, c.Close())
		})
	}()
	return out
}

var _ = onEach("Answers that wait", func(p *plane) {
	for name, network := range map[string]lab.Network{"routed": lab.Routed, "bridged": lab.Bridge} {
		It("wait until they are accepted, and no others do ("+name+")", SpecTimeout(2*time.Minute), func(SpecContext) {
			small := dns.Addrs(30, addr("198.18.0.1"))
			w := bringDNS(network, dns.Zone{"a.example": small, "large.example": dns.Padded(3900, small)})
			b, err := p.backendOn(w.Lab, "n1")
			Expect(err).NotTo(HaveOccurred())
			sync := func(s *dataplane.State) {
				GinkgoHelper()
				Expect(w.Do("n1", func() error { return b.Sync(context.Background(), s) })).To(Succeed())
			}
			s := w.state()
			sync(s)
			By("nobody reads the queue")
			for kind, at := range w.servers {
				Expect(<-w.ask("app/client", at[0], false, "a.example")).To(Succeed(), kind)
			}
			q := w.read()
			By("the switch was not turned on")
			Expect(<-w.ask("app/client", w.servers["on the node"][0], false, "a.example")).To(Succeed())
			Expect(q.accept()).To(BeZero())
			beating, stop := context.WithCancel(context.Background())
			beats := make(chan struct{})
			go func() {
				defer close(beats)
				for t := time.NewTicker(dataplane.HoldTime / 4); beating.Err() == nil; {
					if !q.Renew() {
						GinkgoWriter.Println("no rule takes what renews the switch")
					}
					select {
					case <-t.C:
					case <-beating.Done():
					}
				}
			}()
			DeferCleanup(func() { stop(); <-beats })
			Eventually(q.Renew).Should(BeTrue())
			for kind, at := range w.servers {
				for family, server := range at {
					for _, tcp := range []bool{false, true} {
						for _, name := range []string{"a.example", "large.example"} {
							what := fmt.Sprintf("%s, family %d, TCP %v, %s", kind, family, tcp, name)
							for len(q.came) > 0 {
								<-q.came
							}
							answer := w.ask("app/client", server, tcp, name)
							Eventually(q.came).WithTimeout(5*time.Second).Should(Receive(), what)
							Consistently(answer).WithTimeout(5*time.Millisecond).ShouldNot(Receive(), what)
							Eventually(func() int { q.accept(); return len(answer) }).WithTimeout(5*time.Second).Should(Equal(1), what)
							Expect(<-answer).To(Succeed(), what)
							q.accept()
						}
					}
				}
			}
			By("pods without rules by name")
			for kind, at := range w.servers {
				Expect(<-w.ask("app/here", at[0], false, "a.example")).To(Succeed(), kind)
			}
			q.accept() // what ends the client's connections may come still
			Expect(q.others()).To(BeZero())
			By("the switch is taken away")
			stop()
			<-beats
			Expect(q.Release()).To(BeTrue())
			Expect(<-w.ask("app/client", w.servers["on the node"][0], false, "a.example")).To(Succeed())
			By("the switch runs out")
			Expect(q.Renew()).To(BeTrue())
			Eventually(func() error {
				answer := w.ask("app/client", w.servers["on the node"][0], false, "a.example")
				select {
				case err := <-answer:
					return err
				case <-time.After(100 * time.Millisecond):
					q.accept()
					return errors.Join(errors.New("it waits"), <-answer)
				}
			}).WithTimeout(3 * time.Second).Should(Succeed())
			By("no answers are to wait any more")
			Expect(q.Renew()).To(BeTrue())
			s.Answers = nil
			sync(s)
			Expect(q.Renew()).To(BeFalse())
			Expect(<-w.ask("app/client", w.servers["on the node"][0], false, "a.example")).To(Succeed())
		})
	}
})

// backendOn makes a backend on a thread in a node's namespace; its calls have to be made there too.
func (p *plane) backendOn(l *lab.Lab, node string) (b dataplane.Backend, err error) {
	err = l.Do(node, func() (err error) {
		b, err = p.backend()
		return err
	})
	return b, err
}
