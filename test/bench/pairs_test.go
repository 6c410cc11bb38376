package bench

import (
	"context"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tierwall/tierwall/api/selector"
	"github.com/tierwall/tierwall/policy"
	"github.com/tierwall/tierwall/policy/model"
	"github.com/tierwall/tierwall/test/lab"
)

// pair is a node of the lab with a client and a server, and what is programmed
// on the node.
type pair struct {
	name string
	// feed gives the index the policies of the server; nil: no table, or one by hand.
	feed func(ix *policy.Index, client netip.Addr)
	text string // of a table by hand

	node, clientAt, serverAt string
	client, server           netip.Addr
	listener                 int // the server's socket
}

const serverPort = 8080

var server = selector.Equal("app", "server")

// byPeer is n rules of distinct peers, the client the last of them.
func byPeer(n int) func(*policy.Index, netip.Addr) {
	return func(ix *policy.Index, client netip.Addr) {
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
func bySet(n int) func(*policy.Index, netip.Addr) {
	return func(ix *policy.Index, client netip.Addr) {
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
func byPort(n int) func(*policy.Index, netip.Addr) {
	return func(ix *policy.Index, client netip.Addr) {
		rules := make([]model.Rule, n)
		for i := range rules {
			rules[i] = allow(i, model.Peer{Nets: []netip.Prefix{netip.PrefixFrom(client, 32)}}, serverPort+1+i)
		}
		rules[n-1].Match.Destination.Ports[0] = model.Port{First: serverPort, Last: serverPort}
		ix.Upsert(ingress("rules", 10, server, rules...))
	}
}

// byPolicy is n policies of a rule each, the last of which lets the client in.
func byPolicy(n int) func(*policy.Index, netip.Addr) {
	return func(ix *policy.Index, client netip.Addr) {
		for i := range n {
			ix.Upsert(someSet(i, n, client))
			ix.Upsert(ingress(fmt.Sprintf("policy-%05d", i), 10, server, allow(0, from(selector.Equal("set", "set-"+strconv.Itoa(i))), serverPort)))
		}
	}
}

// tracking is what connection tracking alone costs.
const tracking = "table inet tracking {\n chain forward { type filter hook forward priority -5; ct state established,related accept; }\n}\n"

// newPairs brings up a node for each pair and programs it.
func newPairs(b *testing.B, pairs []*pair) *lab.Lab {
	b.Helper()
	var spec lab.Spec
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
		if err := p.program(b.Context(), l); err != nil {
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
	if p.text != "" {
		c := l.Command(p.node, "nft", "-f", "-")
		c.Stdin = strings.NewReader(p.text)
		if _, err := c.Output(); err != nil {
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
	a.flush()
	return l.Do(p.node, func() error {
		_, err := a.sync(ctx)
		return err
	})
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

// connections makes n connections, and returns how many that was a second.
func (p *pair) connections(l *lab.Lab, n int) (float64, error) {
	var took time.Duration
	err := l.Do(p.clientAt, func() error {
		start := time.Now()
		for range n {
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
		}
		took = time.Since(start)
		return nil
	})
	return float64(n) / took.Seconds(), err
}
