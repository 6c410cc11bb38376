package flows

import (
	"net/netip"

	"github.com/tierwall/tierwall/policy/index"
	"github.com/tierwall/tierwall/policy/model"
	"github.com/tierwall/tierwall/policy/verdict"
)

// Lost returns the records of allowed connections of which some would be denied: between
// addresses of their ends that before allows, and after does not. Ends whose pods are gone
// are judged by the pods that their workload has now.
func Lost(before, after *index.Index, list []Record) []Record {
	l := newLabelled(after)
	var out []Record
	for i := range list {
		if r := &list[i]; !r.Other && r.Decided.Action == model.Allow && l.loses(before, after, r) {
			out = append(out, *r)
		}
	}
	return out
}

func (l *labelled) loses(before, after *index.Index, r *Record) bool {
	for _, src := range l.addrs(after, &r.Source) {
		for _, dst := range l.addrs(after, &r.Destination) {
			f := model.Flow{Src: src, Dst: dst, Protocol: r.Protocol, DstPort: r.Port, ICMPType: r.ICMPType, ICMPCode: r.ICMPCode}
			if r.Protocol.HasPorts() {
				f.SrcPort = 40000
			}
			if src.Is4() != dst.Is4() {
				continue
			}
			was, is := verdict.Decide(before, f), verdict.Decide(after, f)
			if was.Action == model.Allow && is.Action != model.Allow {
				return true
			}
		}
	}
	return false
}

// addrs are the addresses of an end that it still has or, if it has none of them, those
// of its workload's first pods.
func (l *labelled) addrs(ix *index.Index, e *End) []netip.Addr {
	if e.Kind != EndPod {
		return e.Addresses
	}
	var out []netip.Addr
	for _, a := range e.Addresses {
		if p, ok := ix.Endpoint(ix.Owner(a)); ok && p.Ref.Kind == model.KindPod && workloadOf(p) == e.Name() {
			out = append(out, a)
		}
	}
	if len(out) == 0 {
		for _, p := range l.pods[e.Name()] {
			if len(out) < MaxAddresses {
				out = append(out, p.Addrs...)
			}
		}
	}
	return out
}
