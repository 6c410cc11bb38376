package view

import (
	"cmp"
	"slices"

	"github.com/tierwall/tierwall/policy/diff"
	"github.com/tierwall/tierwall/policy/flows"
	"github.com/tierwall/tierwall/policy/model"
	"github.com/tierwall/tierwall/policy/verdict"
)

// WhatIf is what another state of the objects would change.
type WhatIf struct {
	Summary diff.Summary `json:"summary"`
	// Changes are the first MaxChanges of those that the Summary counts, and of the
	// traffic of endpoints that only one state has.
	Changes        []ChangeLine `json:"changes"`
	ChangesOmitted int          `json:"changesOmitted,omitempty"`
	Seen           Replay       `json:"seen"`
	// Warnings of the reading of the other state.
	Warnings []string `json:"warnings,omitempty"`
}

// MaxChanges is how many changes a WhatIf, and a Replay, list.
const MaxChanges = 500

// ChangeLine is a change in words.
type ChangeLine struct {
	Kind    diff.Kind `json:"kind"`
	From    string    `json:"from"`
	To      string    `json:"to"`
	Traffic string    `json:"traffic"`
	// Where limits the change to a family, or to endpoints on the same or on other nodes.
	Where  string `json:"where,omitempty"`
	Before string `json:"before,omitempty"`
	After  string `json:"after,omitempty"`
}

// Replay is what would have happened to the flows that were seen.
type Replay struct {
	// Flows and Connections that were looked at.
	Flows       int    `json:"flows"`
	Connections uint64 `json:"connections"`
	// Unknown flows have an end without an address in one of the states.
	Unknown int `json:"unknown,omitempty"`
	// Denied and Allowed are flows that would newly be; DeniedConnections and
	// AllowedConnections are theirs.
	Denied             int            `json:"denied"`
	DeniedConnections  uint64         `json:"deniedConnections"`
	Allowed            int            `json:"allowed"`
	AllowedConnections uint64         `json:"allowedConnections"`
	Changed            []ReplayedFlow `json:"changed"`
	ChangedOmitted     int            `json:"changedOmitted,omitempty"`
}

// ReplayedFlow is a flow whose outcome changes.
type ReplayedFlow struct {
	From        string       `json:"from"`
	To          string       `json:"to"`
	Traffic     string       `json:"traffic"`
	Connections uint64       `json:"connections"`
	Action      model.Action `json:"action"` // after
	Before      string       `json:"before"`
	After       string       `json:"after"`
}

// WhatIf compares w with another state of the objects.
func (w *World) WhatIf(after *World, records []flows.Record) *WhatIf {
	r := diff.Compare(w.index, after.index, diff.Options{ServicesBefore: w.services, ServicesAfter: after.services})
	out := &WhatIf{Summary: r.Summary, Changes: []ChangeLine{}, Seen: replay(w, after, records)}
	all := slices.Concat(r.Changes, r.Apart)
	for i := range all[:min(len(all), MaxChanges)] {
		c := &all[i]
		l := ChangeLine{Kind: c.Kind, From: c.From.Text, To: c.To.Text, Traffic: c.Traffic.String(), Before: c.Before.String(), After: c.After.String()}
		if c.Where != "" && c.Where != diff.Itself {
			l.Where = string(c.Where)
		}
		l.Where = cmp.Or(l.Where, c.Family)
		out.Changes = append(out.Changes, l)
	}
	out.ChangesOmitted = len(all) - len(out.Changes)
	return out
}

// replay decides the flows of records in two worlds.
func replay(before, after *World, records []flows.Record) Replay {
	out := Replay{Changed: []ReplayedFlow{}}
	type seenFlow struct {
		record      *flows.Record
		connections uint64
	}
	at := map[model.Flow]int{}
	var list []seenFlow
	for i := range records {
		r := &records[i]
		if r.Other {
			continue
		}
		f, err := before.Flow(r)
		if err != nil {
			out.Unknown++
			continue
		}
		j, ok := at[f]
		if !ok {
			j = len(list)
			at[f] = j
			list = append(list, seenFlow{record: r})
		}
		list[j].connections += connections(r)
	}
	for _, x := range list {
		f, _ := before.Flow(x.record)
		g, err := after.Flow(x.record)
		if err != nil {
			out.Unknown++
			continue
		}
		out.Flows++
		out.Connections += x.connections
		was, will := verdict.Decide(before.index, f), verdict.Decide(after.index, g)
		if was.Action == will.Action {
			continue
		}
		if will.Action == model.Deny {
			out.Denied++
			out.DeniedConnections += x.connections
		} else {
			out.Allowed++
			out.AllowedConnections += x.connections
		}
		out.Changed = append(out.Changed, ReplayedFlow{
			From: nameOf(&x.record.Source), To: nameOf(&x.record.Destination), Traffic: trafficText(&f), Connections: x.connections,
			Action: will.Action, Before: verdict.Because(&was), After: verdict.Because(&will),
		})
	}
	slices.SortStableFunc(out.Changed, func(a, b ReplayedFlow) int {
		return cmp.Or(cmp.Compare(b.Action, a.Action), cmp.Compare(b.Connections, a.Connections))
	})
	out.ChangedOmitted = max(0, len(out.Changed)-MaxChanges)
	out.Changed = out.Changed[:len(out.Changed)-out.ChangedOmitted]
	return out
}
