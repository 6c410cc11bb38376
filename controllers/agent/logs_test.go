package agent

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/tierwall/tierwall/dataplane"
	"github.com/tierwall/tierwall/dataplane/fake"
	"github.com/tierwall/tierwall/dataplane/nflog"
	"github.com/tierwall/tierwall/policy/model"
)

// naming is a backend that names rules by the number behind "rule-", or "tenant-" for
// those of a policy in a namespace.
type naming struct{ *fake.Backend }

var _ Namer = naming{}

func (naming) Origin(prefix string) (dataplane.Origin, bool) {
	var n int
	policy := ref("GlobalNetworkPolicy/watch")
	if _, err := fmt.Sscanf(prefix, "tenant-%d", &n); err == nil {
		policy = ref("NetworkPolicy.tierwall.io/shop/watch")
	} else if _, err := fmt.Sscanf(prefix, "rule-%d", &n); err != nil {
		return dataplane.Origin{}, false
	}
	return dataplane.Origin{
		Tier: "security", Policy: policy, Direction: model.Ingress, Rule: model.RuleIndex(n), Action: model.Log,
	}, true
}

// page is a writer that a test can read.
type page struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (p *page) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.buf.Write(b)
}

func (p *page) lines() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.FieldsFunc(p.buf.String(), func(r rune) bool { return r == '\n' })
}

// logRig is an agent that logs packets.
type logRig struct {
	*rig
	packets *nflog.Fake
	page    *page
	heard   []string // of the agent's log
}

func newLogRig() *logRig {
	GinkgoHelper()
	l := &logRig{packets: nflog.NewFake(), page: &page{}}
	l.rig = newRig(func(o *Options) {
		o.Backend, o.Logs, o.Lines = naming{o.Backend.(*fake.Backend)}, l.packets, l.page
	})
	return l
}

// start starts the agent with a small world and the settings given.
func (l *logRig) start(spec string) *logRig {
	GinkgoHelper()
	l.run()
	l.to.Update(objects(join(small, tierwall(spec))), nil)
	l.to.Synced()
	l.next()
	return l
}

const hostEndpoint = `
apiVersion: tierwall.io/v1alpha1
kind: HostEndpoint
metadata: {name: node}
spec: {node: node, interfaceName: eth0}
---
apiVersion: tierwall.io/v1alpha1
kind: HostEndpoint
metadata: {name: other}
spec: {node: other, expectedIPs: [192.0.2.7]}
`

func tierwall(spec string) string {
	return "apiVersion: tierwall.io/v1alpha1\nkind: Tierwall\nmetadata: {name: default}\nspec: {logging: {" + spec + "}}"
}

func (l *logRig) counter(c *prometheus.CounterVec, rule string) float64 {
	return testutil.ToFloat64(c.WithLabelValues("security", "GlobalNetworkPolicy/watch", "ingress", rule))
}

func (l *logRig) counted(rule string) func() []float64 {
	return func() []float64 {
		return []float64{l.counter(l.Agent.logs.packets, rule), l.counter(l.Agent.logs.suppressed, rule)}
	}
}

func logged(prefix string, port uint16) *nflog.Packet {
	return &nflog.Packet{
		Prefix: prefix, Hook: nflog.Forward, In: "veth1", Out: "eth0", Protocol: model.TCP, Length: 60,
		Src: netip.MustParseAddr("10.0.0.1"), Dst: netip.MustParseAddr("10.0.0.2"), SrcPort: 40000, DstPort: port,
	}
}

var _ = Describe("logged packets", func() {
	It("are lines that name the rule", func() {
		l := newLogRig().start("")
		l.packets.Send(logged("rule-3 of a policy", 80))
		Eventually(l.page.lines).Should(HaveLen(1))
		var line map[string]any
		Expect(json.Unmarshal([]byte(l.page.lines()[0]), &line)).To(Succeed())
		Expect(line).To(Equal(map[string]any{
			"time": "2026-01-02T03:04:05Z", "level": "INFO", "msg": "packet", "node": "node",
			"tier": "security", "policy": "GlobalNetworkPolicy/watch", "direction": "ingress", "rule": "3", "action": "Log",
			"protocol": "TCP", "source": "10.0.0.1", "sourceName": "Pod/shop/web", "sourcePort": 40000.0,
			"destination": "10.0.0.2", "destinationName": "Pod/shop/db", "destinationPort": 80.0,
			"hook": "forward", "in": "veth1", "out": "eth0", "length": 60.0,
		}))
		Expect(l.counted("3")()).To(Equal([]float64{1, 0}))
	})

	It("are text if the settings say so, at once when they change, without a transaction", func() {
		l := newLogRig().start("")
		l.to.Update(objects(tierwall("format: Text")), nil)
		Eventually(func() bool { return l.Agent.logs.asText.Load() }).Should(BeTrue())
		l.packets.Send(logged("rule-3", 80))
		Eventually(l.page.lines).Should(ConsistOf("time=2026-01-02T03:04:05.000Z level=INFO msg=packet node=node tier=security " +
			"policy=GlobalNetworkPolicy/watch direction=ingress rule=3 action=Log protocol=TCP source=10.0.0.1 sourceName=Pod/shop/web sourcePort=40000 " +
			"destination=10.0.0.2 destinationName=Pod/shop/db destinationPort=80 hook=forward in=veth1 out=eth0 length=60"))
		Expect(l.backend.Done).NotTo(Receive())
	})

	It("say what they have, and leave out what they have not", func() {
		l := newLogRig().start("format: Text")
		l.packets.Send(
			&nflog.Packet{Prefix: "rule-0", Protocol: model.ICMPv6, Src: netip.MustParseAddr("2001:db8::1"), Dst: netip.MustParseAddr("2001:db8::2"), HasICMP: true, ICMPType: 128, Hook: nflog.Input, Length: 64},
			&nflog.Packet{Prefix: "rule-0", Protocol: model.UDP, Src: netip.MustParseAddr("10.0.0.1"), Dst: netip.MustParseAddr("10.0.0.2"), Fragment: true, Length: 1500},
			&nflog.Packet{Prefix: "rule-0"})
		Eventually(l.page.lines).Should(HaveLen(3))
		Expect(l.page.lines()[0]).To(HaveSuffix("rule=0 action=Log protocol=ICMPv6 source=2001:db8::1 destination=2001:db8::2 icmpType=128 icmpCode=0 hook=input length=64"))
		Expect(l.page.lines()[1]).To(HaveSuffix("rule=0 action=Log protocol=UDP source=10.0.0.1 sourceName=Pod/shop/web destination=10.0.0.2 destinationName=Pod/shop/db fragment=true hook=prerouting length=1500"))
		Expect(l.page.lines()[2]).To(HaveSuffix("rule=0 action=Log hook=prerouting length=0"))
	})

	It("name whose an address is now", func() {
		l := newLogRig().start("")
		ask := func(addr string) string { return l.nameOf(netip.MustParseAddr(addr)) }
		Expect(ask("10.0.0.1")).To(Equal("Pod/shop/web"))
		Expect(ask("192.0.2.1")).To(Equal("Node/node"))
		Expect(ask("203.0.113.1")).To(BeEmpty())
		l.to.Update(objects(join(pod("new", "10.0.0.1"), hostEndpoint)), []model.Ref{ref("Pod/shop/web")})
		l.next()
		Expect(ask("10.0.0.1")).To(Equal("Pod/shop/new"))
		Expect(ask("192.0.2.1")).To(Equal("Node/node"), "its host endpoint has the address too")
		Expect(ask("192.0.2.7")).To(Equal("HostEndpoint/other"))
	})

	It("go to the agent's log where there is no other place", func() {
		packets := nflog.NewFake()
		r := settled(func(o *Options) { o.Backend, o.Logs = naming{o.Backend.(*fake.Backend)}, packets })
		packets.Send(logged("rule-3", 80))
		Eventually(r.logs.lines).Should(Receive(ContainSubstring("policy=GlobalNetworkPolicy/watch")))
	})

	It("have no more lines per second and rule than the settings say, and the rest is said", func() {
		l := newLogRig().start("ratePerRule: 3, format: Text")
		for i := range 40 {
			l.packets.Send(logged("rule-1", uint16(i+1)))
		}
		l.packets.Send(logged("rule-2", 99)) // which has lines of its own
		Eventually(l.counted("2")).Should(Equal([]float64{1, 0}))
		Expect(l.counted("1")()).To(Equal([]float64{40, 37}))
		Expect(l.page.lines()).To(HaveLen(4))

		l.step(999 * time.Millisecond)
		Consistently(l.page.lines, "50ms").Should(HaveLen(4))
		l.step(time.Millisecond)
		Eventually(l.page.lines).Should(HaveLen(5))
		Expect(l.page.lines()[4]).To(HaveSuffix(`msg="37 more suppressed" node=node tier=security policy=GlobalNetworkPolicy/watch direction=ingress rule=1 action=Log suppressed=37`))

		By("another second")
		l.packets.Send(logged("rule-1", 1))
		Eventually(l.page.lines).Should(HaveLen(6))
		l.step(2 * time.Second)
		l.packets.Send(logged("rule-2", 1))
		Eventually(l.page.lines).Should(HaveLen(7), "one packet alone leaves nothing to say")
	})

	It("have no lines at a rate of 0, and are counted", func() {
		l := newLogRig().start("ratePerRule: 0")
		l.packets.Send(logged("rule-1", 1), logged("rule-1", 2))
		Eventually(l.counted("1")).Should(Equal([]float64{2, 2}))
		l.step(2 * time.Second)
		l.packets.Send(logged("rule-1", 3))
		Eventually(l.counted("1")).Should(Equal([]float64{3, 3}))
		Expect(l.page.lines()).To(BeEmpty())
	})

	It("are no more lines than the node has, however many rules there are, and namespaces have half of them", func() {
		l := newLogRig().start("format: Text, ratePerRule: 100, ratePerNode: 10")
		for i := range 20 {
			l.packets.Send(logged(fmt.Sprintf("tenant-%d", i), 80))
		}
		Eventually(l.page.lines).Should(HaveLen(5))
		for i := range 20 {
			l.packets.Send(logged(fmt.Sprintf("rule-%d", i), 80))
		}
		Eventually(l.page.lines).Should(HaveLen(10))
		Eventually(l.counted("19")).Should(Equal([]float64{1, 1}))
		l.clock.Step(logWindow)
		Eventually(l.page.lines).Should(HaveLen(11))
		Expect(l.page.lines()[10]).To(HaveSuffix(`msg="30 more suppressed by spec.logging.ratePerNode" node=node suppressed=30`))
	})

	It("say what was suppressed when the agent ends", func() {
		l := newLogRig().start("ratePerRule: 1")
		l.packets.Send(logged("rule-1", 1), logged("rule-1", 2))
		Eventually(l.counted("1")).Should(Equal([]float64{2, 1}))
		l.cancel()
		Eventually(l.over).Should(BeClosed())
		Expect(l.page.lines()).To(HaveLen(2))
		Expect(l.page.lines()[1]).To(ContainSubstring("1 more suppressed"))
	})

	It("wait for the name of their rule while a transaction is under way, and others pass them", func() {
		l := newLogRig()
		gate, busy := make(chan struct{}), make(chan struct{}, 100)
		first := true
		l.backend.Before = func(fake.Op, *dataplane.State) error {
			if first {
				first = false
				return nil
			}
			busy <- struct{}{}
			<-gate
			return nil
		}
		l.start("")
		l.packets.Send(logged("rule-1", 1))
		Eventually(l.page.lines).Should(HaveLen(1))
		l.to.Update(objects(pod("p1", "10.0.0.11")), nil)
		Eventually(busy).Should(Receive())
		l.packets.Send(logged("rule-2", 2), logged("rule-2", 3), logged("rule-1", 4))
		Eventually(l.page.lines).Should(HaveLen(2))
		close(gate)
		Eventually(l.page.lines).Should(HaveLen(4))
		for i, port := range []int{1, 4, 2, 3} {
			Expect(l.page.lines()[i]).To(ContainSubstring(fmt.Sprintf(`"destinationPort":%d,`, port)))
		}
	})

	It("have their prefix where nobody knows the rule any more, and no waiting without end", func() {
		l := newLogRig()
		l.run() // and not in sync
		for i := range waitMany + 1 {
			l.packets.Send(logged(fmt.Sprintf("c-%d GlobalNetworkPolicy/gone ingress 0", i), 1))
		}
		Eventually(l.page.lines).Should(HaveLen(1))
		Expect(l.page.lines()[0]).To(ContainSubstring(`"logPrefix":"GlobalNetworkPolicy/gone ingress 0","action":"Log"`))
		l.to.Update(objects(join(small, tierwall("ratePerNode: 10000"))), nil)
		l.to.Synced()
		Eventually(l.page.lines).Should(HaveLen(waitMany + 1))
		Expect(testutil.ToFloat64(l.Agent.logs.packets.WithLabelValues("", "unknown", "", ""))).To(Equal(waitMany + 1.0))
	})

	It("are no metrics of a policy that is gone", func() {
		l := newLogRig().start("")
		l.to.Update(objects(allowTo("watch", "db", 1)), nil)
		l.next()
		l.packets.Send(logged("rule-1", 1))
		Eventually(func() int { return testutil.CollectAndCount(l.Agent.logs.packets) }).Should(Equal(1))
		l.to.Update(nil, []model.Ref{ref("GlobalNetworkPolicy/watch")})
		Eventually(func() int { return testutil.CollectAndCount(l.Agent.logs.packets) }).Should(BeZero())
		Expect(testutil.CollectAndCount(l.Agent.logs.suppressed)).To(BeZero())

		By("coming back")
		l.packets.Send(logged("rule-1", 1))
		Eventually(l.counted("1")).Should(Equal([]float64{1, 0}))
	})

	It("warn once where there are none, and are tried again", func() {
		l := newLogRig().start("")
		for range 3 {
			runs := l.packets.Runs()
			l.packets.Fail(errors.New("no such thing"))
			Eventually(func() int { l.step(10 * time.Second); return l.packets.Runs() }).Should(Equal(runs + 1))
		}
		l.packets.Send(logged("rule-1", 1))
		Eventually(l.page.lines).Should(HaveLen(1))
		Expect(l.said("Log rules write no lines")).To(Equal(1))
		Eventually(func() error { return l.Ready() }).Should(Succeed())

		By("losing packets")
		l.packets.Lose(7)
		l.step(time.Second)
		Eventually(func() int { return l.said("lost=7") }).Should(Equal(1))
		Expect(testutil.CollectAndCompare(l.Agent.logs.lost, strings.NewReader(`
# HELP tierwall_logged_packets_lost_total Packets that Log rules have matched and that the kernel could not hand over, because they came faster than they were read.
# TYPE tierwall_logged_packets_lost_total counter
tierwall_logged_packets_lost_total 7
`))).To(Succeed())
	})

	It("have their metrics among the agent's", func() {
		l := newLogRig().start("")
		l.packets.Send(logged("rule-1", 1))
		Eventually(l.page.lines).Should(HaveLen(1))
		registry := prometheus.NewPedanticRegistry()
		Expect(registry.Register(l.Agent)).To(Succeed())
		Expect(testutil.GatherAndCount(registry, "tierwall_logged_packets_total", "tierwall_logged_packets_lost_total")).To(Equal(2))
	})
})

// step moves the clock on.
func (l *logRig) step(d time.Duration) { l.clock.Step(d) }

// said counts the lines of the agent's log so far that hold a text.
func (l *logRig) said(text string) int {
	n := 0
	for {
		select {
		case line := <-l.rig.logs.lines:
			l.heard = append(l.heard, line)
			continue
		default:
		}
		break
	}
	for _, line := range l.heard {
		if strings.Contains(line, text) {
			n++
		}
	}
	return n
}
