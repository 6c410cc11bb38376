package flows

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/tierwall/tierwall/policy/model"
)

// Joiner joins what the agents of both ends have seen of the same connections, window
// after window, so that each connection is counted once. It must be given the windows in
// order. The zero Joiner is ready for use; it is not safe for concurrent use.
//
// The nodes' clocks and the packets' way set the two sides apart: a connection may be
// in one window of the source's node and in the next of the destination's. So the sides'
// sums since the flow began are compared, and what is counted of a window is by how much
// the larger of the two has grown: that is right for every flow of which at least one
// side sees everything. A side is the records whose reporter is the node of that end, so
// agents must not sum what their own pods send with what others send to them.
type Joiner struct {
	totals map[string]*totals
	window time.Time
}

// forgetAfter is the number of windows after which a flow that nobody reports begins anew.
const forgetAfter = 4

// totals are the sums of a flow since it began.
type totals struct {
	source, destination, counted counts
	seen                         time.Time
}

// counts are what grows: connections that policy allowed, and volumes.
type counts struct {
	opened, closed           uint64
	sent, received           Volume
	knowsSent, knowsReceived bool
}

// Join joins the records of one window. The result is sorted; list is not changed.
func (j *Joiner) Join(list []Record) []Record {
	if len(list) == 0 {
		return nil
	}
	if j.totals == nil {
		j.totals = map[string]*totals{}
	}
	list = slices.Clone(list)
	for i := range list {
		list[i].Reporters = slices.Clone(list[i].Reporters)
	}
	byFlow := func(a, b Record) int {
		return cmp.Or(a.Start.Compare(b.Start), a.End.Compare(b.End), compareIdentities(&a, &b))
	}
	slices.SortFunc(list, func(a, b Record) int {
		return cmp.Or(byFlow(a, b), compareKeys(&a, &b), slices.Compare(a.Reporters, b.Reporters))
	})
	var out []Record
	for len(list) > 0 {
		n := 1
		for n < len(list) && byFlow(list[0], list[n]) == 0 {
			n++
		}
		out = append(out, j.flow(list[:n])...)
		j.window = list[0].Start
		list = list[n:]
	}
	for id, t := range j.totals {
		if j.window.Sub(t.seen) > forgetAfter*Window {
			delete(j.totals, id)
		}
	}
	return Step(out, 0)
}

// flow joins the records of one flow in one window.
func (j *Joiner) flow(list []Record) []Record {
	if list[0].Other {
		return list // of each node's own
	}
	var out, source, destination []Record
	for _, r := range list {
		switch atSource, atDestination := reports(&r, &r.Source), reports(&r, &r.Destination); {
		case atSource && atDestination, len(r.Reporters) != 1:
			out = append(out, r) // nobody else sees it, or it has been joined before
		case atDestination:
			destination = append(destination, r)
		default:
			source = append(source, r)
		}
	}
	if len(source)+len(destination) == 0 {
		return out
	}
	id := identity(&list[0])
	t := j.totals[id]
	if !inside(&list[0].Source) || !inside(&list[0].Destination) {
		return append(out, slices.Concat(source, destination)...) // there is one side only
	}
	if t == nil {
		t = &totals{}
		j.totals[id] = t
	}
	t.seen = list[0].Start
	return append(out, t.join(Step(source, 0), Step(destination, 0))...) // of all nodes of a side
}

// inside reports whether an end is in the cluster, where an agent may report on it.
func inside(e *End) bool { return e.Kind == EndPod || e.Kind == EndHost }

// reports reports whether a record's only reporter is the node of an end.
func reports(r *Record, e *End) bool {
	node := e.Node
	if e.Kind == EndHost && node == "" {
		node = strings.TrimPrefix(e.Workload, "Node/")
	}
	return len(r.Reporters) == 1 && node != "" && r.Reporters[0] == node
}

// identity is a flow's name: that of compareIdentities.
func identity(r *Record) string {
	var b strings.Builder
	for _, e := range []*End{&r.Source, &r.Destination} {
		for _, s := range []string{string(e.Kind), e.Namespace, e.Workload, e.Set, e.Domain} {
			b.WriteString(s)
			b.WriteByte(0)
		}
	}
	b.Write([]byte{byte(r.Protocol), byte(r.Port >> 8), byte(r.Port), r.ICMPType, r.ICMPCode})
	if q := r.Request; q != nil {
		b.WriteString(q.Method + "\x00" + q.Path)
		b.Write([]byte{byte(q.Status >> 8), byte(q.Status)})
	}
	return b.String()
}

// join joins both sides' records of one window, each list sorted by key.
func (t *totals) join(source, destination []Record) []Record {
	for i := range source {
		t.source.add(&source[i])
	}
	for i := range destination {
		t.destination.add(&destination[i])
	}
	grown := t.grow()
	// Denied connections are counted where they are denied. What the source's node makes
	// of a connection that the destination's denies was never a connection.
	var denied, allowed, deniedThere, allowedThere []Record
	for _, r := range source {
		if r.Decided.Action == model.Deny {
			denied = append(denied, r)
		} else {
			allowed = append(allowed, r)
		}
	}
	for _, r := range destination {
		if r.Decided.Action == model.Deny {
			deniedThere = append(deniedThere, r)
		} else {
			allowedThere = append(allowedThere, r)
		}
	}
	out := joinDenied(denied, deniedThere, allowed)
	if len(deniedThere) > 0 && len(allowedThere) == 0 && !knowsIngress(allowed) {
		allowed = nil // what the source's node believes to be open
	}
	return append(out, joinAllowed(allowed, allowedThere, grown)...)
}

// knowsIngress reports whether the source's node has evaluated the destination's policies.
func knowsIngress(list []Record) bool {
	return slices.ContainsFunc(list, func(r Record) bool { return r.Decided.Ingress != nil })
}

// grow returns by how much the larger side has grown since it was last asked.
func (t *totals) grow() counts {
	most := counts{
		opened: max(t.source.opened, t.destination.opened, t.counted.opened), closed: max(t.source.closed, t.destination.closed, t.counted.closed),
		sent:     maxVolume(t.source.sent, t.destination.sent, t.counted.sent),
		received: maxVolume(t.source.received, t.destination.received, t.counted.received),
	}
	grown := counts{
		opened: most.opened - t.counted.opened, closed: most.closed - t.counted.closed,
		sent:      Volume{most.sent.Packets - t.counted.sent.Packets, most.sent.Bytes - t.counted.sent.Bytes},
		received:  Volume{most.received.Packets - t.counted.received.Packets, most.received.Bytes - t.counted.received.Bytes},
		knowsSent: t.source.knowsSent || t.destination.knowsSent, knowsReceived: t.source.knowsReceived || t.destination.knowsReceived,
	}
	t.counted = most
	return grown
}

func maxVolume(a, b, c Volume) Volume {
	return Volume{Packets: max(a.Packets, b.Packets, c.Packets), Bytes: max(a.Bytes, b.Bytes, c.Bytes)}
}

// add adds a record of one side. Connections that were denied are not counted here.
func (c *counts) add(r *Record) {
	if r.Decided.Action == model.Deny {
		return
	}
	c.opened += r.Connections.New
	c.closed += r.Connections.Closed
	if v := r.Sent; v != nil {
		c.knowsSent, c.sent.Packets, c.sent.Bytes = true, c.sent.Packets+v.Packets, c.sent.Bytes+v.Bytes
	}
	if v := r.Received; v != nil {
		c.knowsReceived, c.received.Packets, c.received.Bytes = true, c.received.Packets+v.Packets, c.received.Bytes+v.Bytes
	}
}

// joinDenied returns the denied connections: those that the source's node denied, and
// those that the destination's did with what the other node knows of them.
func joinDenied(source, destination, allowed []Record) []Record {
	var out []Record
	taken := make([]bool, len(destination))
	for _, s := range source {
		if v := s.Decided.Egress; v == nil || v.Action != model.Deny {
			// The source's node only knows that the destination's denies.
			if i := slices.IndexFunc(destination, func(d Record) bool { return agree(&s.Decided, &d.Decided) }); i >= 0 {
				taken[i] = true
				out = append(out, merged(&destination[i], &s))
				continue
			}
		}
		out = append(out, s)
	}
	for i, d := range destination {
		if taken[i] {
			continue
		}
		if k := slices.IndexFunc(allowed, func(s Record) bool { return agree(&s.Decided, &d.Decided) }); k >= 0 {
			d = merged(&d, &allowed[k])
		}
		out = append(out, d)
	}
	return out
}

// agree reports whether two nodes' answers can be those for one connection: in each
// direction, only one of them knows what decided, or both say the same.
func agree(a, b *Decided) bool {
	same := func(x, y *model.Verdict) bool { return x == nil || y == nil || compareVerdicts(x, y) == 0 }
	return same(a.Egress, b.Egress) && same(a.Ingress, b.Ingress)
}

// joinAllowed returns the records of the side that tells more of them apart, with what
// the other side knows, which together count what has grown.
func joinAllowed(source, destination []Record, grown counts) []Record {
	counted, other := source, destination
	if len(destination) > len(source) {
		counted, other = destination, source
	}
	if len(counted) == 0 {
		return nil
	}
	out := make([]Record, 0, len(counted))
	for _, r := range counted {
		if i := slices.IndexFunc(other, func(o Record) bool { return agree(&r.Decided, &o.Decided) }); i >= 0 {
			r = merged(&r, &other[i])
		}
		out = append(out, r)
	}
	var live uint64
	for i := range other {
		live += other[i].Connections.Live
	}
	share(out, grown, live)
	return slices.DeleteFunc(out, func(r Record) bool {
		return r.Connections == Connections{} && r.Denied == 0 && empty(r.Sent) && empty(r.Received)
	})
}

func empty(v *Volume) bool { return v == nil || *v == Volume{} }

// share makes the sums of records those of grown. Live is a state and no sum: the side
// that has more open connections is right.
func share(list []Record, grown counts, live uint64) {
	numbers := func(total uint64, of func(*Record) *uint64) {
		var sum uint64
		largest := 0
		for i := range list {
			sum += *of(&list[i])
			if *of(&list[i]) > *of(&list[largest]) {
				largest = i
			}
		}
		if sum <= total {
			*of(&list[largest]) += total - sum
			return
		}
		for over, i := sum-total, len(list)-1; over > 0 && i >= 0; i-- { // of what was counted before
			n := of(&list[i])
			less := min(*n, over)
			*n -= less
			over -= less
		}
	}
	numbers(grown.opened, func(r *Record) *uint64 { return &r.Connections.New })
	numbers(grown.closed, func(r *Record) *uint64 { return &r.Connections.Closed })
	var sum uint64
	for i := range list {
		sum += list[i].Connections.Live
	}
	numbers(max(sum, live), func(r *Record) *uint64 { return &r.Connections.Live })
	for _, v := range []struct {
		known bool
		total Volume
		of    func(*Record) **Volume
	}{
		{grown.knowsSent, grown.sent, func(r *Record) **Volume { return &r.Sent }},
		{grown.knowsReceived, grown.received, func(r *Record) **Volume { return &r.Received }},
	} {
		if !v.known {
			continue
		}
		for i := range list { // never the caller's
			own := Volume{}
			if p := *v.of(&list[i]); p != nil {
				own = *p
			}
			*v.of(&list[i]) = &own
		}
		numbers(v.total.Packets, func(r *Record) *uint64 { return &(*v.of(r)).Packets })
		numbers(v.total.Bytes, func(r *Record) *uint64 { return &(*v.of(r)).Bytes })
	}
}

// merged is a record with what another node's record knows beyond it: the source's node
// knows the Service and its own egress, the destination's its own ingress.
func merged(r, other *Record) Record {
	out := *r
	out.Service = cmp.Or(r.Service, other.Service)
	out.Decided = mergedDecided(&r.Decided, &other.Decided)
	switch {
	case r.Before == nil:
		out.Before = other.Before
	case other.Before != nil:
		before := mergedDecided(r.Before, other.Before)
		out.Before = &before
	}
	out.Source.Node, out.Destination.Node = cmp.Or(r.Source.Node, other.Source.Node), cmp.Or(r.Destination.Node, other.Destination.Node)
	out.Source.Addresses = mergeAddrs(r.Source.Addresses, other.Source.Addresses)
	out.Destination.Addresses = mergeAddrs(r.Destination.Addresses, other.Destination.Addresses)
	out.Reporters = mergeNames(r.Reporters, other.Reporters)
	return out
}

func mergedDecided(a, b *Decided) Decided {
	out := *a
	out.Egress, out.Ingress = cmp.Or(a.Egress, b.Egress), cmp.Or(a.Ingress, b.Ingress)
	out.Generation = max(a.Generation, b.Generation)
	if b.Action == model.Deny {
		out.Action = model.Deny
	}
	return out
}
