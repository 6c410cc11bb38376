package conntrack

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/tierwall/tierwall/policy/model"
)

func tcp(src, dst string) Tuple { return ported(model.TCP, src, dst) }

func ported(p model.Protocol, src, dst string) Tuple {
	s, d := netip.MustParseAddrPort(src), netip.MustParseAddrPort(dst)
	return Tuple{Src: s.Addr(), SrcPort: s.Port(), Dst: d.Addr(), DstPort: d.Port(), Protocol: p}
}

// entry is a connection whose answers come the way its packets went.
func entry(t Tuple) *Entry {
	return &Entry{Original: t, Reply: Tuple{
		Src: t.Dst, Dst: t.Src, Protocol: t.Protocol, SrcPort: t.DstPort, DstPort: t.SrcPort, ID: t.ID,
	}}
}

// natted is a connection whose answers come from somewhere else, or go there.
func natted(original, reply Tuple) *Entry { return &Entry{Original: original, Reply: reply} }

func echo(src, dst string, id uint16) *Entry {
	p, kind := model.ICMPv4, uint8(8)
	if netip.MustParseAddr(src).Is6() {
		p, kind = model.ICMPv6, 128
	}
	return entry(Tuple{Src: netip.MustParseAddr(src), Dst: netip.MustParseAddr(dst), Protocol: p, Type: kind, ID: id})
}

var (
	plain      = entry(tcp("10.0.0.1:4000", "10.0.0.2:80"))
	plain6     = entry(ported(model.UDP, "[fd00::1]:4000", "[fd00::2]:53"))
	dnat       = natted(tcp("10.0.0.1:4000", "10.96.0.1:80"), tcp("10.0.0.2:8080", "10.0.0.1:4000"))
	masquerade = natted(tcp("10.0.0.1:4000", "198.51.100.1:443"), tcp("198.51.100.1:443", "192.0.2.1:60000"))
	both       = natted(tcp("10.0.0.1:4000", "10.96.0.1:80"), tcp("10.0.0.2:8080", "192.0.2.1:60000"))
	loopback   = natted(tcp("10.0.0.1:4000", "10.96.0.1:80"), tcp("10.0.0.1:8080", "192.0.2.1:60000"))
	ping       = echo("10.0.0.1", "10.0.0.2", 7)
)

func TestFlow(t *testing.T) {
	flow := func(p model.Protocol, src, dst string) model.Flow {
		u := ported(p, src, dst)
		return u.flow()
	}
	for _, c := range []struct {
		name           string
		e              *Entry
		after, before  model.Flow
		text           string
		touched, apart []string
	}{
		{"no NAT", plain,
			flow(model.TCP, "10.0.0.1:4000", "10.0.0.2:80"), flow(model.TCP, "10.0.0.1:4000", "10.0.0.2:80"),
			"TCP 10.0.0.1:4000 > 10.0.0.2:80",
			[]string{"10.0.0.1", "10.0.0.2"}, []string{"10.0.0.3"}},
		{"IPv6", plain6,
			flow(model.UDP, "[fd00::1]:4000", "[fd00::2]:53"), flow(model.UDP, "[fd00::1]:4000", "[fd00::2]:53"),
			"UDP [fd00::1]:4000 > [fd00::2]:53",
			[]string{"fd00::1", "fd00::2"}, []string{"10.0.0.1", "fd00::3"}},
		{"destination NAT", dnat,
			flow(model.TCP, "10.0.0.1:4000", "10.0.0.2:8080"), flow(model.TCP, "10.0.0.1:4000", "10.96.0.1:80"),
			"TCP 10.0.0.1:4000 > 10.96.0.1:80 (to 10.0.0.2:8080)",
			[]string{"10.0.0.1", "10.96.0.1", "10.0.0.2"}, []string{"10.0.0.3"}},
		{"masquerade", masquerade,
			flow(model.TCP, "10.0.0.1:4000", "198.51.100.1:443"), flow(model.TCP, "10.0.0.1:4000", "198.51.100.1:443"),
			"TCP 10.0.0.1:4000 > 198.51.100.1:443",
			[]string{"10.0.0.1", "198.51.100.1"}, []string{"192.0.2.1"}},
		{"both", both,
			flow(model.TCP, "10.0.0.1:4000", "10.0.0.2:8080"), flow(model.TCP, "10.0.0.1:4000", "10.96.0.1:80"),
			"TCP 10.0.0.1:4000 > 10.96.0.1:80 (to 10.0.0.2:8080)",
			[]string{"10.0.0.1", "10.96.0.1", "10.0.0.2"}, []string{"192.0.2.1"}},
		{"NAT loopback", loopback,
			flow(model.TCP, "10.0.0.1:4000", "10.0.0.1:8080"), flow(model.TCP, "10.0.0.1:4000", "10.96.0.1:80"),
			"TCP 10.0.0.1:4000 > 10.96.0.1:80 (to 10.0.0.1:8080)",
			[]string{"10.0.0.1", "10.96.0.1"}, []string{"192.0.2.1"}},
		{"echo", ping,
			model.Flow{Src: ping.Original.Src, Dst: ping.Original.Dst, Protocol: model.ICMPv4, ICMPType: 8},
			model.Flow{Src: ping.Original.Src, Dst: ping.Original.Dst, Protocol: model.ICMPv4, ICMPType: 8},
			"ICMP 10.0.0.1 > 10.0.0.2 type 8 code 0 id 7",
			[]string{"10.0.0.1", "10.0.0.2"}, []string{"0.0.0.7"}},
	} {
		if got := c.e.Flow(); got != c.after {
			t.Errorf("%s: flow %+v, want %+v", c.name, got, c.after)
		}
		if got := c.e.FlowBeforeNAT(); got != c.before {
			t.Errorf("%s: flow before NAT %+v, want %+v", c.name, got, c.before)
		}
		if got := c.e.String(); got != c.text {
			t.Errorf("%s: text %q, want %q", c.name, got, c.text)
		}
		touches := func(a string) bool {
			want := netip.MustParseAddr(a)
			return c.e.Touches(func(a netip.Addr) bool { return a == want })
		}
		for _, a := range c.touched {
			if !touches(a) {
				t.Errorf("%s: %s is not touched", c.name, a)
			}
		}
		for _, a := range c.apart {
			if touches(a) {
				t.Errorf("%s: %s is touched", c.name, a)
			}
		}
	}
}

// attr writes a netlink attribute.
func attr(kind uint16, value ...byte) []byte {
	b := binary.NativeEndian.AppendUint16(nil, uint16(4+len(value)))
	b = binary.NativeEndian.AppendUint16(b, kind)
	b = append(b, value...)
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}

func join(parts ...[]byte) (out []byte) {
	for _, p := range parts {
		out = append(out, p...)
	}
	return out
}

func message(attrs ...[]byte) []byte { return append([]byte{2, 0, 0, 0}, join(attrs...)...) }

const nested = 1 << 15

func tupleAttr(kind uint16, src, dst [4]byte, proto ...[]byte) []byte {
	return attr(kind|nested, join(
		attr(ctaTupleIP|nested, join(attr(ctaIPv4Src, src[:]...), attr(ctaIPv4Dst, dst[:]...))...),
		attr(ctaTupleProto|nested, join(proto...)...))...)
}

func TestParseEntry(t *testing.T) {
	a, b := [4]byte{10, 0, 0, 1}, [4]byte{10, 0, 0, 2}
	orig := tupleAttr(ctaTupleOrig, a, b, attr(ctaProtoNum, 132), attr(ctaProtoSrcPort, 0x0f, 0xa0), attr(ctaProtoDstPort, 0, 80))
	msg := message(orig,
		tupleAttr(ctaTupleReply, b, a, attr(ctaProtoNum, 132), attr(ctaProtoSrcPort, 0, 80), attr(ctaProtoDstPort, 0x0f, 0xa0)),
		attr(ctaStatus, 0, 0, 0, 0x0e), attr(99, 1, 2, 3, 4, 5), attr(ctaZone, 0, 3), attr(ctaID, 1, 2, 3, 4),
		tupleAttr(ctaTupleMaster, a, b, attr(ctaProtoNum, 6), attr(ctaProtoSrcPort, 0, 1), attr(ctaProtoDstPort, 0, 21)))
	e, err := parseEntry(msg)
	if err != nil {
		t.Fatal(err)
	}
	if e.Original != ported(model.SCTP, "10.0.0.1:4000", "10.0.0.2:80") || e.Reply != ported(model.SCTP, "10.0.0.2:80", "10.0.0.1:4000") {
		t.Errorf("tuples %v and %v", e.Original, e.Reply)
	}
	if !e.Related() || e.Master != tcp("10.0.0.1:1", "10.0.0.2:21") {
		t.Errorf("master %v", e.Master)
	}
	if e.Zone != 3 || !e.Replied || !e.Assured {
		t.Errorf("zone %d, replied %v, assured %v", e.Zone, e.Replied, e.Assured)
	}
	if want := join(orig, attr(ctaZone, 0, 3), attr(ctaID, 1, 2, 3, 4)); string(e.key) != string(want) {
		t.Errorf("key %x, want %x", e.key, want)
	}
	for n := range len(msg) {
		if _, err := parseEntry(msg[:n]); err == nil && n < len(message(orig)) {
			t.Errorf("the first %d bytes are taken for an entry", n)
		}
	}
}

func FuzzParseEntry(f *testing.F) {
	a, b := [4]byte{10, 0, 0, 1}, [4]byte{10, 0, 0, 2}
	f.Add(message(tupleAttr(ctaTupleOrig, a, b, attr(ctaProtoNum, 1), attr(ctaProtoICMPType, 8)), tupleAttr(ctaTupleReply, b, a, attr(ctaProtoNum, 1))))
	f.Add([]byte{2, 0, 0, 0, 4, 0, 1, 128})
	f.Fuzz(func(t *testing.T, msg []byte) {
		e, err := parseEntry(msg)
		if err != nil {
			return
		}
		_ = e.String()
		if f := e.Flow(); !f.Src.IsValid() || !f.Dst.IsValid() {
			t.Errorf("flow without addresses: %+v", f)
		}
		if len(e.key)%4 != 0 {
			t.Errorf("key of %d bytes", len(e.key))
		}
	})
}
