package view

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/tierwall/tierwall/policy/flows"
	"github.com/tierwall/tierwall/policy/model"
	"github.com/tierwall/tierwall/policy/policytest"
	"github.com/tierwall/tierwall/policy/reach"
)

// ends finds the unit of the end of a record.
type ends struct {
	member   map[model.Ref]*reach.Unit
	workload map[string]*reach.Unit // by namespace/name: the first of its units
	host     map[string]*reach.Unit
}

func newEnds(m *reach.Map) ends {
	e := ends{member: map[model.Ref]*reach.Unit{}, workload: map[string]*reach.Unit{}, host: map[string]*reach.Unit{}}
	for _, u := range m.Pods {
		for _, r := range u.Members {
			e.member[r] = u
		}
		if list := m.Workload(u.Name); len(list) > 0 {
			e.workload[u.Name] = list[0]
		}
	}
	for _, u := range m.Hosts {
		e.host[u.Name] = u
		for _, r := range u.Members {
			e.member[r] = u
		}
	}
	return e
}

// unitOf is the unit that an end is part of now; nil: none, or it is outside.
func (w *World) unitOf(e *flows.End) *reach.Unit {
	if e.Kind == flows.EndHost {
		return w.ends.host[e.Workload]
	}
	if e.Kind != flows.EndPod {
		return nil
	}
	_, name, _ := strings.Cut(e.Workload, "/")
	name = e.Namespace + "/" + name
	var other *reach.Unit
	for _, a := range e.Addresses {
		u := w.ends.member[w.index.Owner(a)]
		switch {
		case u == nil || u.Namespace != e.Namespace:
		case slices.Contains(w.units.Workload(name), u): // of several, the one that it is in
			return u
		case other == nil && w.ends.workload[name] == nil:
			other = u // its address is another workload's by now, or a pod's by itself
		}
	}
	if u := w.ends.workload[name]; u != nil {
		return u
	}
	if u := w.ends.member[model.Ref{Kind: model.KindPod, Namespace: e.Namespace, Name: strings.TrimPrefix(e.Workload, "Pod/")}]; u != nil {
		return u
	}
	return other
}

// nameOf names an end in few words.
func nameOf(e *flows.End) string {
	_, name, ok := strings.Cut(e.Workload, "/")
	if !ok {
		name = e.Workload
	}
	switch {
	case e.Kind == flows.EndPod && name != "":
		return e.Namespace + "/" + name
	case e.Kind == flows.EndPod:
		return "a pod of " + cmp.Or(e.Namespace, "another namespace")
	case e.Kind == flows.EndHost:
		return cmp.Or(e.Workload, "a node")
	case e.Set != "":
		return e.Set
	case e.Domain != "":
		return e.Domain
	case e.Kind == "":
		return "others"
	}
	return "outside addresses"
}

// Flow is the first packet of a connection of a record, between addresses that its ends
// have now. It is an error if an end has none.
func (w *World) Flow(r *flows.Record) (model.Flow, error) {
	f := model.Flow{Protocol: r.Protocol, DstPort: r.Port, ICMPType: r.ICMPType, ICMPCode: r.ICMPCode}
	if r.Protocol.HasPorts() {
		f.SrcPort = policytest.EphemeralPort
	}
	src, dst := w.addrs(&r.Source), w.addrs(&r.Destination)
	for _, s := range src {
		for _, d := range dst {
			if s.Is4() == d.Is4() {
				f.Src, f.Dst = s, d
				return f, nil
			}
		}
	}
	missing := nameOf(&r.Source)
	if len(src) > 0 {
		missing = nameOf(&r.Destination)
	}
	return f, fmt.Errorf("%s has no address any more, or none of the family of the other end", missing)
}

// addrs are addresses of an end: first of its samples those that it has now, then what
// its workload has now. The addresses of ends outside are its samples.
func (w *World) addrs(e *flows.End) []netip.Addr {
	u := w.unitOf(e)
	switch {
	case u != nil:
	case e.Kind == flows.EndPod || e.Kind == flows.EndHost:
		return nil // whoever has its addresses now is somebody else
	default:
		return e.Addresses
	}
	var mine []netip.Addr
	for _, a := range e.Addresses {
		if slices.Contains(u.Members, w.index.Owner(a)) || e.Kind == flows.EndHost {
			mine = append(mine, a)
		}
	}
	for _, ref := range u.Members {
		if p, ok := w.index.Endpoint(ref); ok {
			mine = append(mine, p.Addrs...)
		} else if n := w.index.Node(ref.Name); ref.Kind == model.KindNode && n != nil {
			mine = append(mine, n.Addrs...)
		}
	}
	return mine
}
