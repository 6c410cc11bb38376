package conntrack

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/tierwall/tierwall/policy/model"
	"github.com/tierwall/tierwall/test/namespace"
)

// Types of SCTP chunks, RFC 9260, section 3.2.
const (
	chunkData             = 0
	chunkInit             = 1
	chunkInitAck          = 2
	chunkSack             = 3
	chunkHeartbeat        = 4
	chunkHeartbeatAck     = 5
	chunkAbort            = 6
	chunkShutdownAck      = 8
	chunkCookieEcho       = 10
	chunkCookieAck        = 11
	chunkShutdownComplete = 14
)

// Verification tags of the association that the tests play.
const (
	tagOfClient = 0x0c11e47
	tagOfServer = 0x05e77e7
)

// absence is how long a packet that should not come is waited for.
const absence = 200 * time.Millisecond

// peer is an end of an association without a socket of SCTP: the kernel's own is
// not needed, only what its connection tracking makes of packets.
type peer struct {
	conn net.PacketConn
	addr netip.AddrPort
}

// sctpPeer is an end at an address that the namespace gets if it does not have it.
func (w *world) sctpPeer(ns *namespace.Namespace, at string) *peer {
	w.t.Helper()
	p := &peer{addr: netip.MustParseAddrPort(at)}
	ns.In(func() error {
		l, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		bits := netlink.NewIPNet(p.addr.Addr().AsSlice())
		if err := netlink.AddrAdd(l, &netlink.Addr{IPNet: bits}); err != nil && !errors.Is(err, unix.EEXIST) {
			return err
		}
		p.conn, err = net.ListenPacket("ip4:132", p.addr.Addr().String())
		return err
	})
	w.t.Cleanup(func() { _ = p.conn.Close() })
	return p
}

// sctpPacket is a packet with one chunk.
func sctpPacket(from, to netip.AddrPort, tag uint32, chunk byte) []byte {
	value := make([]byte, 16)
	if chunk == chunkInit || chunk == chunkInitAck {
		own := uint32(tagOfClient)
		if chunk == chunkInitAck {
			own = tagOfServer
		}
		binary.BigEndian.PutUint32(value, own)
	}
	b := binary.BigEndian.AppendUint16(nil, from.Port())
	b = binary.BigEndian.AppendUint16(b, to.Port())
	b = binary.BigEndian.AppendUint32(b, tag)
	b = append(b, 0, 0, 0, 0, chunk, 0)
	b = binary.BigEndian.AppendUint16(b, uint16(4+len(value)))
	b = append(b, value...)
	binary.LittleEndian.PutUint32(b[8:], crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
	return b
}

// sctp sends a chunk and reports whether it has come out of the other end.
func (w *world) sctp(from, to *peer, tag uint32, chunk byte) bool {
	w.t.Helper()
	b := sctpPacket(from.addr, to.addr, tag, chunk)
	if _, err := from.conn.WriteTo(b, &net.IPAddr{IP: to.addr.Addr().AsSlice()}); err != nil {
		w.t.Fatal(err)
	}
	_ = to.conn.SetReadDeadline(time.Now().Add(absence))
	for {
		in := make([]byte, 128)
		n, _, err := to.conn.ReadFrom(in)
		if err != nil {
			return false
		}
		if string(in[:n]) == string(b) {
			return true
		}
	}
}

// reopenGuards are the rules that keep cut what a policy has cut, in both languages.
var reopenGuards = []struct {
	name string
	// lay puts the guards before a rule that drops what the client begins; bar puts
	// the reverse of a cut flow into their set.
	lay func(w *world)
	bar func(w *world, from, to netip.AddrPort, protocol string)
}{
	{"nftables", layNFTables, func(w *world, from, to netip.AddrPort, protocol string) {
		w.nft(fmt.Sprintf("add element inet t cut4 { %s . %s . %s . %d . %d timeout 10m }", from.Addr(), to.Addr(), protocol, from.Port(), to.Port()))
	}},
	{"iptables", layIPTables, func(w *world, from, to netip.AddrPort, protocol string) {
		w.run("ipset", "add", "tw-cut4", fmt.Sprintf("%s,%s:%d,%s", from.Addr(), protocol, from.Port(), to.Addr()))
	}},
}

// The guards as the base chains have them.
const (
	sctpMidstream = "meta l4proto 132 ct state new @th,96,8 != 1 @th,96,8 != 4 counter name dropped drop"
	barred        = "ct state invalid,new ip saddr . ip daddr . meta l4proto . th sport . th dport @cut4 jump cut"
)

func layNFTables(w *world) {
	w.nft(`
table inet t
delete table inet t
table inet t {
	counter dropped { }
	set cut4 { type ipv4_addr . ipv4_addr . inet_proto . inet_service . inet_service; flags timeout,dynamic; size 65536; timeout 10m; }
	chain cut {
		tcp flags & (fin | syn | rst | ack) == syn return
		meta l4proto 132 @th,96,8 1 return
		update @cut4 { ip saddr . ip daddr . meta l4proto . th sport . th dport } counter name dropped drop
	}
	chain forward {
		type filter hook forward priority 0; policy accept;
		ct state established,related accept
		` + sctpMidstream + `
		` + barred + `
		ip saddr { 10.1.0.2, 10.1.0.3 } counter name dropped drop
	}
}`)
}

func layIPTables(w *world) {
	w.nft("table inet t\ndelete table inet t")
	for _, line := range []string{
		"ipset create tw-cut4 hash:ip,port,ip timeout 600",
		"iptables -w -N CUT",
		"iptables -w -A CUT -p tcp --syn -j RETURN",
		"iptables -w -A CUT -p sctp -m sctp --chunk-types any INIT -j RETURN",
		"iptables -w -A CUT -j SET --add-set tw-cut4 src,src,dst --exist --timeout 600",
		"iptables -w -A CUT -j DROP",
		"iptables -w -A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
		"iptables -w -A FORWARD -p sctp -m conntrack --ctstate NEW -m sctp ! --chunk-types any INIT,HEARTBEAT -j DROP",
		"iptables -w -A FORWARD -m conntrack --ctstate INVALID,NEW -m set --match-set tw-cut4 src,src,dst -j CUT",
		"iptables -w -A FORWARD -s 10.1.0.2/31 -j DROP",
	} {
		w.run(strings.Fields(line)...)
	}
}

// run runs a command in the router.
func (w *world) run(args ...string) {
	w.t.Helper()
	w.router.In(func() error {
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			return fmt.Errorf("%v: %w: %s", args, err, out)
		}
		return nil
	})
}

// associate plays the beginning of an association.
func (w *world) associate(client, server *peer) {
	w.t.Helper()
	for _, step := range []struct {
		from, to *peer
		tag      uint32
		chunk    byte
	}{
		{client, server, 0, chunkInit},
		{server, client, tagOfClient, chunkInitAck},
		{client, server, tagOfServer, chunkCookieEcho},
		{server, client, tagOfClient, chunkCookieAck},
		{client, server, tagOfServer, chunkData},
		{server, client, tagOfClient, chunkSack},
	} {
		if !w.sctp(step.from, step.to, step.tag, step.chunk) {
			w.t.Fatalf("chunk %d from %s does not pass; tracked %v", step.chunk, step.from.addr, states(w.entries(0)))
		}
	}
}

// clientsMayNotBegin is a policy that lets the servers send to the clients.
func clientsMayNotBegin(e *Entry) model.Action {
	if e.Flow().Src.Is4() && strings.HasPrefix(e.Flow().Src.String(), "10.1.0.") {
		return model.Deny
	}
	return model.Allow
}

// TestSCTPFirstChunks holds which chunks connection tracking takes for the
// beginning of a connection: the guards are made for these.
func TestSCTPFirstChunks(t *testing.T) {
	begins := map[byte]bool{chunkInit: true, chunkHeartbeat: true, chunkHeartbeatAck: true, chunkShutdownAck: true}
	w := newWorld(t)
	w.policy()
	client := w.sctpPeer(w.client, "10.1.0.2:4000")
	for chunk := range byte(chunkShutdownComplete + 2) {
		// A port each, for an entry that is there would know the next packet.
		server := w.sctpPeer(w.server, fmt.Sprintf("10.2.0.2:%d", 80+int(chunk)))
		tag := uint32(tagOfClient)
		if chunk == chunkInit {
			tag = 0
		}
		if !w.sctp(server, client, tag, chunk) {
			t.Errorf("chunk %d does not pass an empty policy", chunk)
		}
		found := false
		for _, e := range w.entries(0) {
			found = found || e.Original.SrcPort == server.addr.Port()
		}
		if found != begins[chunk] {
			t.Errorf("chunk %d: tracked %v, want %v", chunk, found, begins[chunk])
		}
	}
}

// TestSCTPReopen shows how an association that a policy has cut comes back by
// the server's HEARTBEAT, and that it does not where the guards are.
func TestSCTPReopen(t *testing.T) {
	t.Run("without guards", func(t *testing.T) {
		w := newWorld(t)
		w.policy()
		client, server := w.sctpPeer(w.client, "10.1.0.2:4000"), w.sctpPeer(w.server, "10.2.0.2:80")
		w.associate(client, server)
		w.policy("ip saddr 10.1.0.2 counter name dropped drop")
		if n, err := sweep(context.Background(), w.table, nil, clientsMayNotBegin); n != 1 || err != nil {
			t.Fatalf("%d deleted, error %v", n, err)
		}
		if w.sctp(client, server, tagOfServer, chunkData) {
			t.Error("the client's DATA pass right after the cut")
		}
		if !w.sctp(server, client, tagOfClient, chunkHeartbeat) || !w.sctp(client, server, tagOfServer, chunkHeartbeatAck) ||
			!w.sctp(client, server, tagOfServer, chunkData) {
			t.Error("the server's HEARTBEAT does not bring the association back: the guard is not needed any more")
		}
	})
	for _, g := range reopenGuards {
		t.Run(g.name, func(t *testing.T) {
			w := newWorld(t)
			w.policy()
			client, server := w.sctpPeer(w.client, "10.1.0.2:4000"), w.sctpPeer(w.server, "10.2.0.2:80")
			client2, server2 := w.sctpPeer(w.client, "10.1.0.3:4000"), w.sctpPeer(w.server, "10.2.0.3:80")
			other := w.sctpPeer(w.server, "10.2.0.4:80")
			w.associate(client, server)
			g.lay(w)
			if n, err := sweep(context.Background(), w.table, nil, clientsMayNotBegin); n != 1 || err != nil {
				t.Fatalf("%d deleted, error %v", n, err)
			}
			g.bar(w, server.addr, client.addr, "sctp")
			for _, chunk := range []byte{chunkData, chunkSack, chunkHeartbeat, chunkHeartbeatAck, chunkShutdownAck, chunkAbort, chunkCookieEcho} {
				if w.sctp(server, client, tagOfClient, chunk) {
					t.Errorf("the server's chunk %d passes", chunk)
				}
			}
			if w.sctp(client, server, tagOfServer, chunkData) || len(w.entries(0)) != 0 {
				t.Errorf("the client's DATA pass, or it is tracked: %v", states(w.entries(0)))
			}

			// Another path, which the policy lets the server take: its HEARTBEAT passes and
			// is answered, both ways go on.
			if !w.sctp(server2, client2, tagOfClient, chunkHeartbeat) || !w.sctp(client2, server2, tagOfServer, chunkHeartbeatAck) ||
				!w.sctp(client2, server2, tagOfServer, chunkData) || !w.sctp(server2, client2, tagOfClient, chunkSack) {
				t.Errorf("an alternative path does not work; tracked %v", states(w.entries(0)))
			}
			// No path begins with anything else.
			if w.sctp(other, client, tagOfClient, chunkHeartbeatAck) || w.sctp(other, client, tagOfClient, chunkShutdownAck) {
				t.Error("a path begins with an answer")
			}
			// The server begins anew: that is its right.
			if !w.sctp(server, client, 0, chunkInit) || !w.sctp(client, server, tagOfClient, chunkInitAck) {
				t.Error("the server cannot begin an association")
			}
		})
	}
}

// TestUDPReopen holds the same for UDP, which has no beginning that shows: what
// the server pushes stays out, and what it sends elsewhere does not.
func TestUDPReopen(t *testing.T) {
	for _, g := range reopenGuards {
		t.Run(g.name, func(t *testing.T) {
			w := newWorld(t)
			w.policy()
			p := w.open("udp4", "10.2.0.2:53", "10.2.0.2:53")
			g.lay(w)
			client := p.client.LocalAddr().(*net.UDPAddr).AddrPort()
			server := netip.MustParseAddrPort("10.2.0.2:53")
			g.bar(w, server, client, "udp")
			if n, err := sweep(context.Background(), w.table, nil, clientsMayNotBegin); n != 1 || err != nil {
				t.Fatalf("%d deleted, error %v", n, err)
			}
			for range 3 {
				if _, err := p.server.Write([]byte("data")); err != nil {
					t.Fatal(err)
				}
			}
			_ = p.client.SetReadDeadline(time.Now().Add(absence))
			if n, err := p.client.Read(make([]byte, 64)); n > 0 || !os.IsTimeout(err) {
				t.Errorf("the server's push passes: %d bytes, %v", n, err)
			}
			if e := w.entries(0); len(e) != 0 {
				t.Errorf("tracked %v", states(e))
			}
			// Another flow of the server's own.
			var in, out net.Conn
			w.client.In(func() (err error) {
				in, err = net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(10, 1, 0, 2), Port: 99})
				return err
			})
			w.server.In(func() (err error) { out, err = net.Dial("udp4", "10.1.0.2:99"); return err })
			defer func() { _, _ = in.Close(), out.Close() }()
			w.passes(out, in)
		})
	}
}
