//go:build linux

package lab

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
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
	// Rejected: somebody on the way refused, by a TCP reset or an ICMP error.
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
	// nobody's alone: link-local, multicast, broadcast. No one takes such an address
	// on, and the lab answers nothing: Delivered says that one of these has it. See
	// [Lab.Join].
	To []string
	// Interface by which From sends, whatever its routes say; needed where To is.
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

// pending is the probes under way, by number.
type pending struct {
	mu   sync.Mutex
	last uint32
	all  map[uint32]*probe
}

// probe is one probe under way.
type probe struct {
	flow model.Flow
	id   uint32
	from *place
	at   []target

	mu     sync.Mutex
	sent   time.Time
	result Result
	echo   *model.Flow // the answer that the lab has to send
	echoAt *place
	mute   bool // the lab does not answer
}

// target is where a probe may arrive.
type target struct {
	place  *place
	addr   netip.AddrPort
	socket *rawSocket
}

// hops is more than a packet can make one way: pod, node, wire, node, pod, with
// bridges, and with an address to be resolved on each link.
const hops = 24

// Probe sends the first packet of a flow and says what became of it. A source
// or destination that nobody has is taken on by the host Internet, or by a pod
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
	if err := l.run(ctx, p, o); err != nil {
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
	p := &probe{}
	var err error
	owner, err := l.sender(f.Src, o)
	if err != nil {
		return nil, err
	}
	p.from, p.mute = owner, len(o.To) > 0 || o.Chunk != nil || o.Flags != 0
	if f.Protocol.HasPorts() && f.SrcPort == 0 {
		f.SrcPort = l.numbers.nextPort(f.Src, f.Protocol)
	}
	p.flow = f
	if err := l.findTargets(p, o); err != nil {
		return nil, err
	}
	l.pending.add(p)
	return p, nil
}

// sender is who sends a probe.
func (l *Lab) sender(src netip.Addr, o Options) (*place, error) {
	if o.From == "" {
		return l.carry(src)
	}
	if len(o.To) == 0 && !src.IsLinkLocalUnicast() && !src.IsUnspecified() {
		if _, err := l.carry(src); err != nil {
			return nil, err
		}
	}
	return l.at(o.From)
}

// targetsAt lists places for a packet whose destination does not say where it goes.
func (l *Lab) targetsAt(p *probe, wheres []string) error {
	for _, w := range wheres {
		where, err := l.at(w)
		if err != nil {
			return err
		}
		s, err := where.receiver(socketKey{p.flow.Src.Is4(), p.flow.Protocol})
		if err != nil {
			return err
		}
		p.at = append(p.at, target{where, netip.AddrPortFrom(p.flow.Dst, p.flow.DstPort), s})
	}
	return nil
}

// findTargets lists where the packet may arrive: at its destination, and at the
// backends of the services that have that address.
func (l *Lab) findTargets(p *probe, o Options) error {
	if len(o.To) > 0 {
		return l.targetsAt(p, o.To)
	}
	at := append([]netip.AddrPort{netip.AddrPortFrom(p.flow.Dst, p.flow.DstPort)}, o.At...)
	service := false
	l.mu.RLock()
	for _, s := range l.services {
		if s.Protocol == p.flow.Protocol && s.Addr == at[0] {
			service = true
			at = append(at, s.Backends...)
		}
	}
	l.mu.RUnlock()
	known := map[*place]*rawSocket{}
	for i, a := range at {
		if _, ok := l.Owner(a.Addr()); i == 0 && !ok && (service || len(o.At) > 0) {
			continue // a virtual address
		}
		where, err := l.carry(a.Addr())
		if err != nil {
			return err
		}
		if known[where] == nil {
			if known[where], err = where.receiver(socketKey{p.flow.Src.Is4(), p.flow.Protocol}); err != nil {
				return err
			}
		}
		p.at = append(p.at, target{where, a, known[where]})
	}
	return nil
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

// run sends the probe and follows it. All that is between two lines of settle
// happens on one CPU: see the package's comment.
func (l *Lab) run(ctx context.Context, p *probe, o Options) error {
	var stops []func()
	defer func() {
		for _, stop := range stops {
			stop()
		}
	}()
	for _, t := range p.at {
		if len(o.To) > 0 {
			break
		}
		stop, err := t.place.listen(p.flow.Protocol, t.addr)
		if err != nil {
			return err
		}
		stops = append(stops, stop)
	}
	replies, err := p.replySockets()
	if err != nil {
		return err
	}
	if !o.KeepConnection {
		if err := l.forget(p); err != nil {
			return err
		}
	}
	packet, dst, err := l.packet(p, o)
	if err != nil {
		return err
	}
	bound := p.flow.Src
	if o.From != "" || o.Inside != nil {
		bound = netip.Addr{}
	}
	err = l.onCPU(func(w *witness) error {
		// Old packets must not be in the new one's way.
		if err := l.collect(p, replies); err != nil {
			return err
		}
		p.mu.Lock()
		p.sent = time.Now()
		p.mu.Unlock()
		send := func() error { return p.from.send(packet, bound, dst, o.Interface) }
		if o.Frame != nil {
			send = func() error { return p.from.sendFrame(o.Interface, o.Frame, o.Tagged, packet) }
		}
		if err := send(); err != nil {
			return err
		}
		if err := w.settle(hops); err != nil {
			return err
		}
		if err := l.collect(p, replies); err != nil {
			return err
		}
		return l.finish(w, p, replies)
	})
	// Where an address was being resolved on another CPU at that very moment, the
	// packet may have gone on from there: a second look before a denial.
	for _, pause := range []time.Duration{time.Millisecond, 4 * time.Millisecond} {
		if err != nil || p.complete() {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
		if err = l.collect(p, replies); err == nil {
			err = l.onCPU(func(w *witness) error { return l.finish(w, p, replies) })
		}
	}
	return err
}

// onCPU runs a function on a thread that is bound to a CPU.
func (l *Lab) onCPU(f func(*witness) error) error {
	var err error
	if e := l.cpus.do(func(w *witness) { err = f(w) }); e != nil {
		return e
	}
	return err
}

// finish answers a probe that has arrived, where the lab is who answers, and
// looks for the answer.
func (l *Lab) finish(w *witness, p *probe, replies []*rawSocket) error {
	p.mu.Lock()
	echo, at := p.echo, p.echoAt
	p.echo = nil
	p.mu.Unlock()
	if echo == nil {
		return nil
	}
	packet := ipPacket(echo.Src, echo.Dst, echo.Protocol, transport(*echo, p.id, payloadAnswer))
	if err := at.send(packet, echo.Src, echo.Dst, ""); err != nil {
		return err
	}
	if err := w.settle(hops); err != nil {
		return err
	}
	return l.collect(p, replies)
}

// replySockets are those that see what comes back to the sender.
func (p *probe) replySockets() ([]*rawSocket, error) {
	is4 := p.flow.Src.Is4()
	icmp := model.ICMPv6
	if is4 {
		icmp = model.ICMPv4
	}
	var out []*rawSocket
	for _, protocol := range []model.Protocol{p.flow.Protocol, icmp} {
		s, err := p.from.receiver(socketKey{is4, protocol})
		if err != nil {
			return nil, err
		}
		if len(out) == 0 || out[0] != s {
			out = append(out, s)
		}
	}
	return out, nil
}

// collect reads the sockets at which the probe or an answer may be. What it
// finds of other probes it hands to them.
func (l *Lab) collect(p *probe, replies []*rawSocket) error {
	for i, t := range p.at {
		if i > 0 && t.socket == p.at[i-1].socket {
			continue
		}
		if err := t.socket.drain(func(s seen) { l.pending.dispatch(t.place, s) }); err != nil {
			return t.place.wrap(err, "receive")
		}
	}
	for _, r := range replies {
		if err := r.drain(func(s seen) { l.pending.dispatch(p.from, s) }); err != nil {
			return p.from.wrap(err, "receive")
		}
	}
	return nil
}

// forget makes the nodes on the way forget earlier connections of the probe's
// addresses and ports.
func (l *Lab) forget(p *probe) error {
	done := map[*place]bool{}
	places := []*place{p.from}
	for _, t := range p.at {
		places = append(places, t.place)
	}
	for i, q := range places {
		node := l.nodeOf(q)
		if node == nil || done[node] {
			continue
		}
		done[node] = true
		if err := node.forget(p.flow, p.id); err != nil {
			return err
		}
		if i > 0 && p.at[i-1].addr.Addr() != p.flow.Dst {
			translated := p.flow
			translated.Dst, translated.DstPort = p.at[i-1].addr.Addr(), p.at[i-1].addr.Port()
			if err := node.forget(translated, p.id); err != nil {
				return err
			}
		}
	}
	return nil
}

// nodeOf returns the node that a place is or is on; nil for hosts outside.
func (l *Lab) nodeOf(p *place) *place {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if n, ok := l.nodes[p.name]; ok {
		return n.place
	}
	if q, ok := l.pods[p.name]; ok {
		return q.node.place
	}
	return nil
}

func (p *pending) add(q *probe) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.all == nil {
		p.all = map[uint32]*probe{}
		var seed [4]byte
		_, _ = rand.Read(seed[:])
		p.last = binary.LittleEndian.Uint32(seed[:])
	}
	for p.last++; p.last == 0 || p.all[p.last] != nil; p.last++ {
	}
	q.id = p.last
	p.all[q.id] = q
}

func (p *pending) remove(q *probe) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.all, q.id)
}

// dispatch hands what was seen at a place to the probe that it is of.
func (p *pending) dispatch(at *place, s seen) {
	p.mu.Lock()
	q := p.all[s.id]
	p.mu.Unlock()
	if q != nil {
		q.see(at, s, time.Now())
	}
}

// see takes in what was seen of the probe.
func (p *probe) see(at *place, s seen, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.sent.IsZero() {
		return
	}
	f := p.flow
	icmp := f.Protocol == model.ICMPv4 || f.Protocol == model.ICMPv6
	if icmp && s.answer == "" && (s.icmpType != f.ICMPType || s.icmpCode != f.ICMPCode) {
		if !icmpIsEchoReply(f.Protocol, s.icmpType) {
			return
		}
		s.answer = "echo reply"
	}
	if s.answer != "" {
		if at != p.from || s.dst.Addr() != f.Src {
			return
		}
		p.result.Answer = s.answer
		p.result.Rejected = s.rejects && !p.result.Delivered
		p.result.Answered = !p.result.Rejected
		p.result.Latency = now.Sub(p.sent)
		return
	}
	if p.result.Delivered || !slices.ContainsFunc(p.at, func(t target) bool { return t.place == at }) {
		return
	}
	p.result.Delivered, p.result.At, p.result.From, p.result.To = true, at.name, s.src, s.dst
	if p.result.Answer == "" {
		p.result.Latency = now.Sub(p.sent)
	} else {
		p.result.Rejected, p.result.Answered = false, true
	}
	if f.Protocol != model.TCP && !icmp && !p.mute {
		p.echo = &model.Flow{Src: s.dst.Addr(), Dst: s.src.Addr(), Protocol: f.Protocol, SrcPort: s.dst.Port(), DstPort: s.src.Port()}
		p.echoAt = at
	}
}

// complete says whether there is nothing left to wait for.
func (p *probe) complete() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	echo := icmpIsEchoRequest(p.flow.Protocol, p.flow.ICMPType)
	icmp := p.flow.Protocol == model.ICMPv4 || p.flow.Protocol == model.ICMPv6
	return p.result.Answer != "" || p.result.Delivered && icmp && !echo
}

func icmpIsEchoRequest(p model.Protocol, typ uint8) bool {
	return p == model.ICMPv4 && typ == 8 || p == model.ICMPv6 && typ == 128
}

// describe says a flow in words.
func describe(f model.Flow) string {
	switch {
	case f.Protocol.HasPorts():
		return fmt.Sprintf("%s %s > %s", f.Protocol, netip.AddrPortFrom(f.Src, f.SrcPort), netip.AddrPortFrom(f.Dst, f.DstPort))
	case f.Protocol == model.ICMPv4 || f.Protocol == model.ICMPv6:
		return fmt.Sprintf("%s type %d code %d %s > %s", f.Protocol, f.ICMPType, f.ICMPCode, f.Src, f.Dst)
	}
	return fmt.Sprintf("protocol %s %s > %s", f.Protocol, f.Src, f.Dst)
}
