package packets

import (
	"math/bits"
	"math/rand/v2"
	"testing"

	"github.com/tierwall/tierwall/policy/model"
)

// randomFlow draws from few values, the ends of the ranges among them, so that
// random spaces and random flows meet.
func randomFlow(r *rand.Rand) model.Flow {
	protocols := []model.Protocol{0, 1, 6, 17, 58, 132, 136, 47, 50, 255}
	portsAt := []uint16{0, 1, 22, 79, 80, 81, 443, 8000, 8500, 8999, 9000, 65534, 65535}
	icmp := []uint8{0, 1, 3, 8, 254, 255}
	f := model.Flow{Protocol: protocols[r.IntN(len(protocols))]}
	if f.Protocol.HasPorts() {
		f.SrcPort, f.DstPort = portsAt[r.IntN(len(portsAt))], portsAt[r.IntN(len(portsAt))]
	} else if f.Protocol == model.ICMPv4 || f.Protocol == model.ICMPv6 {
		f.ICMPType, f.ICMPCode = icmp[r.IntN(len(icmp))], icmp[r.IntN(len(icmp))]
	}
	return f
}

// randomSpace returns a space and, as the oracle, a function that tells its members.
func randomSpace(r *rand.Rand, depth int) (Space, func(model.Flow) bool) {
	if depth > 0 && r.IntN(4) > 0 {
		a, inA := randomSpace(r, depth-1)
		b, inB := randomSpace(r, depth-1)
		switch r.IntN(4) {
		case 0:
			return a.Intersect(b), func(f model.Flow) bool { return inA(f) && inB(f) }
		case 1:
			return a.Subtract(b), func(f model.Flow) bool { return inA(f) && !inB(f) }
		default:
			return a.Union(b), func(f model.Flow) bool { return inA(f) || inB(f) }
		}
	}
	f, g := randomFlow(r), randomFlow(r)
	switch r.IntN(7) {
	case 0:
		return Space{}, func(model.Flow) bool { return false }
	case 1:
		return All(), func(model.Flow) bool { return true }
	case 2:
		if f.Protocol == 0 {
			return All(), func(model.Flow) bool { return true }
		}
		return Protocol(f.Protocol), func(x model.Flow) bool { return x.Protocol == f.Protocol }
	case 3, 4:
		return DstPorts(f.Protocol, f.DstPort, g.DstPort), func(x model.Flow) bool {
			return x.Protocol.HasPorts() && (f.Protocol == 0 || x.Protocol == f.Protocol) && f.DstPort <= x.DstPort && x.DstPort <= g.DstPort
		}
	case 5:
		return SrcPorts(f.Protocol, f.SrcPort, g.SrcPort), func(x model.Flow) bool {
			return x.Protocol.HasPorts() && (f.Protocol == 0 || x.Protocol == f.Protocol) && f.SrcPort <= x.SrcPort && x.SrcPort <= g.SrcPort
		}
	default:
		code := &f.ICMPCode
		if r.IntN(2) == 0 {
			code = nil
		}
		return ICMP(f.Protocol, f.ICMPType, code), func(x model.Flow) bool {
			return (x.Protocol == 1 || x.Protocol == 58) && x.Protocol == f.Protocol && x.ICMPType == f.ICMPType && (code == nil || x.ICMPCode == *code)
		}
	}
}

func TestSpaceAgainstMembership(t *testing.T) {
	for seed := uint64(0); seed < 2000; seed++ {
		r := rand.New(rand.NewPCG(seed, 1))
		s, in := randomSpace(r, 5)
		for range 60 {
			f := randomFlow(r)
			if got, want := s.Contains(f), in(f); got != want {
				t.Fatalf("seed %d: %v: Contains(%+v) = %v, want %v", seed, s, f, got, want)
			}
			if Of(f).Intersect(s).IsEmpty() == in(f) {
				t.Fatalf("seed %d: %v and Of(%+v) disagree", seed, s, f)
			}
		}
		if f, ok := s.sample(); ok == s.IsEmpty() || ok && !in(f) {
			t.Fatalf("seed %d: %v: Sample = %+v, %v", seed, s, f, ok)
		}
	}
}

// Equal spaces that came about in different ways must have one form.
func TestSpaceIsCanonical(t *testing.T) {
	for seed := uint64(0); seed < 2000; seed++ {
		r := rand.New(rand.NewPCG(seed, 2))
		a, _ := randomSpace(r, 4)
		b, _ := randomSpace(r, 4)
		c, _ := randomSpace(r, 3)
		laws := []struct {
			name        string
			left, right Space
		}{
			{"double complement", a.complement().complement(), a},
			{"de morgan", a.Union(b).complement(), a.complement().Intersect(b.complement())},
			{"distribution", a.Intersect(b.Union(c)), a.Intersect(b).Union(a.Intersect(c))},
			{"subtract", a.Subtract(b), a.Intersect(b.complement())},
			{"commutation", a.Union(b), b.Union(a)},
			{"absorption", a.Union(a.Intersect(b)), a},
			{"parts", a.Intersect(b).Union(a.Subtract(b)), a},
		}
		for _, l := range laws {
			if !l.left.Equal(l.right) || string(l.left.AppendKey(nil)) != string(l.right.AppendKey(nil)) || l.left.Compare(l.right) != 0 {
				t.Fatalf("seed %d: %s: %v and %v", seed, l.name, l.left, l.right)
			}
		}
		if a.Equal(b) != (a.Subtract(b).IsEmpty() && b.Subtract(a).IsEmpty()) {
			t.Fatalf("seed %d: Equal is wrong for %v and %v", seed, a, b)
		}
		if !a.Reverse().Reverse().Equal(a) || !a.Union(b).Reverse().Equal(a.Reverse().Union(b.Reverse())) {
			t.Fatalf("seed %d: Reverse is wrong for %v and %v", seed, a, b)
		}
		if f, ok := a.sample(); ok {
			f.SrcPort, f.DstPort = f.DstPort, f.SrcPort
			if !a.Reverse().Contains(f) {
				t.Fatalf("seed %d: the reverse of %v lacks %+v", seed, a, f)
			}
		}
		if a.Covers(b) != b.Subtract(a).IsEmpty() {
			t.Fatalf("seed %d: Covers is wrong for %v and %v", seed, a, b)
		}
		if a.Equal(b) != (a.String() == b.String()) {
			t.Fatalf("seed %d: text %q and %q for different spaces, or the reverse", seed, a, b)
		}
	}
}

func u8(v uint8) *uint8 { return &v }

func TestDescribe(t *testing.T) {
	tcp := func(first, last uint16) Space { return DstPorts(model.TCP, first, last) }
	tests := []struct {
		space   Space
		version uint8
		want    string
	}{
		{Space{}, 0, "none"},
		{All(), 0, "all traffic"},
		{All(), 4, "all traffic"},
		{Family(4), 4, "all traffic"},
		{Family(6), 0, "all traffic except ICMP"},
		{tcp(80, 80), 0, "TCP 80"},
		{tcp(80, 80).Union(tcp(443, 443)).Union(tcp(8000, 8999)).Union(DstPorts(model.UDP, 53, 53)).Union(Protocol(model.ICMPv4)), 0, "TCP 80, 443, 8000-8999; UDP 53; ICMP"},
		{All().Subtract(tcp(25, 25)), 0, "all traffic except TCP 25"},
		{All().Subtract(tcp(25, 25)).Subtract(Protocol(model.ICMPv4)), 6, "all traffic except TCP 25"},
		{All().Subtract(Protocol(model.TCP)), 0, "all traffic except TCP"},
		{All().Subtract(Protocol(model.TCP)).Union(tcp(80, 80)), 0, "TCP 80; every protocol but TCP"},
		{Protocol(model.TCP).Subtract(tcp(80, 80)), 0, "TCP except 80"},
		{Protocol(47), 0, "protocol 47"},
		{Protocol(47).Union(Protocol(50)).Union(Protocol(51)), 0, "protocols 47, 50-51"},
		{All().Subtract(Protocol(47)), 0, "all traffic except protocol 47"},
		{ICMP(model.ICMPv4, 8, nil), 0, "ICMP type 8"},
		{ICMP(model.ICMPv6, 1, u8(4)), 0, "ICMPv6 type 1 code 4"},
		{Protocol(model.ICMPv4).Subtract(ICMP(model.ICMPv4, 8, nil)), 0, "ICMP except type 8"},
		{SrcPorts(model.UDP, 53, 53), 0, "UDP from source port 53"},
		{SrcPorts(model.UDP, 1024, 65535).Intersect(DstPorts(model.UDP, 53, 53)), 0, "UDP 53 from source ports 1024-65535"},
		{tcp(1, 10).Subtract(SrcPorts(model.TCP, 7, 7).Intersect(tcp(5, 5))), 0, "TCP 1-4, 6-10; TCP 5 from source ports 0-6, 8-65535"},
	}
	for _, tt := range tests {
		if got := tt.space.Describe(tt.version); got != tt.want {
			t.Errorf("got %q, want %q", got, tt.want)
		}
	}
}

func TestBoxesAddUp(t *testing.T) {
	for seed := uint64(0); seed < 500; seed++ {
		r := rand.New(rand.NewPCG(seed, 3))
		s, _ := randomSpace(r, 4)
		var sum Space
		for _, b := range s.Boxes() {
			sum = sum.Union(fromBox(t, b))
		}
		if !sum.Equal(s) {
			t.Fatalf("seed %d: boxes of %v make %v", seed, s, sum)
		}
	}
}

func fromBox(t *testing.T, b Box) Space {
	t.Helper()
	var s Space
	for _, name := range b.Protocols {
		var first, last int
		if n, _ := scanRange(name, &first, &last); n == 1 {
			last = first
		} else if n == 0 {
			p, err := model.ParseProtocol(name)
			if err != nil {
				t.Fatal(err)
			}
			first, last = int(p), int(p)
		}
		for p := first; p <= last; p++ {
			one := Of(model.Flow{Protocol: model.Protocol(p)})
			if model.Protocol(p).HasPorts() || p == 1 || p == 58 {
				one = Protocol(model.Protocol(p))
			}
			s = s.Union(one)
		}
	}
	restrict := func(ranges [][2]int, of func(lo, hi int) Space) {
		if ranges == nil {
			return
		}
		var any Space
		for _, r := range ranges {
			any = any.Union(of(r[0], r[1]))
		}
		s = s.Intersect(any)
	}
	restrict(b.Ports, func(lo, hi int) Space { return DstPorts(0, uint16(lo), uint16(hi)) })
	restrict(b.SourcePorts, func(lo, hi int) Space { return SrcPorts(0, uint16(lo), uint16(hi)) })
	icmp := func(lo, hi int, byCode bool) Space {
		var sum Space
		for _, p := range []model.Protocol{1, 58} {
			for v := lo; v <= hi; v++ {
				if !byCode {
					sum = sum.Union(ICMP(p, uint8(v), nil))
					continue
				}
				sum.parts[partOf(p)] = sum.parts[partOf(p)].union(area{{span{0, 255}, spans{{uint16(v), uint16(v)}}}})
			}
		}
		return sum
	}
	restrict(b.ICMPTypes, func(lo, hi int) Space { return icmp(lo, hi, false) })
	restrict(b.ICMPCodes, func(lo, hi int) Space { return icmp(lo, hi, true) })
	return s
}

// sample returns one packet of the space, or false if it is empty. The
// addresses of the flow are left zero.
func (s Space) sample() (model.Flow, bool) {
	for part, a := range s.parts {
		if len(a) == 0 {
			continue
		}
		f := model.Flow{Protocol: partProtocol[part]}
		// The upper end of a range: for a whole protocol, that is a port that no rule
		// names.
		x, y := a[0].x.hi, a[0].ys[0].hi
		if part >= partICMP {
			f.ICMPType, f.ICMPCode = uint8(x), uint8(y)
		} else {
			f.DstPort, f.SrcPort = x, y
		}
		return f, true
	}
	for i, w := range s.others {
		if w != 0 {
			return model.Flow{Protocol: model.Protocol(64*i + bits.TrailingZeros64(w))}, true
		}
	}
	return model.Flow{}, false
}
