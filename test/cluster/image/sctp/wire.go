//go:build linux

package sctp

import (
	"net"
	"net/netip"
	"time"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

// maxPacket is more than any test sends.
const maxPacket = 64 << 10

// wire is a raw socket for packets of one IP family.
type wire struct {
	conn   *net.IPConn
	v4     *ipv4.PacketConn // one of the two: they know to which of this
	v6     *ipv6.PacketConn // machine's addresses a packet came
	buffer []byte
}

// listen takes packets to any of this machine's addresses.
func listen(any netip.Addr) (*wire, error) {
	conn, err := net.ListenIP(network(any), &net.IPAddr{IP: any.AsSlice()})
	if err != nil {
		return nil, err
	}
	return newWire(conn, any)
}

// connect takes packets from one address, and learns from ICMP when that does
// not speak SCTP at all.
func connect(to netip.Addr) (*wire, error) {
	conn, err := net.DialIP(network(to), nil, &net.IPAddr{IP: to.AsSlice(), Zone: to.Zone()})
	if err != nil {
		return nil, err
	}
	return newWire(conn, to)
}

func network(a netip.Addr) string {
	if a.Is4() {
		return "ip4:132"
	}
	return "ip6:132"
}

func newWire(conn *net.IPConn, a netip.Addr) (*wire, error) {
	w := &wire{conn: conn, buffer: make([]byte, maxPacket)}
	var err error
	if a.Is4() {
		w.v4 = ipv4.NewPacketConn(conn)
		err = w.v4.SetControlMessage(ipv4.FlagDst, true)
	} else {
		w.v6 = ipv6.NewPacketConn(conn)
		err = w.v6.SetControlMessage(ipv6.FlagDst, true)
	}
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	return w, nil
}

func (w *wire) close() error { return w.conn.Close() }

// until bounds the wait of receive.
func (w *wire) until(t time.Time) error { return w.conn.SetReadDeadline(t) }

// receive waits for a packet; errPacket is one to ignore.
func (w *wire) receive() (p packet, from, to netip.Addr, err error) {
	var n int
	var peer net.Addr
	var own net.IP
	if w.v4 != nil {
		var control *ipv4.ControlMessage
		n, control, peer, err = w.v4.ReadFrom(w.buffer)
		if control != nil {
			own = control.Dst
		}
	} else {
		var control *ipv6.ControlMessage
		n, control, peer, err = w.v6.ReadFrom(w.buffer)
		if control != nil {
			own = control.Dst
		}
	}
	if err != nil {
		return p, from, to, err
	}
	if ip, ok := peer.(*net.IPAddr); ok {
		from, _ = netip.AddrFromSlice(ip.IP)
		from = from.Unmap().WithZone(ip.Zone)
	}
	to, _ = netip.AddrFromSlice(own)
	p, err = parse(w.buffer[:n])
	return p, from, to.Unmap(), err
}

// send sends from one of this machine's addresses; the zero address lets the
// route decide.
func (w *wire) send(p packet, from, to netip.Addr) error {
	out := p.marshal()
	// A socket that is connected takes no address.
	if w.conn.RemoteAddr() != nil {
		_, err := w.conn.Write(out)
		return err
	}
	peer := &net.IPAddr{IP: to.AsSlice(), Zone: to.Zone()}
	var err error
	if w.v4 != nil {
		_, err = w.v4.WriteTo(out, &ipv4.ControlMessage{Src: from.AsSlice()}, peer)
	} else {
		_, err = w.v6.WriteTo(out, &ipv6.ControlMessage{Src: from.AsSlice()}, peer)
	}
	return err
}
