package dataplane

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"golang.org/x/net/dns/dnsmessage"

	"github.com/tierwall/tierwall/lab"
	"github.com/tierwall/tierwall/test/dns"
)

// The blocks of the addresses that names of the lab's DNS servers have.
var (
	farAway  = netip.MustParsePrefix("198.18.0.0/15")
	farAway6 = netip.MustParsePrefix("2001:db8:1::/64")
)

// namesPolicy lets clients ask and reach what answers to some names, and no more.
func namesPolicy(domains ...string) string {
	return fmt.Sprintf(`---
apiVersion: tierwall.io/v1alpha1
kind: GlobalNetworkPolicy
metadata: {name: names}
spec:
  tier: platform
  order: 10
  selector: role == 'client'
  types: [Egress]
  egress:
  - {action: Allow, protocol: UDP, destination: {ports: [53]}}
  - {action: Allow, protocol: TCP, destination: {ports: [53]}}
  - {action: Allow, protocol: TCP, destination: {domains: ["%s"], ports: [443]}}
`, strings.Join(domains, `", "`))
}

// namesWorld is a folder for n1's agent: the client may reach names, other pods all.
func (w *dnsWorld) folder() string {
	GinkgoHelper()
	dir := GinkgoT().TempDir()
	var servers []string
	for _, a := range w.answers.Servers {
		servers = append(servers, fmt.Sprintf("%q", a))
	}
	slices.Sort(servers)
	put(dir, "world.yaml", node(1)+node(2)+namespace+tier+
		pod("client", "client", 1, client, client6)+pod("here", "elsewhere", 1, "10.1.1.12", "fd00:1:1::12")+pod("near", "server", 1, near, near6)+
		fmt.Sprintf(`---
apiVersion: tierwall.io/v1alpha1
kind: Tierwall
metadata: {name: default}
spec: {dns: {trustedServers: [%s]}}
`, strings.Join(servers, ", ")))
	put(dir, "names.yaml", namesPolicy("*.small.example", "*.large.example"))
	return dir
}

// beyond has a host outside answer at port 443 of all addresses of names.
func (w *dnsWorld) beyond() {
	GinkgoHelper()
	script := func(where, text string) {
		out, err := w.Command(where, "sh", "-ec", text).CombinedOutput()
		Expect(err).NotTo(HaveOccurred(), string(out))
	}
	script(lab.Wire, `
r=$(ip -4 route get `+outside+`); dev=$(echo $r | sed -n 's/.*dev \([^ ]*\).*/\1/p'); ip route add `+farAway.String()+` via 169.254.1.2 dev $dev onlink
r=$(ip -6 route get `+outside6+`); dev=$(echo $r | sed -n 's/.*dev \([^ ]*\).*/\1/p'); ip -6 route add `+farAway6.String()+` via fe80::2 dev $dev onlink`)
	script("out", "ip route add local "+farAway.String()+" dev lo; ip -6 route add local "+farAway6.String()+" dev lo")
	Expect(w.Do("out", func() error {
		ln, err := net.Listen("tcp", ":443")
		if err != nil {
			return err
		}
		DeferCleanup(ln.Close)
		go func() {
			for {
				c, err := ln.Accept()
				if err != nil {
					return
				}
				_ = c.Close()
			}
		}()
		return nil
	})).To(Succeed())
}

// race asks for names from the client, and connects at once.
func (w *dnsWorld) race(server netip.AddrPort, tcp, connect bool, timeout time.Duration, list []string) (dns.Score, error) {
	return w.raceFrom("app/client", server, tcp, connect, timeout, list)
}

// raceFrom is race from another pod.
func (w *dnsWorld) raceFrom(where string, server netip.AddrPort, tcp, connect bool, timeout time.Duration, list []string) (s dns.Score, err error) {
	r := dns.Race{Type: dnsmessage.TypeA, Patience: 900 * time.Millisecond}
	if server.Addr().Is6() {
		r.Type = dnsmessage.TypeAAAA
	}
	if connect {
		r.Port = 443
	}
	err = w.Do(where, func() error {
		c, err := dns.Dial(server, dns.Options{TCP: tcp, Room: 4096, Timeout: timeout})
		if err != nil {
			return err
		}
		if s, err = r.Run(c, list); err != nil {
			return err
		}
		return c.Close()
	})
	return s, err
}

// numbered are names that nobody has asked for.
func numbered(next *int, n int, zone string) (out []string) {
	for range n {
		out = append(out, fmt.Sprintf("%d.%s.example", *next, zone))
		*next++
	}
	return out
}

func numberedZone() dns.Zone {
	small := dns.Numbered(30, farAway, farAway6)
	return dns.Zone{
		"*.small.example": small, "*.large.example": dns.Padded(3900, small),
		"*.chain.small.example": dns.Chain(10, small), "*.truncated.small.example": dns.Truncated(small),
	}
}

var _ = onEach("Rules by name", func(p *plane) {
	for name, network := range map[string]lab.Network{"routed": lab.Routed, "bridged": lab.Bridge} {
		It("lose no first packet after an answer ("+name+")", SpecTimeout(4*time.Minute), func(SpecContext) {
			w := bringDNS(network, numberedZone())
			w.beyond()
			a := p.launch(w.Lab, "n1", w.folder(), "--metrics-addr", agentMetrics)
			a.ready()
			Eventually(func() int { return a.said("DNS answers wait") }).Should(BeNumerically(">", 0), func() string { return a.log.String() })
			DeferCleanup(func() {
				if CurrentSpecReport().Failed() {
					GinkgoWriter.Println(a.log.String())
				}
			})
			next := 1
			var total dns.Score
			for kind, at := range w.servers {
				for family, server := range at {
					for _, tcp := range []bool{false, true} {
						for _, zone := range []string{"small", "large", "chain.small"} {
							what := fmt.Sprintf("%s, family %d, TCP %v, %s", kind, family, tcp, zone)
							s, err := w.race(server, tcp, true, 3*time.Second, numbered(&next, 20, zone))
							Expect(err).NotTo(HaveOccurred(), what)
							for i := range s.Wrong {
								s.Wrong[i] = what + ": " + s.Wrong[i]
							}
							total.Add(s)
						}
					}
				}
			}
			w.losesNoneHeld("n1", &total)
			By("what no rule allows stays denied")
			_, err := w.connect("198.18.250.250")
			Expect(err).To(HaveOccurred())
		})
	}

	It("take answers of all kinds", SpecTimeout(3*time.Minute), func(SpecContext) {
		var rotating []netip.Addr
		for i := range 500 {
			rotating = append(rotating, dns.Nth(farAway, uint32(60_000+i)))
		}
		zone := numberedZone()
		zone["rotating.small.example"] = dns.Rotate(0, 8, rotating...)
		zone["nothing.small.example"] = dns.NoSuchName
		zone["inside.small.example"] = dns.Addrs(30, addr("10.1.1.12"))
		w := bringDNS(lab.Routed, zone)
		w.beyond()
		a := p.launch(w.Lab, "n1", w.folder())
		a.ready()
		Eventually(func() int { return a.said("DNS answers wait") }).Should(BeNumerically(">", 0), func() string { return a.log.String() })
		server, next := w.servers["behind a Service on another node"][0], 1
		all := func(what string, tcp bool, list []string) dns.Score {
			GinkgoHelper()
			s, err := w.race(server, tcp, true, 3*time.Second, list)
			Expect(err).NotTo(HaveOccurred(), what)
			Expect([]int{s.Asked - s.Answered, s.Lost, s.Failed}).To(Equal([]int{0, 0, 0}), what)
			return s
		}
		By("addresses that rotate, of no time to live")
		all("rotating", false, slices.Repeat([]string{"rotating.small.example"}, 70))
		By("upper case at random")
		var mixed []string
		for i, name := range numbered(&next, 50, "small") {
			if i%2 == 0 {
				name = strings.ToUpper(name)
			}
			mixed = append(mixed, name)
		}
		all("0x20", false, mixed)
		By("a name that does not exist, and one that leads inside")
		s, err := w.race(server, false, false, 3*time.Second, []string{"nothing.small.example", "inside.small.example"})
		Expect(err).NotTo(HaveOccurred())
		Expect(s.Answered).To(Equal(2))
		_, err = w.connect("10.1.1.12")
		Expect(err).To(HaveOccurred())
		By("truncated, then over TCP")
		list := numbered(&next, 10, "truncated.small")
		s, err = w.race(server, false, false, 3*time.Second, list)
		Expect(err).NotTo(HaveOccurred())
		Expect(s.Answered).To(Equal(10))
		all("truncated", true, list)
		By("a flood of names of a wildcard")
		s, err = w.race(server, false, false, 3*time.Second, numbered(&next, 3000, "small"))
		Expect(err).NotTo(HaveOccurred())
		Expect(s.Answered).To(Equal(3000))
		all("after the flood", false, numbered(&next, 20, "large"))
	})

	It("print what waiting costs", SpecTimeout(3*time.Minute), func(SpecContext) {
		w := bringDNS(lab.Routed, numberedZone())
		dir := w.folder()
		a := p.launch(w.Lab, "n1", dir)
		a.ready()
		Eventually(func() int { return a.said("DNS answers wait") }).Should(BeNumerically(">", 0), func() string { return a.log.String() })
		server, next := w.servers["behind a Service on the node"][0], 1
		measure := func(where string, clients, each int) string {
			GinkgoHelper()
			var mu sync.Mutex
			var wg sync.WaitGroup
			var total dns.Score
			began := time.Now()
			for range clients {
				list := numbered(&next, each, "small")
				wg.Go(func() {
					defer GinkgoRecover()
					s, err := w.raceFrom(where, server, false, false, 3*time.Second, list)
					Expect(err).NotTo(HaveOccurred())
					mu.Lock()
					defer mu.Unlock()
					total.Add(s)
				})
			}
			wg.Wait()
			Expect(total.Answered).To(Equal(clients * each))
			return fmt.Sprintf("%d clients: median %v, p99 %v, %.0f answers a second", clients, total.Percentile(50), total.Percentile(99), float64(total.Answered)/time.Since(began).Seconds())
		}
		for _, clients := range []int{1, 16} {
			GinkgoWriter.Println("without rules by name:", measure("app/here", clients, 1600/clients))
			GinkgoWriter.Println("answers wait:         ", measure("app/client", clients, 1600/clients))
		}
	})

	It("outlive their agent", SpecTimeout(3*time.Minute), func(SpecContext) {
		w := bringDNS(lab.Routed, numberedZone())
		w.beyond()
		dir, state := w.folder(), GinkgoT().TempDir()
		launch := func() *process {
			a := p.launch(w.Lab, "n1", dir, "--state-dir", state)
			a.ready()
			Eventually(func() int { return a.said("DNS answers wait") }).Should(BeNumerically(">", 0), func() string { return a.log.String() })
			return a
		}
		a := launch()
		server, next := w.servers["behind a Service on another node"][0], 1
		first, err := w.race(server, false, true, 3*time.Second, numbered(&next, 50, "small"))
		Expect(err).NotTo(HaveOccurred())
		Expect([]int{first.Answered, first.Lost, first.Failed}).To(Equal([]int{50, 0, 0}))
		// under load, so that something is under way: of another wildcard, which may be full then
		load := func(during func()) (lost int) {
			GinkgoHelper()
			var mu sync.Mutex
			var wg sync.WaitGroup
			stop := make(chan struct{})
			for range 4 {
				wg.Go(func() {
					defer GinkgoRecover()
					for {
						select {
						case <-stop:
							return
						default:
						}
						mu.Lock()
						list := numbered(&next, 20, "large")
						mu.Unlock()
						s, err := w.race(server, false, false, 300*time.Millisecond, list)
						Expect(err).NotTo(HaveOccurred())
						mu.Lock()
						lost += s.Asked - s.Answered
						mu.Unlock()
					}
				})
			}
			during()
			close(stop)
			wg.Wait()
			return lost
		}
		By("killed")
		Expect(load(func() { time.Sleep(200 * time.Millisecond); a.kill(); time.Sleep(500 * time.Millisecond) })).To(BeNumerically("<=", 16))
		By("while there is none")
		s, err := w.race(server, false, false, time.Second, numbered(&next, 50, "small"))
		Expect(err).NotTo(HaveOccurred())
		Expect(s.Answered).To(Equal(50))
		_, err = w.connect("198.18.0.7") // learnt before
		Expect(err).NotTo(HaveOccurred())
		By("started again")
		a = launch()
		_, err = w.connect("198.18.0.7")
		Expect(err).NotTo(HaveOccurred())
		By("ended")
		Expect(load(func() {
			time.Sleep(200 * time.Millisecond)
			Expect(a.Process.Signal(syscall.SIGTERM)).To(Succeed())
			_ = a.Wait()
			time.Sleep(200 * time.Millisecond)
		})).To(BeZero())
		By("halted")
		a = launch()
		lost := load(func() { a.halted(func() { time.Sleep(2500 * time.Millisecond) }) })
		GinkgoWriter.Println(lost, "answers lost to an agent that was halted for 2.5 s")
		// Answers wait again as soon as the agent has renewed the switch.
		Eventually(func() (int, error) {
			s, err := w.race(server, false, true, time.Second, numbered(&next, 1, "small"))
			return s.Answered - s.Lost - s.Failed, err
		}).Should(Equal(1))
		s, err = w.race(server, false, true, 3*time.Second, numbered(&next, 50, "small"))
		Expect(err).NotTo(HaveOccurred())
		Expect([]int{s.Answered, s.Failed}).To(Equal([]int{50, 0}))
		By("the rule goes")
		put(dir, "names.yaml", namesPolicy("other.example"))
		Eventually(func() error { _, err := w.connect("198.18.0.7"); return err }).Should(HaveOccurred())
	})
})

// connect opens a connection from the client.
func (w *dnsWorld) connect(to string) (again int, err error) {
	err = w.Do("app/client", func() (err error) {
		again, err = dns.Connect(netip.AddrPortFrom(addr(to), 443), 500*time.Millisecond)
		return err
	})
	return again, err
}
