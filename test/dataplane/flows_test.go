package dataplane

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/clock"

	"github.com/tierwall/tierwall/controllers/agent"
	"github.com/tierwall/tierwall/dataplane"
	"github.com/tierwall/tierwall/dataplane/conntrack"
	"github.com/tierwall/tierwall/dataplane/conntrack/events"
	"github.com/tierwall/tierwall/dataplane/nflog"
	"github.com/tierwall/tierwall/lab"
	records "github.com/tierwall/tierwall/policy/flows"
	"github.com/tierwall/tierwall/policy/index"
	"github.com/tierwall/tierwall/policy/model"
	"github.com/tierwall/tierwall/policy/verdict"
	"github.com/tierwall/tierwall/test/indexes"
)

// ahead is a clock that can be put forward.
type ahead struct {
	clock.RealClock
	by *atomic.Int64
}

func (a ahead) Now() time.Time                  { return a.RealClock.Now().Add(time.Duration(a.by.Load())) }
func (a ahead) Since(t time.Time) time.Duration { return a.Now().Sub(t) }

// recorded is a cluster whose agents record connections.
type recorded struct {
	*cluster
	ahead *atomic.Int64
	// handlers serve what the nodes' agents have recorded, in the order of nodes.
	handlers []http.Handler
}

func record(p *plane, network lab.Network, manifests string) *recorded {
	GinkgoHelper()
	c := &recorded{cluster: &cluster{plane: p, objects: map[model.Ref]runtime.Object{}}, ahead: new(atomic.Int64)}
	list := objects(manifests)
	c.note(list)
	spec, _, err := lab.FromObjects(list)
	Expect(err).NotTo(HaveOccurred())
	spec.Network = network
	c.lab, err = lab.New(context.Background(), spec)
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(func() { Expect(c.lab.Close()).To(Succeed()) })
	for _, n := range nodes {
		Expect(c.lab.Do(n, func() error {
			return os.WriteFile("/proc/sys/net/netfilter/nf_conntrack_acct", []byte("1"), 0)
		})).To(Succeed())
	}
	c.change = func(o *agent.Options) (func(*agent.Agent), error) {
		node := o.Node
		o.Flows = &agent.FlowsOptions{Always: true, Clock: ahead{by: c.ahead}, Open: func() (r events.Reader, err error) {
			err = c.lab.Do(node, func() error { r, err = events.New(); return err })
			return r, err
		}, OpenDenied: func() (r nflog.Reader, err error) {
			err = c.lab.Do(node, func() error { r, err = nflog.New(dataplane.DeniedGroup, nil); return err })
			return r, err
		}}
		return func(a *agent.Agent) { c.handlers = append(c.handlers, a.Flows()) }, nil
	}
	c.run()
	DeferCleanup(func() { c.halt() })
	for _, h := range c.handlers {
		Eventually(func() int { return get(h, "/flows/v1/rules").Code }).Should(Equal(http.StatusOK))
	}
	return c
}

func get(h http.Handler, path string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
	return w
}

// end has all connections end, as the nodes' kernels see them.
func (c *recorded) end() {
	GinkgoHelper()
	for _, node := range nodes {
		var table *conntrack.Kernel
		Expect(c.lab.Do(node, func() (err error) { table, err = conntrack.New(); return err })).To(Succeed())
		var list []*conntrack.Entry
		Expect(table.List(context.Background(), func(e *conntrack.Entry) bool { list = append(list, e); return true })).To(Succeed())
		for _, e := range list {
			_, err := table.Delete(context.Background(), e)
			Expect(err).NotTo(HaveOccurred())
		}
		table.Close()
	}
}

// read ends a window, and returns what a node has recorded until the one before.
func (c *recorded) read(g Gomega, n int, query string) []records.Record {
	c.ahead.Add(int64(records.Window))
	w := get(c.handlers[n], "/flows/v1/records?limit=10000"+query)
	g.Expect(w.Code).To(Equal(http.StatusOK), w.Body.String())
	var list records.RecordList
	g.Expect(json.Unmarshal(w.Body.Bytes(), &list)).To(Succeed())
	return list.Items
}

// converse makes connections one after the other, sends so much by each, and returns when
// the other side has all of it.
func converse(l *lab.Lab, from, to string, at netip.AddrPort, connections, bytes int) {
	GinkgoHelper()
	var ln net.Listener
	Expect(l.Do(to, func() (err error) { ln, err = net.Listen("tcp", at.String()); return err })).To(Succeed())
	defer func() { _ = ln.Close() }()
	for range connections {
		var c net.Conn
		Expect(l.Do(from, func() (err error) { c, err = net.DialTimeout("tcp", at.String(), 10*time.Second); return err })).To(Succeed())
		s, err := ln.Accept()
		Expect(err).NotTo(HaveOccurred())
		got := make(chan int64)
		go func() { n, _ := io.Copy(io.Discard, s); got <- n }()
		_, err = c.Write(make([]byte, bytes))
		Expect(err).NotTo(HaveOccurred())
		Expect(c.Close()).To(Succeed())
		Expect(<-got).To(Equal(int64(bytes)))
		_ = s.Close()
	}
}

// explained is what explain says of a flow, with the objects as they are.
func (c *recorded) explained(f model.Flow) model.Decision {
	ix := index.New(index.Options{})
	var list []runtime.Object
	for _, o := range c.objects {
		list = append(list, o)
	}
	indexes.Add(ix, list)
	ix.Flush()
	return verdict.Explain(ix, f).Decision
}

var _ = onEach("Records of what is denied", func(p *plane) {
	for _, network := range []lab.Network{lab.Routed, lab.Bridge} {
		It(fmt.Sprintf("have who, how often and by which policy, as explain says (network %v)", network), SpecTimeout(2*time.Minute), func(SpecContext) {
			const packets = 7
			c := record(p, network, world())
			// The sample is read soon after connections are.
			sent := uint64(0)
			seen := func(g Gomega) (n uint64) {
				for _, r := range c.read(g, 0, "&action=Deny&port="+strconv.Itoa(closedPort)) {
					n += r.Denied
				}
				return n
			}
			Eventually(func(g Gomega) uint64 {
				g.Expect(delivered(c.lab, tcp(intruder, near, closedPort))).To(BeFalse())
				sent++
				return seen(g)
			}).WithPolling(100 * time.Millisecond).Should(BeNumerically(">", 0))
			Eventually(func(g Gomega) { g.Expect(seen(g)).To(Equal(sent)) }).WithPolling(100 * time.Millisecond).Should(Succeed())
			for _, flow := range []model.Flow{tcp(intruder, near, webPort), tcp(intruder6, near6, webPort), udp(client, near, webPort)} {
				want := c.explained(flow)
				Expect(want.Action).To(Equal(model.Deny))
				dir := model.Ingress
				v, denied := want.Deciding(model.Ingress)
				if !denied || v.Action != model.Deny {
					v, _ = want.Deciding(model.Egress)
					dir = model.Egress
				}
				before := uint64(0)
				sum := func(g Gomega) (n uint64) {
					for _, r := range c.read(g, 0, "&action=Deny") {
						if r.Protocol != flow.Protocol || r.Port != webPort || !slices.Contains(r.Source.Addresses, flow.Src) {
							continue
						}
						got := r.Decided.Ingress
						if dir == model.Egress {
							got = r.Decided.Egress
						}
						g.Expect(got).NotTo(BeNil())
						g.Expect([]any{got.Tier, got.Policy, got.Rule}).To(Equal([]any{v.Tier, v.Policy, v.Rule}))
						g.Expect(r.Connections).To(BeZero())
						n += r.Denied
					}
					return n
				}
				if flow.Src == addr(intruder6) { // the same record, with another family's samples
					before = packets
				}
				for range packets {
					Expect(delivered(c.lab, flow)).To(BeFalse())
				}
				Eventually(sum).WithPolling(100 * time.Millisecond).Should(Equal(before + packets))
			}
		})
	}
})

var _ = onEach("Records of connections", func(p *plane) {
	for _, network := range []lab.Network{lab.Routed, lab.Bridge} {
		It(fmt.Sprintf("have each connection once, its bytes and what explain says, before and after a change (network %v)", network), SpecTimeout(2*time.Minute), func(SpecContext) {
			const connections, bytes = 12, 400_000
			c := record(p, network, world())
			type end struct {
				where, name string
				addrs       [2]string
			}
			source := end{"app/client", "app/Pod/client", [2]string{client, client6}}
			targets := []end{{"app/near", "app/Pod/near", [2]string{near, near6}}, {"app/server", "app/Pod/server", [2]string{server, server6}}}
			send := func() {
				for _, t := range targets {
					for family := range t.addrs {
						converse(c.lab, source.where, t.where, join(t.addrs[family], webPort), connections, bytes)
					}
				}
			}
			// decided is what explain says, as far as a node decides.
			decided := func(t end) map[model.Direction]model.Ref {
				out := map[model.Direction]model.Ref{}
				d := c.explained(tcp(source.addrs[0], t.addrs[0], webPort))
				for _, dir := range []model.Direction{model.Egress, model.Ingress} {
					if v, ok := d.Deciding(dir); ok {
						out[dir] = v.Policy
					}
				}
				return out
			}
			send()
			first := []map[model.Direction]model.Ref{decided(targets[0]), decided(targets[1])}
			c.apply(allow("first", "server", "Ingress", "ingress TCP 80 client", "ingress TCP 8888 intruder"))
			becomes(c.lab, tcp(intruder, near, extraPort), true)
			becomes(c.lab, tcp(intruder, server, extraPort), true)
			send()
			second := []map[model.Direction]model.Ref{decided(targets[0]), decided(targets[1])}
			Expect(second[0]).NotTo(Equal(first[0]))

			c.end()
			check := func(g Gomega, n int) {
				list := c.read(g, n, "&from="+source.name)
				for i, t := range targets {
					if i == 0 && n == 1 {
						continue // it never saw them
					}
					sums := map[model.Ref]uint64{}
					var began, ended, sent uint64
					for _, r := range list {
						if r.Destination.Name() != t.name || r.Port != webPort {
							continue
						}
						began, ended = began+r.Connections.New, ended+r.Connections.Closed
						if r.Sent != nil {
							sent += r.Sent.Bytes
						}
						g.Expect(r.Decided.Action).To(Equal(model.Allow))
						if v := r.Decided.Egress; v != nil && v.Reason == model.ReasonRule {
							g.Expect(v.Policy).To(Equal(first[i][model.Egress]))
						}
						if v := r.Decided.Ingress; v != nil && v.Reason == model.ReasonRule {
							sums[v.Policy] += r.Connections.New
						}
					}
					all := uint64(2 * 2 * connections)
					where := t.name + " on " + nodes[n]
					g.Expect(began).To(Equal(all), "%s: %+v", where, list)
					g.Expect(ended).To(Equal(all), where)
					g.Expect(float64(sent)).To(BeNumerically("~", float64(all*bytes), float64(all*bytes)/100), where)
					if n == i { // the node of the receiver decides ingress
						g.Expect(sums).To(Equal(map[model.Ref]uint64{first[i][model.Ingress]: all / 2, second[i][model.Ingress]: all / 2}), where)
					}
				}
			}
			for n := range nodes {
				Eventually(check).WithPolling(100 * time.Millisecond).WithArguments(n).Should(Succeed())
				for range 3 { // and no more than once
					c.read(Default, n, "")
				}
				Eventually(check).WithPolling(100 * time.Millisecond).WithArguments(n).Should(Succeed())
			}
		})
	}
})
