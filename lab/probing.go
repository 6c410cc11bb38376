//go:build linux

package lab

import (
	"context"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/tierwall/tierwall/policy/model"
)

// probe is one probe under way.
type probe struct {
	lab  *Lab
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

// hops is more than a packet can make one way: pod, node, wire, node, pod, with
// bridges, and with an address to be resolved on each link.
const hops = 24

// run sends the probe and follows it. All that is between two lines of settle
// happens on one CPU: see the package's comment.
func (p *probe) run(ctx context.Context, o Options) error {
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
		if err := p.forget(); err != nil {
			return err
		}
	}
	packet, dst, err := p.packet(o)
	if err != nil {
		return err
	}
	bound := p.flow.Src
	if o.From != "" || o.Inside != nil {
		bound = netip.Addr{}
	}
	err = p.lab.onCPU(func(w *witness) error {
		// Old packets must not be in the new one's way.
		if err := p.collect(replies); err != nil {
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
		if err := p.collect(replies); err != nil {
			return err
		}
		return p.finish(w, replies)
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
		if err = p.collect(replies); err == nil {
			err = p.lab.onCPU(func(w *witness) error { return p.finish(w, replies) })
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

// finish answers a probe that has arrived, if the lab has to, and
// looks for the answer.
func (p *probe) finish(w *witness, replies []*rawSocket) error {
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
	return p.collect(replies)
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
func (p *probe) collect(replies []*rawSocket) error {
	for i, t := range p.at {
		if i > 0 && t.socket == p.at[i-1].socket {
			continue
		}
		if err := t.socket.drain(func(s seen) { p.lab.pending.dispatch(t.place, s) }); err != nil {
			return t.place.wrap(err, "receive")
		}
	}
	for _, r := range replies {
		if err := r.drain(func(s seen) { p.lab.pending.dispatch(p.from, s) }); err != nil {
			return p.from.wrap(err, "receive")
		}
	}
	return nil
}

// forget makes the nodes on the way forget earlier connections of the probe's
// addresses and ports.
func (p *probe) forget() error {
	done := map[*place]bool{}
	places := []*place{p.from}
	for _, t := range p.at {
		places = append(places, t.place)
	}
	for i, q := range places {
		node := p.lab.nodeOf(q)
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

// complete reports whether there is nothing left to wait for.
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
