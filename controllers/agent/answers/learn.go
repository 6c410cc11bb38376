package answers

import (
	"net/netip"
	"time"

	"github.com/tierwall/tierwall/dataplane/dns"
	"github.com/tierwall/tierwall/dataplane/nfqueue"
	"github.com/tierwall/tierwall/policy/names"
)

// packets takes what has come to wait in the queue at a time.
func (k *Keeper) packets(list []nfqueue.Packet) {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := k.clock.Now()
	free := make([]uint32, 0, len(list))
	if k.config.Observe {
		for i := range list {
			free = append(free, list[i].ID)
		}
		k.accept(free)
		free = free[:0]
	}
	for i := range list {
		switch p := &list[i]; {
		case !k.packet(p, now):
			free = append(free, p.ID)
		case !k.config.Observe:
			k.waiting.next.add(p.ID, now)
		}
	}
	if !k.config.Observe {
		k.accept(free) // nothing that they bring has to be in the kernel first
	}
	if deltas := k.submit(now); deltas != nil {
		k.program(deltas)
	}
}

// packet learns from a packet, and reports whether it has to wait.
func (k *Keeper) packet(p *nfqueue.Packet, now time.Time) (wait bool) {
	s, ok := p.Segment()
	if !ok || s.Src.Port() != port {
		k.metrics.answers.WithLabelValues("other").Inc()
		return false
	}
	if _, trusted := k.servers[s.Src.Addr()]; !trusted {
		k.metrics.answers.WithLabelValues("untrusted").Inc()
		return false
	}
	message := func(msg []byte) { wait = k.message(msg, now) || wait }
	if s.TCP {
		repeats, whole := k.streams.segment(&s, now, message)
		// What is sent again of an answer that waits must not overtake it.
		wait = wait || repeats && (k.waiting.busy() || k.waiting.more)
		if !whole {
			k.metrics.answers.WithLabelValues("torn").Inc()
		}
	} else {
		message(s.Payload)
	}
	var reason string
	switch {
	case !wait:
		return false
	case k.stopped || k.waiting.stuck:
		reason = "late"
	case !k.rates.take(s.Dst.Addr(), now):
		reason = "rate"
	default:
		return true
	}
	k.metrics.unheld.WithLabelValues(reason).Inc()
	return false
}

// port that answers come from.
const port = 53

// message learns from an answer. It reports whether what it has brought is not in the
// kernel yet, as far as is known.
func (k *Keeper) message(msg []byte, now time.Time) (wait bool) {
	m, err := dns.Parse(msg)
	if err != nil {
		k.metrics.answers.WithLabelValues("malformed").Inc()
		return false
	}
	o := k.learn(m.Answer, now)
	if len(o.Names) == 0 {
		k.metrics.answers.WithLabelValues("unnamed").Inc()
		return false
	}
	if o.Added == 0 && !k.waiting.busy() && !k.waiting.more {
		k.metrics.answers.WithLabelValues("known").Inc()
		return false
	}
	k.metrics.answers.WithLabelValues("new").Inc()
	return len(m.Addrs) > len(o.Refused)
}

// learn takes in what an answer contains.
func (k *Keeper) learn(a names.Answer, now time.Time) names.Outcome {
	o := k.table.Learn(a, now)
	if o.Added > 0 {
		k.waiting.more = true
	}
	for _, name := range o.Names {
		if o.Added > 0 {
			k.unsaved[name] = struct{}{}
			wake(k.work)
		} else {
			k.seen[name] = struct{}{}
		}
	}
	k.metrics.full.Add(float64(o.Full))
	for _, addr := range o.Refused {
		k.noteRefused(addr, o.Names)
	}
	return o
}

// submit returns the changes that the kernel needs now, and starts the wait for them;
// nil if there are none or one is under way.
func (k *Keeper) submit(now time.Time) []names.Delta {
	if k.waiting.busy() || !k.waiting.more && len(k.waiting.next.ids) == 0 {
		return nil
	}
	deltas := k.deltas()
	k.waiting.start(now)
	if len(deltas) == 0 { // it has been undone meanwhile, or the caller of Use brings it
		ids, _ := k.waiting.done()
		k.accept(ids)
		return nil
	}
	return deltas
}

// deltas are those of the next change. What answers push out of the table is not brought
// together with what they wait for: iptables has to wait between the two for packets that
// are under way. It comes with the next change for which no answer waits, and with tick.
func (k *Keeper) deltas() []names.Delta {
	if len(k.waiting.next.ids) > 0 && k.table.Gone() <= mostGone {
		return k.table.Additions()
	}
	return k.table.Deltas()
}

// Of addresses that have gone, someGone are enough for a change of their own when nothing
// waits, few enough that what comes meanwhile does not wait long. mostGone bounds how many
// stay in the kernel.
const (
	someGone = 32
	mostGone = 1000
)

// program passes a change on to the kernel.
func (k *Keeper) program(deltas []names.Delta) {
	k.metrics.changes.Inc()
	k.opts.Program(deltas, k.done)
}

// done is called when the kernel holds a change, or has rejected it.
func (k *Keeper) done(err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := k.clock.Now()
	stuck := k.waiting.stuck
	ids, since := k.waiting.done()
	if stuck && k.bound && !k.stopped {
		k.renew() // rather than with the next beat: answers go by meanwhile
	}
	for _, at := range since {
		k.metrics.added.Observe(now.Sub(at).Seconds())
	}
	if err != nil {
		k.metrics.unheld.WithLabelValues("failed").Add(float64(len(ids)))
	} else {
		k.metrics.held.Add(float64(len(ids)))
	}
	k.accept(ids)
	if len(k.waiting.next.ids) == 0 && k.table.Gone() >= someGone {
		k.waiting.more = true
	}
	if deltas := k.submit(now); deltas != nil {
		k.program(deltas)
	}
}

// noteRefused counts an address that no answer may bring, and reports each one once.
func (k *Keeper) noteRefused(a netip.Addr, of []string) {
	k.metrics.refused.Inc()
	if _, ok := k.refused[a]; ok || len(k.refused) >= maxRefused {
		return
	}
	k.refused[a] = of[0]
	k.log.Warn("a DNS answer contains an internal address, which rules by name never allow", "address", a.String(), "name", of[0])
}

// maxRefused is how many refused addresses are kept, for reports.
const maxRefused = 100
