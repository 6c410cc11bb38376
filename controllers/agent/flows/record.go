package flows

import (
	"slices"

	"github.com/tierwall/tierwall/policy/flows"
	"github.com/tierwall/tierwall/policy/model"
)

const denied = model.Deny

// records are those of a closed window, sorted. Safe for concurrent use.
func (w *window) records(node string) []flows.Record {
	out := make([]flows.Record, 0, len(w.counts)+1)
	for i := range w.counts {
		out = append(out, w.record(&w.counts[i], node))
	}
	if w.other.began+w.other.ended > 0 || w.other.denied > 0 {
		out = append(out, w.record(&w.other, node))
	}
	slices.SortFunc(out, func(a, b flows.Record) int { return flows.Compare(&a, &b) })
	return out
}

func (w *window) record(c *count, node string) flows.Record {
	r := flows.Record{
		Start: w.start, End: w.start.Add(flows.Window),
		Connections: flows.Connections{New: uint64(c.began), Closed: uint64(c.ended), Live: uint64(c.live)},
		Denied:      c.denied,
	}
	if node != "" {
		r.Reporters = []string{node}
	}
	if c.counted {
		sent, received := c.sent, c.received
		r.Sent, r.Received = &sent, &received
	}
	k := c.key
	if k == nil {
		r.Other = true
		return r
	}
	r.Source, r.Destination = endOf(k.src.Value(), &k.srcAddrs), endOf(k.dst.Value(), &k.dstAddrs)
	r.Service, r.Protocol, r.Port, r.ICMPType, r.ICMPCode = k.service.Value(), k.protocol, k.port, k.icmpType, k.icmpCode
	r.Decided = decidedOf(k.decided, c.generation)
	if k.ambiguous {
		before := decidedOf(k.before, k.beforeGeneration)
		r.Before = &before
	}
	return r
}

func endOf(k endKey, s *samples) flows.End {
	e := flows.End{Kind: k.kind, Namespace: k.namespace, Workload: k.workload, Set: k.set, Domain: k.domain}
	if !s.several.Load() {
		e.Node = s.node
	}
	if p := s.addrs.Load(); p != nil {
		e.Addresses = *p
	}
	return e
}
