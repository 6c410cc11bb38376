package flows

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/tierwall/tierwall/policy/model"
)

// Compare orders records by window, then by ends, traffic and what decided. Records of
// one list that compare equal count the same connections.
func Compare(a, b *Record) int {
	if c := a.Start.Compare(b.Start); c != 0 {
		return c
	}
	return cmp.Or(a.End.Compare(b.End), compareKeys(a, b))
}

// compareKeys orders records by all that makes them separate within a window.
func compareKeys(a, b *Record) int {
	if c := cmp.Or(compareEnds(&a.Source, &b.Source), compareEnds(&a.Destination, &b.Destination)); c != 0 {
		return c
	}
	return cmp.Or(
		cmp.Compare(a.Service, b.Service), compareTraffic(a, b), compareRequests(a.Request, b.Request), compareBool(a.Other, b.Other),
		compareDecided(&a.Decided, &b.Decided), comparePointers(a.Before, b.Before, compareDecided),
	)
}

// compareIdentities orders records by what both ends' agents can tell alike: not by
// Service, which only the source's node translates, and not by what decided.
func compareIdentities(a, b *Record) int {
	return cmp.Or(compareEnds(&a.Source, &b.Source), compareEnds(&a.Destination, &b.Destination), compareTraffic(a, b), compareRequests(a.Request, b.Request), compareBool(a.Other, b.Other))
}

// compareEnds leaves out the node: agents know those of the pods that they have seen.
func compareEnds(a, b *End) int {
	return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Workload, b.Workload),
		cmp.Compare(a.Set, b.Set), cmp.Compare(a.Domain, b.Domain))
}

func compareTraffic(a, b *Record) int {
	return cmp.Or(cmp.Compare(a.Protocol, b.Protocol), cmp.Compare(a.Port, b.Port), cmp.Compare(a.ICMPType, b.ICMPType), cmp.Compare(a.ICMPCode, b.ICMPCode))
}

func compareRequests(a, b *Request) int {
	return comparePointers(a, b, func(a, b *Request) int {
		return cmp.Or(cmp.Compare(a.Path, b.Path), cmp.Compare(a.Method, b.Method), cmp.Compare(a.Status, b.Status))
	})
}

// compareDecided leaves out the generation: agents count for themselves.
func compareDecided(a, b *Decided) int {
	return cmp.Or(cmp.Compare(a.Action, b.Action), comparePointers(a.Egress, b.Egress, compareVerdicts), comparePointers(a.Ingress, b.Ingress, compareVerdicts))
}

func compareVerdicts(a, b *model.Verdict) int {
	return cmp.Or(
		cmp.Compare(a.Action, b.Action), cmp.Compare(a.Direction, b.Direction), cmp.Compare(a.Stage, b.Stage), a.Endpoint.Compare(b.Endpoint),
		cmp.Compare(a.Reason, b.Reason), cmp.Compare(a.Tier, b.Tier), a.Policy.Compare(b.Policy), cmp.Compare(a.Rule, b.Rule),
		cmp.Compare(a.RuleName, b.RuleName), comparePointers(a.Audit, b.Audit, compareVerdicts),
	)
}

// comparePointers has nil first.
func comparePointers[T any](a, b *T, compare func(a, b *T) int) int {
	if a == nil || b == nil {
		return compareBool(a != nil, b != nil)
	}
	return compare(a, b)
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}

// Sort sorts records by Compare.
func Sort(list []Record) { slices.SortFunc(list, func(a, b Record) int { return Compare(&a, &b) }) }

// addEnd adds what another record of the same end knows: its pods may be on other nodes.
func (e *End) addEnd(o *End) {
	if e.Node != o.Node {
		e.Node = ""
	}
	e.Addresses = mergeAddrs(e.Addresses, o.Addresses)
}

// mergeAddrs is the union of sample addresses, sorted, at most MaxAddresses.
func mergeAddrs(a, b []netip.Addr) []netip.Addr {
	if len(b) == 0 || slices.Equal(a, b) {
		return a
	}
	out := slices.Concat(a, b)
	slices.SortFunc(out, netip.Addr.Compare)
	out = slices.Compact(out)
	return out[:min(len(out), MaxAddresses)]
}

// mergeNames is the sorted union of names.
func mergeNames(a, b []string) []string {
	if len(b) == 0 || slices.Equal(a, b) {
		return a
	}
	out := slices.Concat(a, b)
	slices.Sort(out)
	return slices.Compact(out)
}
