package bench

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tierwall/tierwall/api/selector"
	"github.com/tierwall/tierwall/controllers/agent/flows"
	"github.com/tierwall/tierwall/dataplane"
	"github.com/tierwall/tierwall/dataplane/links"
	"github.com/tierwall/tierwall/lab"
	"github.com/tierwall/tierwall/policy/index"
	"github.com/tierwall/tierwall/policy/model"
)

// pair is a node of the lab with a client and a server, and what is programmed
// on the node.
type pair struct {
	name  string
	plane *plane // nil: none
	// feed gives the index the policies of the server; nil: no rules, or those by hand.
	feed   func(ix *index.Index, client netip.Addr)
	script string // that makes rules by hand
	// unguarded turns all guards off, and leaves out what the node's kernel reports of its interfaces.
	unguarded bool
	// barred is how many flows of others are in the bar.
	barred int
	// recorded says that the node's connections are, by recorder.
	recorded bool
	recorder *flows.Recorder
	// beside: another pod of the node has rules by name, and DNS answers to it wait.
	beside bool
	// missing says that the node could not be programmed in time.
	missing bool

	node, clientAt, serverAt string
	client, server           netip.Addr
	listener                 int // the server's socket
}

const serverPort = 8080

var server = selector.Equal("app", "server")

// byPeer is n rules of distinct peers, the client the last of them.
func byPeer(n int) func(*index.Index, netip.Addr) {
	return func(ix *index.Index, client netip.Addr) {
		rules := make([]model.Rule, n)
		for i := range rules {
			block := netip.PrefixFrom(netip.AddrFrom4([4]byte{20, byte(i >> 8), byte(i), 0}), 28)
			if i == n-1 {
				block = netip.PrefixFrom(client, 30).Masked()
			}
			rules[i] = allow(i, model.Peer{Nets: []netip.Prefix{block}}, serverPort)
		}
		ix.Upsert(ingress("rules", 10, server, rules...))
	}
}

// bySet is n rules of distinct sets of three addresses, the client in the last of them.
func bySet(n int) func(*index.Index, netip.Addr) {
	return func(ix *index.Index, client netip.Addr) {
		rules := make([]model.Rule, n)
		for i := range rules {
			ix.Upsert(someSet(i, n, client))
			rules[i] = allow(i, from(selector.Equal("set", "set-"+strconv.Itoa(i))), serverPort)
		}
		ix.Upsert(ingress("rules", 10, server, rules...))
	}
}

func someSet(i, n int, client netip.Addr) *model.NetworkSet {
	nets := make([]netip.Prefix, 3)
	for j := range nets {
		nets[j] = netip.PrefixFrom(netip.AddrFrom4([4]byte{20, byte(i >> 8), byte(i), byte(j)}), 32)
	}
	if i == n-1 {
		nets[0] = netip.PrefixFrom(client, 32)
	}
	return networkSet("set-"+strconv.Itoa(i), nets)
}

// byPort is n rules of distinct ports for one peer, the server's the last of them.
func byPort(n int) func(*index.Index, netip.Addr) {
	return func(ix *index.Index, client netip.Addr) {
		rules := make([]model.Rule, n)
		for i := range rules {
			rules[i] = allow(i, model.Peer{Nets: []netip.Prefix{netip.PrefixFrom(client, 32)}}, serverPort+1+i)
		}
		rules[n-1].Match.Destination.Ports[0] = model.Port{First: serverPort, Last: serverPort}
		ix.Upsert(ingress("rules", 10, server, rules...))
	}
}

// byPolicy is n policies of a rule each, the last of which lets the client in.
func byPolicy(n int) func(*index.Index, netip.Addr) {
	return func(ix *index.Index, client netip.Addr) {
		for i := range n {
			ix.Upsert(someSet(i, n, client))
			ix.Upsert(ingress(fmt.Sprintf("policy-%05d", i), 10, server, allow(0, from(selector.Equal("set", "set-"+strconv.Itoa(i))), serverPort)))
		}
	}
}

// onPlanes are pairs on each data plane.
func onPlanes(name string, feed func(*index.Index, netip.Addr)) []*pair {
	var out []*pair
	for _, p := range planes {
		out = append(out, &pair{name: name, plane: p, feed: feed})
	}
	return out
}

// noRules and tracks are what others are compared with.
const (
	noRules = "no rules"
	tracks  = "one rule that tracks and accepts"
)

// trackers are pairs whose nodes track connections and do no more.
func trackers() []*pair {
	out := onPlanes(tracks, nil)
	for _, p := range out {
		p.script = p.plane.tracking
	}
	return out
}

// column is where the pair's figures stand.
func (p *pair) column() Column {
	if p.plane == nil {
		return NoRules
	}
	return p.plane.column
}

// unguarded are pairs without guards.
func unguarded(pairs []*pair) []*pair {
	for _, p := range pairs {
		p.unguarded = true
	}
	return pairs
}

// hooksOf are pairs without guards whose nodes have the guards' hooks, with nothing in
// them: what guards there cost at least.
func hooksOf(network lab.Network, pairs []*pair) []*pair {
	for _, p := range unguarded(pairs) {
		p.script = p.plane.hooks
		if network == lab.Bridge {
			p.script += "\n" + p.plane.bridgeHooks
		}
	}
	return pairs
}

// besideBarred are pairs whose nodes have n flows in the bar.
func besideBarred(n int, pairs []*pair) []*pair {
	for _, p := range pairs {
		p.barred = n
	}
	return pairs
}

// newPairs brings up a node for each pair and programs it.
func newPairs(b *testing.B, network lab.Network, pairs []*pair) *lab.Lab {
	b.Helper()
	need(b)
	spec := lab.Spec{Network: network}
	for i, p := range pairs {
		p.node = "n" + strconv.Itoa(i)
		p.clientAt, p.serverAt = "ns/client-"+p.node, "ns/server-"+p.node
		p.client, p.server = netip.AddrFrom4([4]byte{10, 1, byte(i), 6}), netip.AddrFrom4([4]byte{10, 1, byte(i), 2})
		spec.Nodes = append(spec.Nodes, lab.Node{Name: p.node, Addrs: []netip.Addr{netip.AddrFrom4([4]byte{192, 0, 2, byte(i + 1)})}})
		spec.Pods = append(spec.Pods,
			lab.Pod{Namespace: "ns", Name: "client-" + p.node, Node: p.node, Addrs: []netip.Addr{p.client}},
			lab.Pod{Namespace: "ns", Name: "server-" + p.node, Node: p.node, Addrs: []netip.Addr{p.server}})
	}
	l, err := lab.New(b.Context(), spec)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = l.Close() })
	for _, p := range pairs {
		err := p.program(b.Context(), l)
		if p.missing = errors.Is(err, errTooLong); err != nil && !p.missing {
			b.Fatalf("%s: %v", p.name, err)
		}
		if err := p.listen(l); err != nil {
			b.Fatalf("%s: %v", p.name, err)
		}
		b.Cleanup(func() { _ = unix.Close(p.listener) })
	}
	return l
}

func (p *pair) program(ctx context.Context, l *lab.Lab) error {
	if p.script != "" {
		if _, err := l.Command(p.node, "sh", "-ec", p.script).Output(); err != nil {
			return err
		}
	}
	if p.feed == nil {
		return nil
	}
	a := newAgent(p.node)
	p.feed(a.ix, p.client)
	a.ix.Upsert(pod("client", p.node, map[string]string{"app": "client"}, p.client))
	a.ix.Upsert(pod("server", p.node, map[string]string{"app": "server"}, p.server))
	return l.Do(p.node, func() error {
		if err := p.guard(a); err != nil {
			return err
		}
		a.flush()
		if p.beside {
			a.answers = &dataplane.Answers{Servers: []netip.Addr{p.server}, Pods: []netip.Addr{besideNames}}
		}
		w, err := p.plane.sync(ctx, a)
		if err != nil {
			return err
		}
		if p.recorded {
			if err := p.record(ctx, l, a.ix); err != nil {
				return err
			}
		}
		return w.Backend.(dataplane.Barrer).Bar(ctx, p.barredFlows())
	})
}

// guard has the index know what the kernel of the calling thread's namespace
// reports of its interfaces, as an agent's does, or turns the guards off.
func (p *pair) guard(a *agent) error {
	if p.unguarded {
		s := *model.DefaultSettings()
		s.Guards = model.Guards{Source: model.GuardOff, Link: model.GuardOff, Encapsulation: model.GuardOff, Wildcard: model.GuardOff}
		a.ix.Upsert(&s)
		return nil
	}
	k, err := links.New()
	if err != nil {
		return err
	}
	defer k.Close()
	found, err := k.Read(links.Pods{
		p.client: {Kind: model.KindPod, Namespace: "ns", Name: "client"},
		p.server: {Kind: model.KindPod, Namespace: "ns", Name: "server"},
	})
	if err != nil {
		return err
	}
	if len(found.Pods) != 2 {
		return fmt.Errorf("%d of 2 pods' interfaces found", len(found.Pods))
	}
	found.Node = p.node
	a.ix.Upsert(found)
	return nil
}

// besideNames is the address of a pod with rules by name that is on no pair's node.
var besideNames = netip.MustParseAddr("10.1.0.77")

// besideNamed are pairs on nodes where DNS answers to another pod wait.
func besideNamed(pairs []*pair) []*pair {
	for _, p := range pairs {
		p.beside = true
	}
	return pairs
}

func (p *pair) barredFlows() []model.Flow {
	flows := make([]model.Flow, p.barred)
	for i := range flows {
		flows[i] = model.Flow{
			Src: netip.AddrFrom4([4]byte{30, 0, byte(i >> 8), byte(i)}), Dst: p.server, Protocol: model.TCP,
			SrcPort: uint16(1024 + i%60_000), DstPort: serverPort,
		}
	}
	return flows
}

func (p *pair) listen(l *lab.Lab) error {
	return l.Do(p.serverAt, func() error {
		var err error
		if p.listener, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0); err != nil {
			return err
		}
		if err := unix.Bind(p.listener, &unix.SockaddrInet4{Port: serverPort}); err != nil {
			return err
		}
		return unix.Listen(p.listener, 128)
	})
}

// connect makes a connection and returns both of its sockets. The calling
// thread is in the client's namespace.
func (p *pair) connect() (client, server int, err error) {
	client, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, 0, err
	}
	// A connection that is denied ends the benchmark, after a second try. (A
	// time-out of the socket would let signals interrupt it.)
	if err = unix.SetsockoptInt(client, unix.IPPROTO_TCP, unix.TCP_SYNCNT, 1); err == nil {
		err = unix.Connect(client, &unix.SockaddrInet4{Port: serverPort, Addr: p.server.As4()})
	}
	if err == nil {
		server, _, err = unix.Accept4(p.listener, unix.SOCK_CLOEXEC)
	}
	if err != nil {
		_ = unix.Close(client)
		return 0, 0, fmt.Errorf("%s: cannot connect: %w", p.name, err)
	}
	return client, server, nil
}

// turn is how long connections are made at a time, and how many at most.
const (
	turn     = 20 * time.Millisecond
	turnMost = 300
)

// connections makes connections for a turn, and returns how many that was a second.
func (p *pair) connections(l *lab.Lab) (float64, error) {
	var took time.Duration
	n := 0
	err := l.Do(p.clientAt, func() error {
		for start := time.Now(); n < turnMost && took < turn; took = time.Since(start) {
			c, s, err := p.connect()
			if err != nil {
				return err
			}
			// By a reset, which leaves no socket waiting for its time.
			if err := unix.SetsockoptLinger(s, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}); err != nil {
				return err
			}
			_ = unix.Close(s)
			_ = unix.Close(c)
			n++
		}
		return nil
	})
	return float64(n) / took.Seconds(), err
}
