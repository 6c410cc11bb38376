package flows

import (
	"hash/maphash"
	"time"

	"github.com/tierwall/tierwall/dataplane/conntrack/events"
)

// carried is what a connection had carried at a dump.
type carried struct {
	sent, received events.Volume
	dump           uint64
}

// rate bounds attributions.
type rate struct {
	second time.Time
	left   int
}

// take counts an event. Both locks are held.
func (r *Recorder) take(e *events.Event) {
	r.metrics.events[e.Kind]++
	if e.Original.Src.IsLoopback() || e.Original.Dst.IsLoopback() {
		return // of a host with itself
	}
	k := r.keyOf(e)
	var c *count
	switch e.Kind {
	case events.Began:
		c = r.table.in(k)
		c.began++
		if k != nil {
			k.live++
			k.weight++
		} else {
			r.table.summed.Add(1)
		}
	case events.Ended:
		c = r.table.in(k)
		c.ended++
		if k != nil {
			k.live--
		}
		r.carry(c, e)
	case events.Listed:
		if k == nil {
			return
		}
		k.listed++
		c = r.table.in(k)
		r.carry(c, e)
	}
	c.generation = r.generation
	if k != nil {
		c.generation = k.generation
	}
}

// carry adds what a connection has carried since it was last looked at.
func (r *Recorder) carry(c *count, e *events.Event) {
	if !e.Counted {
		return
	}
	sent, received := e.Sent, e.Received
	if e.Kind == events.Listed || len(r.long) > 0 {
		id := maphash.Comparable(r.seed, e.Original) ^ uint64(e.ID)
		old, ok := r.long[id]
		if ok {
			sent.Packets -= min(sent.Packets, old.sent.Packets)
			sent.Bytes -= min(sent.Bytes, old.sent.Bytes)
			received.Packets -= min(received.Packets, old.received.Packets)
			received.Bytes -= min(received.Bytes, old.received.Bytes)
		}
		switch {
		case e.Kind == events.Ended:
			delete(r.long, id)
		case ok || len(r.long) < maxLong:
			r.long[id] = carried{e.Sent, e.Received, r.dumping}
		default:
			return // all of it counts at its end
		}
	}
	c.counted = true
	c.sent.Packets += sent.Packets
	c.sent.Bytes += sent.Bytes
	c.received.Packets += received.Packets
	c.received.Bytes += received.Bytes
}

// keyOf is the key of an event's connection; nil: it is past a limit.
func (r *Recorder) keyOf(e *events.Event) *key {
	if r.ports == nil {
		r.ports = newSourcePorts(r.opts.Index)
	}
	f := flowOf(e, r.ports)
	k, ok := r.cache[f]
	if !ok || k.gone {
		if k, ok = r.attribute(&f); !ok {
			return nil
		}
	}
	if e.Kind != events.Began {
		return r.opened(k)
	}
	if r.change.ambiguous {
		k = r.doubt(k, e)
	}
	k.srcAddrs.add(addr(&f.src, f.srcFour))
	k.dstAddrs.add(addr(&f.dst, f.dstFour))
	return k
}

// opened is the key that connections were counted to when they began: what policy denies
// by now, it has allowed once.
func (r *Recorder) opened(k *key) *key {
	if k.decided.Value().action == denied {
		if allowed := r.table.allowed(&k.identity); allowed != nil {
			return allowed
		}
	}
	return k
}

// attribute asks the index about a flow and remembers the answer.
func (r *Recorder) attribute(f *flow) (*key, bool) {
	now := r.clock.Now()
	if now.Sub(r.rate.second) >= time.Second {
		r.rate = rate{now, attributions}
	}
	if r.rate.left == 0 {
		return nil, false
	}
	r.rate.left--
	a := (&attributor{ix: r.opts.Index, node: r.opts.Node, services: r.services}).attribute(f)
	r.metrics.attributed++
	k := r.table.find(&a, r.generation, nil)
	if k == nil {
		return nil, false
	}
	k.generation = r.generation
	if a.srcNode != k.srcAddrs.node {
		k.srcAddrs.several.Store(true)
	}
	if a.dstNode != k.dstAddrs.node {
		k.dstAddrs.several.Store(true)
	}
	if r.cache == nil || len(r.cache) >= maxFlows {
		r.cache = make(map[flow]*key)
	}
	r.cache[*f] = k
	return k, true
}
