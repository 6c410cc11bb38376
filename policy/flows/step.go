package flows

import (
	"slices"
	"time"
)

// Step joins windows to windows of the length step, which are aligned to multiples of it
// in UTC. Records that differ in their window alone become one, also if step is 0 and
// windows stay as they are. The result is sorted; list is not changed.
func Step(list []Record, step time.Duration) []Record {
	out := slices.Clone(list)
	for i := range out {
		if r := &out[i]; step > 0 && r.End.Sub(r.Start) < step {
			r.Start = r.Start.UTC().Truncate(step)
			r.End = r.Start.Add(step)
		}
	}
	// Of equal keys, the earliest window is first: how many are open is said by the last.
	order := make([]int, len(out))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(i, j int) int {
		if c := Compare(&out[i], &out[j]); c != 0 {
			return c
		}
		return list[i].Start.Compare(list[j].Start)
	})
	var joined []Record
	var last time.Time // window of what was added last to the last of joined
	for _, i := range order {
		r := out[i]
		n := len(joined)
		if n == 0 || Compare(&joined[n-1], &r) != 0 {
			joined, last = append(joined, r), list[i].Start
			continue
		}
		joined[n-1].add(&r, list[i].Start.After(last))
		last = list[i].Start
	}
	return joined
}

// add adds a record of the same key. What is open is that of the later window, or the
// sum within one.
func (r *Record) add(o *Record, later bool) {
	r.Connections.New += o.Connections.New
	r.Connections.Closed += o.Connections.Closed
	if later {
		r.Connections.Live = o.Connections.Live
	} else {
		r.Connections.Live += o.Connections.Live
	}
	r.Denied += o.Denied
	r.Sent, r.Received = addVolumes(r.Sent, o.Sent), addVolumes(r.Received, o.Received)
	r.Source.addEnd(&o.Source)
	r.Destination.addEnd(&o.Destination)
	r.Reporters = mergeNames(r.Reporters, o.Reporters)
	r.Decided.Generation = max(r.Decided.Generation, o.Decided.Generation)
}

// addVolumes never changes its arguments; nil stands for what was not counted.
func addVolumes(a, b *Volume) *Volume {
	switch {
	case a == nil:
		return b
	case b == nil:
		return a
	}
	return &Volume{Packets: a.Packets + b.Packets, Bytes: a.Bytes + b.Bytes}
}

// Total joins records of all windows: each flow is one record, from its first window to
// its last.
func Total(list []Record) []Record {
	out := slices.Clone(list)
	slices.SortStableFunc(out, func(a, b Record) int {
		if c := compareKeys(&a, &b); c != 0 {
			return c
		}
		return a.Start.Compare(b.Start)
	})
	var joined []Record
	for _, r := range out {
		n := len(joined)
		if n == 0 || compareKeys(&joined[n-1], &r) != 0 {
			joined = append(joined, r)
			continue
		}
		joined[n-1].add(&r, r.Start.After(joined[n-1].Start))
		joined[n-1].End = r.End
	}
	return joined
}
