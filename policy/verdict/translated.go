package verdict

import (
	"github.com/tierwall/tierwall/policy/index"
	"github.com/tierwall/tierwall/policy/model"
)

// ExplainTranslated is Explain for a connection to an address of a Service: before is
// the flow as it was sent, and after as a node translates it. Traffic to the address of
// a node is translated on that node, other traffic of a pod or node on its own node,
// and traffic from outside on the node where it arrives, which is assumed to be the
// receiver's if that is known. The source stays the same: if a node replaces it with
// its own address on the way to an endpoint on another node, the policy there sees that
// address instead.
func ExplainTranslated(ix *index.Index, before, after model.Flow) *Explanation {
	before.Src, before.Dst = before.Src.Unmap(), before.Dst.Unmap()
	after.Src, after.Dst = after.Src.Unmap(), after.Dst.Unmap()
	d := decider{ix: ix, explain: true, before: before}
	d.Flow, d.Action = after, model.Allow
	s, dst, named := EndOf(ix, after.Src), EndOf(ix, after.Dst), EndOf(ix, before.Dst)
	for _, l := range legs(&s, &dst, &named) {
		r := router{ix: ix}
		l.route(&r, &s, &dst, &named)
		leg := after
		if l.sees == seesBefore {
			leg = before
		}
		if d.before = before; l.sees == seesAfter {
			d.before = after
		}
		if d.walk(leg, r.stops[:r.n]); d.Action == model.Deny {
			break
		}
	}
	d.Flow = after
	return &Explanation{Decision: d.Decision, Traces: d.traces}
}

// RouteTranslated appends the stops between a sender and an endpoint of a Service to
// buf, as ExplainTranslated takes them, if the sender names another address. The first
// asSent of them see the packet as it was sent; the others see it as it is translated.
// Outside ends have none.
func RouteTranslated(ix *index.Index, buf []Stop, src, dst, named *End) (stops []Stop, asSent int) {
	before := true
	for i, l := range legs(src, dst, named) {
		if l.end != nil {
			continue
		}
		r := router{ix: ix, shift: i * settledBits}
		l.route(&r, src, dst, named)
		for j := range r.stops[:r.n] {
			s := &r.stops[j]
			if s.FromBlocks && !ix.InPodBlocks(src.addr) {
				continue
			}
			if before = before && (l.sees == seesBefore || l.sees == translates && s.BeforeNAT()); before {
				asSent++
			}
			buf = append(buf, *s)
		}
	}
	return buf, asSent
}

// sight is how a node sees a connection whose destination is translated on the way.
type sight uint8

const (
	seesBefore sight = iota // it is translated later
	translates              // before the stages behind routing
	seesAfter               // it has been translated
)

// leg is one node on the route of a translated connection. The node is empty for an
// outside end.
type leg struct {
	node string
	sees sight
	end  *End // outside; else nil
	dir  model.Direction
}

// legs are the nodes on the route, in order.
func legs(s, d, named *End) []leg {
	var out []leg
	at := d.node
	switch {
	case named.kind == endHost:
		if at = named.node; s.kind != endOutside && s.node != at {
			out = append(out, leg{node: s.node, sees: seesBefore})
		}
	case s.kind != endOutside:
		at = s.node
	}
	if s.kind == endOutside {
		out = append(out, leg{end: s, dir: model.Egress})
	}
	if s.kind != endOutside || d.kind != endOutside || named.kind == endHost {
		out = append(out, leg{node: at, sees: translates})
	}
	switch {
	case d.kind == endOutside:
		out = append(out, leg{end: d, dir: model.Ingress})
	case d.node != at:
		out = append(out, leg{node: d.node, sees: seesAfter})
	}
	return out
}

// route adds the stops of a leg.
func (l *leg) route(r *router, s, d, named *End) {
	switch {
	case l.end != nil:
		r.unguarded(l.end, l.dir)
	case l.sees == seesBefore:
		r.hop(l.node, s, named, named)
	case l.sees == seesAfter:
		r.hop(l.node, s, d, d)
	case s.kind == endPod && s.pod == d.pod && s.node == l.node:
		h := r.hopOf(l.node, s, d)
		h.beforeRouting(named)
		r.toItself(s.pod)
	case s.node != l.node || !r.short(s, d):
		r.hop(l.node, s, d, named)
	}
}
