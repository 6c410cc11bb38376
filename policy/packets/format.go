package packets

import (
	"fmt"
	"math/bits"
	"strconv"
	"strings"
)

// String writes the space as people write traffic: "all traffic", "none",
// "TCP 80, 443, 8000-8999; UDP 53", "all traffic except TCP 25". It is exact.
func (s Space) String() string { return s.Describe(0) }

// Describe is String for a space between addresses of one family (4 or 6; 0
// means both): the other family's ICMP, which does not exist there, is not mentioned.
func (s Space) Describe(version uint8) string {
	universe := Family(version)
	s = s.Intersect(universe)
	switch {
	case s.IsEmpty():
		return "none"
	case s.Equal(universe):
		return "all traffic"
	}
	rest := universe.Subtract(s)
	if s.othersLen() <= rest.othersLen() {
		return s.list(true)
	}
	// Most protocols are included. Name either what is excluded, or the included parts
	// of protocols that are not whole and "every protocol but …", whichever is shorter.
	except := "all traffic except " + rest.list(false)
	var but []string
	var partial Space
	for part := range s.parts {
		if !s.parts[part].equal(universe.parts[part]) {
			but = append(but, partProtocol[part].String())
			partial.parts[part] = s.parts[part]
		}
	}
	if n := rest.otherProtocols(); len(n) > 0 {
		but = append(but, n...)
	}
	if partial.IsEmpty() {
		return except
	}
	mixed := partial.list(true) + "; every protocol but " + strings.Join(but, ", ")
	if len(mixed) < len(except) {
		return mixed
	}
	return except
}

// list names every protocol in the space. With except, a protocol of which little is
// missing is written as "TCP except 80".
func (s Space) list(except bool) string {
	var out []string
	for part, a := range s.parts {
		if len(a) == 0 {
			continue
		}
		name := partProtocol[part].String()
		limit := limitOf(part)
		switch {
		case a.isAll(limit):
			out = append(out, name)
		case except && len(wholePart(part).subtract(a).groups()) == 1 && a.spansOut(limit) < a.spansIn():
			out = append(out, name+" except "+wholePart(part).subtract(a).terms(part)[0])
		default:
			for _, t := range a.terms(part) {
				out = append(out, name+" "+t)
			}
		}
	}
	if o := s.otherProtocols(); len(o) == 1 && !strings.Contains(o[0], "-") {
		out = append(out, "protocol "+o[0])
	} else if len(o) > 0 {
		out = append(out, "protocols "+strings.Join(o, ", "))
	}
	return strings.Join(out, "; ")
}

// terms writes an area of one protocol, a term for each set of second coordinates.
func (a area) terms(part int) []string {
	var out []string
	for _, g := range a.groups() {
		xs, ys := g.xs, g.ys
		wholeX, wholeY := xs.isAll(limitOf(part)), ys.isAll(limitOf(part))
		var t string
		switch {
		case part >= partICMP && wholeY:
			t = numbered("type", xs)
		case part >= partICMP && wholeX:
			t = numbered("code", ys)
		case part >= partICMP:
			t = numbered("type", xs) + " " + numbered("code", ys)
		case wholeY:
			t = xs.String()
		case wholeX:
			t = "from " + numbered("source port", ys)
		default:
			t = xs.String() + " from " + numbered("source port", ys)
		}
		out = append(out, t)
	}
	return out
}

type group struct{ xs, ys spans }

// groups merges the slabs with equal second coordinates, in the order of their first
// occurrence.
func (a area) groups() []group {
	var out []group
next:
	for _, s := range a {
		for i := range out {
			if out[i].ys.equal(s.ys) {
				out[i].xs = append(out[i].xs, s.x)
				continue next
			}
		}
		out = append(out, group{spans{s.x}, s.ys})
	}
	// Slabs with other second coordinates between them may leave neighbours.
	for i := range out {
		out[i].xs = out[i].xs.combine(nil, or)
	}
	return out
}

func (a area) spansIn() int {
	n := 0
	for _, g := range a.groups() {
		n += len(g.xs) * len(g.ys)
	}
	return n
}

func (a area) spansOut(limit uint16) int {
	whole := allPorts
	if limit == 0xff {
		whole = allICMP
	}
	return whole.subtract(a).spansIn()
}

// String writes "80, 443, 8000-8999".
func (s spans) String() string {
	var b strings.Builder
	for i, sp := range s {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(strconv.Itoa(int(sp.lo)))
		if sp.hi != sp.lo {
			b.WriteByte('-')
			b.WriteString(strconv.Itoa(int(sp.hi)))
		}
	}
	return b.String()
}

func numbered(noun string, s spans) string {
	if len(s) > 1 || s[0].lo != s[0].hi {
		noun += "s"
	}
	return noun + " " + s.String()
}

func (s Space) othersLen() int {
	n := 0
	for _, w := range s.others {
		n += bits.OnesCount64(w)
	}
	return n
}

// otherProtocols lists the protocols without structure as numbers and ranges. A range
// may span a protocol with structure: those are named separately.
func (s Space) otherProtocols() []string {
	var out []string
	for p := 0; p < 256; p++ {
		if !s.otherBit(p) {
			continue
		}
		first := p
		for p < 255 && s.otherBit(p+1) {
			p++
		}
		t := strconv.Itoa(first)
		if p > first {
			t = fmt.Sprintf("%d-%d", first, p)
		}
		out = append(out, t)
	}
	return out
}

func (s Space) otherBit(p int) bool { return s.others[p/64]&(1<<(p%64)) != 0 }

// Box is a part of a space in plain numbers, for programs: every combination of its
// ranges. Ranges that a protocol does not have are nil.
type Box struct {
	// Protocols are names if the API has one, otherwise numbers; only protocols without
	// ports or types are combined.
	Protocols []string `json:"protocols"`
	// Ranges of numbers, both ends included.
	Ports       [][2]int `json:"ports,omitempty"`
	SourcePorts [][2]int `json:"sourcePorts,omitempty"`
	ICMPTypes   [][2]int `json:"icmpTypes,omitempty"`
	ICMPCodes   [][2]int `json:"icmpCodes,omitempty"`
}

// Boxes divides the space into boxes, in a fixed order. Ranges that cover all values
// are omitted: a box of TCP without ports is all of TCP.
func (s Space) Boxes() []Box {
	var out []Box
	for part, a := range s.parts {
		for _, g := range a.groups() {
			b := Box{Protocols: []string{partProtocol[part].String()}}
			x, y := g.xs.pairs(limitOf(part)), g.ys.pairs(limitOf(part))
			if part >= partICMP {
				b.ICMPTypes, b.ICMPCodes = x, y
			} else {
				b.Ports, b.SourcePorts = x, y
			}
			out = append(out, b)
		}
	}
	if o := s.otherProtocols(); len(o) > 0 {
		out = append(out, Box{Protocols: o})
	}
	return out
}

func (s spans) pairs(limit uint16) [][2]int {
	if s.isAll(limit) {
		return nil
	}
	out := make([][2]int, len(s))
	for i, sp := range s {
		out[i] = [2]int{int(sp.lo), int(sp.hi)}
	}
	return out
}
