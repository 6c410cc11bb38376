package view

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/tierwall/tierwall/policy/flows"
	"github.com/tierwall/tierwall/policy/model"
	"github.com/tierwall/tierwall/policy/packets"
	"github.com/tierwall/tierwall/policy/reach"
	"github.com/tierwall/tierwall/policy/verdict"
)

// Groups of ends that are in no namespace.
const (
	GroupNodes   = "nodes"
	GroupOutside = "outside"
)

// Map is who may reach whom, and who was seen to.
type Map struct {
	Ends []MapEnd `json:"ends"`
	// Ways are the distinct contents of cells.
	Ways []MapWays `json:"ways"`
	// Cells has a row for each of the first MatrixSize ends as sender, with the index of
	// the Ways for each of these as receiver; -1: nothing is open, -2: there is nothing
	// to ask, as of an end and itself.
	Cells      [][]int `json:"cells"`
	MatrixSize int     `json:"matrixSize"`
	// Seen are the flows of the records, the most connections first.
	Seen []SeenEdge `json:"seen"`
	// SeenOmitted is how many edges there are beyond MaxSeen.
	SeenOmitted int `json:"seenOmitted,omitempty"`
}

// MaxSeen is how many edges of seen flows a Map has.
const MaxSeen = 10_000

// MapEnd is a workload, a node, or addresses outside.
type MapEnd struct {
	Name string `json:"name"`
	// Group is the namespace of pods, GroupNodes or GroupOutside.
	Group string `json:"group"`
	// Namespaced says that Group is a namespace.
	Namespaced bool `json:"namespaced,omitempty"`
	// Label is the name within the group.
	Label string `json:"label"`
	// Members is how many pods it has.
	Members int      `json:"members,omitempty"`
	Ports   []string `json:"ports,omitempty"`
}

// MapWays is the traffic that is open between two ends.
type MapWays struct {
	// All of the ports that the receiver names is open; else some.
	All  bool     `json:"all,omitempty"`
	Open []MapWay `json:"open"`
	// ByPolicy says that a rule allows it, and not only that no policy applies.
	ByPolicy bool `json:"byPolicy,omitempty"`
}

// MapWay is an open way in words.
type MapWay struct {
	Traffic string `json:"traffic"`
	// Egress and Ingress say what allows it; empty where nothing could decide.
	Egress  string `json:"egress,omitempty"`
	Ingress string `json:"ingress,omitempty"`
}

// SeenEdge is the connections from one end to another on one port.
type SeenEdge struct {
	From     int            `json:"from"`
	To       int            `json:"to"`
	Protocol model.Protocol `json:"protocol"`
	Port     uint16         `json:"port,omitempty"`
	Allowed  uint64         `json:"allowed"`
	Denied   uint64         `json:"denied"`
	// WouldDeny are the allowed ones that audited policies would deny.
	WouldDeny uint64 `json:"wouldDeny,omitempty"`
	Bytes     uint64 `json:"bytes,omitempty"`
}

// Map evaluates every pair of ends, once, and adds the flows of the records.
func (w *World) Map(records []flows.Record) *Map {
	if w.allowed == nil {
		w.evaluate()
	}
	m := *w.allowed
	m.Ends, m.Seen = slices.Clone(m.Ends), []SeenEdge{}
	w.seen(&m, w.at, records)
	return &m
}

// evaluate draws who may reach whom.
func (w *World) evaluate() {
	units := slices.Concat(w.units.Pods, w.units.Hosts, slices.DeleteFunc(slices.Clone(w.units.Outside), func(u *reach.Unit) bool {
		return strings.HasPrefix(u.Name, "unused pod addresses")
	}))
	m := &Map{Ends: []MapEnd{}, Ways: []MapWays{}, Cells: make([][]int, len(units)), MatrixSize: len(units)}
	at := map[*reach.Unit]int{}
	for i, u := range units {
		at[u] = i
		m.Ends = append(m.Ends, mapEnd(u))
	}
	w.cells(m, units)
	w.allowed, w.at = m, at
}

func mapEnd(u *reach.Unit) MapEnd {
	e := MapEnd{Name: u.Name, Group: GroupOutside, Label: u.Name, Members: len(u.Members)}
	switch {
	case u.Namespace != "":
		e.Group, e.Namespaced, e.Label = u.Namespace, true, strings.TrimPrefix(u.Name, u.Namespace+"/")
	case len(u.Members) > 0:
		e.Group = GroupNodes
		_, e.Label, _ = strings.Cut(u.Name, "/")
	}
	for _, p := range u.Ports {
		text := fmt.Sprintf("%d/%s", p.Port, p.Protocol)
		if p.Name != "" {
			text = p.Name + " " + text
		}
		e.Ports = append(e.Ports, text)
	}
	return e
}

// cells fills in who may reach whom. Pairs that are treated alike have the same ways, of
// which each is described once.
func (w *World) cells(m *Map, units []*reach.Unit) {
	questions, ports := make([]packets.Space, len(units)), make([]string, len(units))
	for i, u := range units {
		questions[i], ports[i] = reach.Named(u), strings.Join(m.Ends[i].Ports, ",")
	}
	type key struct {
		ways  *reach.Way
		n     int
		ports string
	}
	known, texts := map[key]int{}, map[string]int{}
	for i, from := range units {
		row := make([]int, len(units))
		for j, to := range units {
			row[j] = -1
			if m.Ends[i].Group == GroupOutside && m.Ends[j].Group == GroupOutside || from == to && len(from.Members) == 1 || !w.units.Comparable(from, to) {
				row[j] = -2
				continue
			}
			ways := w.units.Between(from, to)
			if len(ways) == 0 {
				continue
			}
			k := key{&ways[0], len(ways), ports[j]}
			id, ok := known[k]
			if !ok {
				v := mapWays(ways, questions[j])
				text := fmt.Sprint(v)
				if id, ok = texts[text]; !ok {
					id = len(m.Ways)
					m.Ways, texts[text] = append(m.Ways, v), id
				}
				known[k] = id
			}
			row[j] = id
		}
		m.Cells[i] = row
	}
}

func mapWays(ways []reach.Way, asked packets.Space) MapWays {
	v := MapWays{All: reach.ShareOf(ways, asked) == reach.ShareAll}
	for i := range ways {
		x := &ways[i]
		o := MapWay{Traffic: x.Traffic.Describe(x.Family), Egress: allowedBy(&x.Egress), Ingress: allowedBy(&x.Ingress)}
		if x.Family != 0 {
			o.Traffic += fmt.Sprintf(" (IPv%d only)", x.Family)
		}
		if x.Nodes != reach.AnyNodes {
			o.Traffic += " (" + string(x.Nodes) + ")"
		}
		v.ByPolicy = v.ByPolicy || x.Egress.Reason == model.ReasonRule || x.Ingress.Reason == model.ReasonRule
		v.Open = append(v.Open, o)
	}
	return v
}

// allowedBy says what allows one direction; empty: nothing could decide.
func allowedBy(v *model.Verdict) string {
	switch v.Reason {
	case "", model.ReasonNoEndpoint:
		return ""
	case model.ReasonDefault:
		return "no policy applies"
	}
	return verdict.Decider(v)
}

// seen adds the edges of records. Ends that no unit has are added to the Map.
func (w *World) seen(m *Map, at map[*reach.Unit]int, records []flows.Record) {
	others := map[string]int{}
	end := func(e *flows.End) int {
		if u := w.unitOf(e); u != nil {
			if i, ok := at[u]; ok {
				return i
			}
		}
		name := nameOf(e)
		i, ok := others[name]
		if !ok {
			i = len(m.Ends)
			others[name] = i
			x := MapEnd{Name: name, Label: name, Group: GroupOutside}
			if e.Kind == flows.EndPod && e.Namespace != "" {
				x.Group, x.Namespaced, x.Label = e.Namespace, true, strings.TrimPrefix(name, e.Namespace+"/")
			} else if e.Kind == flows.EndHost {
				x.Group, x.Label = GroupNodes, strings.TrimPrefix(name, "Node/")
			}
			m.Ends = append(m.Ends, x)
		}
		return i
	}
	type key struct {
		from, to int
		protocol model.Protocol
		port     uint16
	}
	sums := map[key]int{}
	for i := range records {
		r := &records[i]
		if r.Other {
			continue
		}
		k := key{end(&r.Source), end(&r.Destination), r.Protocol, r.Port}
		j, ok := sums[k]
		if !ok {
			j = len(m.Seen)
			sums[k] = j
			m.Seen = append(m.Seen, SeenEdge{From: k.from, To: k.to, Protocol: k.protocol, Port: k.port})
		}
		m.Seen[j].add(r)
	}
	slices.SortStableFunc(m.Seen, func(a, b SeenEdge) int {
		return cmp.Or(cmp.Compare(b.Allowed+b.Denied, a.Allowed+a.Denied), cmp.Compare(a.From, b.From), cmp.Compare(a.To, b.To), cmp.Compare(a.Protocol, b.Protocol), cmp.Compare(a.Port, b.Port))
	})
	if len(m.Seen) > MaxSeen {
		m.SeenOmitted = len(m.Seen) - MaxSeen
		m.Seen = m.Seen[:MaxSeen]
	}
}

func (s *SeenEdge) add(r *flows.Record) {
	n := connections(r)
	if r.Decided.Action == model.Deny {
		s.Denied += n
		return
	}
	s.Allowed += n
	if r.Decided.Audited() == model.Deny {
		s.WouldDeny += n
	}
	for _, v := range []*flows.Volume{r.Sent, r.Received} {
		if v != nil {
			s.Bytes += v.Bytes
		}
	}
}
