package conntrack

import (
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/tierwall/tierwall/policy/model"
)

// strict drops TCP packets that begin a connection without being a SYN.
const strict = "tcp flags & (fin | syn | rst | ack) != syn ct state new counter name dropped drop"

// TestCut holds the whole of it: a connection that the new policy denies flows
// on until the sweep and not after, in neither direction, and the allowed one
// beside it does not notice.
func TestCut(t *testing.T) {
	for _, c := range []struct{ network, client, server string }{
		{"tcp4", "10.1.0.2", "10.2.0.2"},
		{"tcp6", "fd00:1::2", "fd00:2::2"},
		{"udp4", "10.1.0.2", "10.2.0.2"},
		{"udp6", "fd00:1::2", "fd00:2::2"},
	} {
		t.Run(c.network, func(t *testing.T) {
			w := newWorld(t)
			protocol := c.network[:3]
			family := map[byte]string{'4': "ip", '6': "ip6"}[c.network[3]]
			w.policy()
			at := func(port string) string { return net.JoinHostPort(c.server, port) }
			denied, allowed := w.open(c.network, at("80"), at("80")), w.open(c.network, at("81"), at("81"))

			// The server may not connect to the client, and the client to port 81 only.
			w.policy(strict,
				protocol+" dport 81 "+family+" saddr "+c.client+" accept",
				"meta l4proto "+protocol+" counter name dropped drop")
			w.passes(denied.client, denied.server) // established
			w.passes(denied.server, denied.client)

			decide := func(f model.Flow) model.Action {
				if f.Src == netip.MustParseAddr(c.client) && f.DstPort == 81 {
					return model.Allow
				}
				return model.Deny
			}
			ctx := context.Background()
			if n, err := sweepFlows(ctx, w.table, only("192.0.2.77"), decide); n != 0 || err != nil {
				t.Fatalf("sweep of another address: %d deleted, error %v", n, err)
			}
			w.passes(denied.client, denied.server)
			if n, err := sweepFlows(ctx, w.table, only(c.server), decide); n != 1 || err != nil {
				t.Fatalf("%d deleted, error %v; tracked %v", n, err, states(w.entries(0)))
			}
			w.cut(denied.client, denied.server)
			w.cut(denied.server, denied.client)
			if e := w.entries(80); len(e) != 0 {
				t.Errorf("tracked again: %v", states(e))
			}
			w.passes(allowed.client, allowed.server)
			w.passes(allowed.server, allowed.client)
			if n, err := sweepFlows(ctx, w.table, nil, decide); n != 0 || err != nil {
				t.Errorf("second sweep: %d deleted, error %v", n, err)
			}
		})
	}
}

// TestReopenFromServer shows why a ruleset must not take any TCP packet for the
// beginning of a connection: the server's next packet opens the connection the
// other way round, which the policy allows, and the client's pass as answers.
func TestReopenFromServer(t *testing.T) {
	const deny = "ip saddr 10.1.0.2 counter name dropped drop" // the client may begin nothing
	decide := func(f model.Flow) model.Action {
		if f.Src == netip.MustParseAddr("10.1.0.2") {
			return model.Deny
		}
		return model.Allow
	}
	for _, c := range []struct {
		name    string
		rules   []string
		reopens bool
	}{
		{"lax", []string{deny}, true},
		{"strict", []string{strict, deny}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			w.policy()
			p := w.open("tcp4", "10.2.0.2:80", "10.2.0.2:80")
			w.policy(c.rules...)
			if n, err := sweepFlows(context.Background(), w.table, nil, decide); n != 1 || err != nil {
				t.Fatalf("%d deleted, error %v", n, err)
			}
			if c.reopens {
				w.passes(p.server, p.client)
				w.passes(p.client, p.server)
				if e := states(w.entries(0)); len(e) != 1 || !strings.HasPrefix(e[0], "TCP 10.2.0.2:80 > 10.1.0.2:") {
					t.Errorf("tracked %v", e)
				}
				return
			}
			w.cut(p.server, p.client)
			w.cut(p.client, p.server)
			if e := w.entries(0); len(e) != 0 {
				t.Errorf("tracked %v", states(e))
			}
		})
	}
}

// TestNAT reads entries of translated connections, and cuts by the address
// behind the translation.
func TestNAT(t *testing.T) {
	w := newWorld(t)
	w.policy()
	w.nft(`table ip nat {
	chain pre { type nat hook prerouting priority -100; ip daddr 10.96.0.1 tcp dport 80 dnat to 10.2.0.2:8080; }
	chain post { type nat hook postrouting priority 100; ip saddr 10.1.0.2 masquerade; }
}`)
	p := w.open("tcp4", "10.96.0.1:80", "10.2.0.2:8080")
	e := w.entries(8080)
	if len(e) != 1 {
		t.Fatalf("tracked %v", states(w.entries(0)))
	}
	port := p.client.LocalAddr().(*net.TCPAddr).AddrPort().Port()
	want := model.Flow{
		Src: netip.MustParseAddr("10.1.0.2"), SrcPort: port, Dst: netip.MustParseAddr("10.2.0.2"), DstPort: 8080, Protocol: model.TCP,
	}
	if got := e[0].Flow(); got != want {
		t.Errorf("flow %+v, want %+v", got, want)
	}
	if got := e[0].FlowBeforeNAT(); got.Dst != netip.MustParseAddr("10.96.0.1") || got.DstPort != 80 {
		t.Errorf("flow before NAT %+v", got)
	}
	if e[0].Reply.Dst != netip.MustParseAddr("10.2.0.1") || !e[0].Replied || !e[0].Assured {
		t.Errorf("reply to %s, replied %v, assured %v", e[0].Reply.Dst, e[0].Replied, e[0].Assured)
	}
	w.policy(strict, "tcp dport 8080 counter name dropped drop")
	if n, err := sweepFlows(context.Background(), w.table, only("10.2.0.2"), denyPort(8080)); n != 1 || err != nil {
		t.Fatalf("%d deleted, error %v", n, err)
	}
	w.cut(p.client, p.server)
}

// TestHalfOpen deletes what waits for an answer.
func TestHalfOpen(t *testing.T) {
	w := newWorld(t)
	w.policy()
	var c net.PacketConn // not connected: it hears of no errors
	w.client.In(func() (err error) { c, err = net.ListenPacket("udp4", "10.1.0.2:4000"); return err })
	defer func() { _ = c.Close() }()
	ask := func() {
		if _, err := c.WriteTo([]byte("anyone?"), &net.UDPAddr{IP: net.IPv4(10, 2, 0, 99), Port: 53}); err != nil {
			t.Fatal(err)
		}
	}
	ask()
	w.eventually("the packet is tracked", func() bool { w.dropped(); return len(w.entries(53)) == 1 })
	e := w.entries(53)[0]
	if e.Replied || e.Assured {
		t.Errorf("%s is taken for answered", e)
	}
	if n, err := sweepFlows(context.Background(), w.table, only("10.2.0.99"), denyPort(53)); n != 1 || err != nil {
		t.Errorf("%d deleted, error %v", n, err)
	}
	// The same tuple again is another connection: what was listed before does not hit it.
	ask()
	w.eventually("the packet is tracked again", func() bool { w.dropped(); return len(w.entries(53)) == 1 })
	if gone, err := w.table.Delete(context.Background(), e); gone || err != nil {
		t.Errorf("an entry of an earlier connection: deleted %v, error %v", gone, err)
	}
	if len(w.entries(53)) != 1 {
		t.Error("the new connection is gone")
	}
}

// TestProtocols reads what entries of other protocols say.
func TestProtocols(t *testing.T) {
	w := newWorld(t)
	w.policy()
	send := func(network, to string, packet []byte) {
		w.client.In(func() error {
			c, err := net.Dial(network, to)
			if err != nil {
				return err
			}
			defer func() { _ = c.Close() }()
			_, err = c.Write(packet)
			return err
		})
	}
	icmp := []byte{8, 0, 0, 0, 0, 42, 0, 1}
	binary.BigEndian.PutUint16(icmp[2:], ^uint16(8<<8+42+1))
	send("ip4:icmp", "10.2.0.2", icmp)
	send("ip6:ipv6-icmp", "fd00:2::2", []byte{128, 0, 0, 0, 0, 43, 0, 1}) // the kernel fills in the checksum
	sctp := []byte{0x0f, 0xa0, 0, 80, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 20, 0, 0, 0, 1, 0, 0, 0x10, 0, 0, 1, 0, 1, 0, 0, 0, 1}
	binary.LittleEndian.PutUint32(sctp[8:], crc32.Checksum(sctp, crc32.MakeTable(crc32.Castagnoli)))
	send("ip4:132", "10.2.0.99", sctp)
	send("ip4:99", "10.2.0.99", []byte("some protocol"))

	want := map[string]model.Flow{}
	for _, f := range []model.Flow{
		{Src: netip.MustParseAddr("10.1.0.2"), Dst: netip.MustParseAddr("10.2.0.2"), Protocol: model.ICMPv4, ICMPType: 8},
		{Src: netip.MustParseAddr("fd00:1::2"), Dst: netip.MustParseAddr("fd00:2::2"), Protocol: model.ICMPv6, ICMPType: 128},
		{Src: netip.MustParseAddr("10.1.0.2"), Dst: netip.MustParseAddr("10.2.0.99"), Protocol: model.SCTP, SrcPort: 4000, DstPort: 80},
		{Src: netip.MustParseAddr("10.1.0.2"), Dst: netip.MustParseAddr("10.2.0.99"), Protocol: 99},
	} {
		want[fmt.Sprint(f)] = f
	}
	found := map[string]bool{}
	w.eventually(fmt.Sprintf("all of %v are tracked", want), func() bool {
		w.dropped()
		for _, e := range w.entries(0) {
			if k := fmt.Sprint(e.Flow()); want[k].Src.IsValid() {
				found[k] = true
			}
		}
		return len(found) == len(want)
	})
	n, err := sweepFlows(context.Background(), w.table, only("10.1.0.2", "fd00:1::2"), func(f model.Flow) model.Action {
		if _, ok := want[fmt.Sprint(f)]; ok {
			return model.Deny
		}
		return model.Allow
	})
	if n != len(want) || err != nil {
		t.Errorf("%d deleted, error %v; left %v", n, err, states(w.entries(0)))
	}
}
