//go:build linux

package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/tierwall/tierwall/policy/model"
)

// Result is what became of a probe.
type Result struct {
	// Delivered: the packet got through to a socket of the receiver.
	Delivered bool
	// At is the receiver (node, pod or host), From and To the addresses that it
	// saw, which address translation may have changed. Empty if not delivered.
	At       string
	From, To netip.AddrPort
	// Answered: an answer came back to the sender: SYN-ACK or RST of a delivered
	// TCP probe, an echo, INIT ACK, the receiver's own datagram. Of ICMP, only echo
	// requests are answered.
	Answered bool
	// Rejected: it was refused on the way, by a TCP reset or an ICMP error.
	// A probe that is neither delivered nor rejected was dropped.
	Rejected bool
	// Answer is what came back, as in "SYN-ACK" or "ICMP type 3 code 13".
	Answer string
	// Latency from sending to the answer's arrival, or to the packet's own if
	// there was none. What the lab itself takes is a part of it.
	Latency time.Duration
}

// Options of a probe. The zero value is what is wanted mostly.
type Options struct {
	// From is the place that sends; empty: the owner of the source address.
	// Another one forges the source address.
	From string
	// At are further addresses and ports at which the packet may arrive, for
	// translations that the lab has not made itself.
	At []netip.AddrPort
	// KeepConnection leaves connections of the same addresses and ports in the
	// nodes' connection tracking, so that the probe may be a packet of one of them.
	// Else they are deleted first, and the probe is the first packet of a connection.
	KeepConnection bool
	// To are the places at which the packet may arrive, for destinations that are
	// shared: link-local, multicast, broadcast. No place takes such an address on, and
	// the lab answers nothing: Delivered means that one of these places has it. See
	// [Lab.Join].
	To []string
	// Interface by which From sends, whatever its routes are; needed with To.
	Interface string
	// Frame is the link address to which the packet is sent by Interface, past the
	// IP stack of From; needed where the source is unspecified.
	Frame net.HardwareAddr
	// Tagged frames bear a priority tag, of VLAN 0: receivers take them as any other,
	// br_netfilter does not.
	Tagged bool
	// Extension puts an IPv6 extension header (destination options) into the packet.
	Extension bool
	// Flags of a TCP packet that is no SYN, Chunk of an SCTP packet that is no INIT.
	Flags uint8
	Chunk *Chunk
	// Inside is an envelope around the packet, which is what From sends.
	Inside *Envelope
}

// Probe sends the first packet of a flow and returns what became of it. A source
// or destination that no place has is taken on by the host Internet, or by a pod
// of the node in whose pod block it is. A zero source port is chosen.
//
// The error is about the lab: a dropped or rejected probe is none.
func (l *Lab) Probe(ctx context.Context, f model.Flow, o Options) (Result, error) {
	if err := ctx.Err(); err != nil {
		return Result{}, err
	}
	p, err := l.newProbe(f, o)
	if err != nil {
		return Result{}, fmt.Errorf("probe %s: %w", describe(f), err)
	}
	defer l.pending.remove(p)
	if err := p.run(ctx, o); err != nil {
		return Result{}, fmt.Errorf("probe %s: %w", describe(p.flow), err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.result, nil
}

func (l *Lab) newProbe(f model.Flow, o Options) (*probe, error) {
	f.Src, f.Dst = f.Src.Unmap(), f.Dst.Unmap()
	if err := checkFlow(f); err != nil {
		return nil, err
	}
	from, err := l.sender(f.Src, o)
	if err != nil {
		return nil, err
	}
	p := &probe{lab: l, from: from}
	p.mute = len(o.To) > 0 || o.Chunk != nil || o.Flags != 0
	if f.Protocol.HasPorts() && f.SrcPort == 0 {
		f.SrcPort = l.numbers.nextPort(f.Src, f.Protocol)
	}
	p.flow = f
	if err := p.findTargets(o); err != nil {
		return nil, err
	}
	l.pending.add(p)
	return p, nil
}

// checkFlow refuses what cannot be put on a wire.
func checkFlow(f model.Flow) error {
	switch {
	case !f.Src.IsValid() || !f.Dst.IsValid() || f.Src.Is4() != f.Dst.Is4():
		return errors.New("source and destination of one family are needed")
	case f.Protocol == model.AnyProtocol:
		return errors.New("a protocol is needed")
	case f.Protocol.HasPorts() && f.DstPort == 0:
		return errors.New("a destination port is needed")
	case f.Src.Is6() && (f.Protocol == 43 || f.Protocol == 44 || f.Protocol == 59 || f.Protocol == 60 || f.Protocol == 51):
		return fmt.Errorf("protocol %s is an extension header of IPv6, no protocol", f.Protocol)
	case f.Src.Is4() && f.Protocol == model.ICMPv6, f.Src.Is6() && f.Protocol == model.ICMPv4:
		return fmt.Errorf("%s is of the other IP version", f.Protocol)
	}
	return nil
}

// describe returns a flow in words.
func describe(f model.Flow) string {
	switch {
	case f.Protocol.HasPorts():
		return fmt.Sprintf("%s %s > %s", f.Protocol, netip.AddrPortFrom(f.Src, f.SrcPort), netip.AddrPortFrom(f.Dst, f.DstPort))
	case f.Protocol == model.ICMPv4 || f.Protocol == model.ICMPv6:
		return fmt.Sprintf("%s type %d code %d %s > %s", f.Protocol, f.ICMPType, f.ICMPCode, f.Src, f.Dst)
	}
	return fmt.Sprintf("protocol %s %s > %s", f.Protocol, f.Src, f.Dst)
}
