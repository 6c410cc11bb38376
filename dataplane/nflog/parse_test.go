package nflog

import (
	"encoding/binary"
	"encoding/hex"
	"net/netip"
	"strings"
	"testing"

	"github.com/mdlayher/netlink"

	"github.com/tierwall/tierwall/policy/model"
)

// message makes the data of a packet's message.
func message(t testing.TB, prefix string, payload []byte) []byte {
	t.Helper()
	ae := netlink.NewAttributeEncoder()
	ae.ByteOrder = binary.BigEndian
	ae.Bytes(attrHeader, []byte{0x08, 0x00, byte(Forward), 0})
	ae.String(attrPrefix, prefix)
	ae.Uint32(attrMark, 0x4000)
	ae.Uint32(attrInIndex, 7)
	ae.Uint32(attrOutIndex, 9)
	ae.Bytes(attrPayload, payload)
	ae.Uint32(attrSeq, 42)
	b, err := ae.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return append([]byte{2, 0, 0, 18}, b...)
}

// packet reads hexadecimal digits, with blanks between.
func packet(t testing.TB, text string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(text), ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

const (
	addrs4 = "0a000001 0a000002"
	addrs6 = "20010db8000000000000000000000001 20010db8000000000000000000000002"
)

func TestParse(t *testing.T) {
	src4, dst4 := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2")
	src6, dst6 := netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::2")
	four := func(p Packet) Packet { p.Src, p.Dst = src4, dst4; return p }
	six := func(p Packet) Packet { p.Src, p.Dst = src6, dst6; return p }
	for _, c := range []struct {
		name, payload string
		want          Packet
	}{
		{"TCP", "4500003c 00004000 40060000" + addrs4 + "9c40 0050", four(Packet{Protocol: model.TCP, SrcPort: 40000, DstPort: 80, Length: 60})},
		{"IPv4 options", "4600003c 00004000 40110000" + addrs4 + "01010101 0035 0043", four(Packet{Protocol: model.UDP, SrcPort: 53, DstPort: 67, Length: 60})},
		{"SCTP", "4500003c 00004000 40840000" + addrs4 + "0001 0002", four(Packet{Protocol: model.SCTP, SrcPort: 1, DstPort: 2, Length: 60})},
		{"ICMP echo", "45000054 00004000 40010000" + addrs4 + "0800", four(Packet{Protocol: model.ICMPv4, ICMPType: 8, HasICMP: true, Length: 84})},
		{"a protocol without ports", "45000054 00004000 402f0000" + addrs4 + "00000800", four(Packet{Protocol: 47, Length: 84})},
		{"a later fragment", "450005dc 000000b9 40110000" + addrs4 + "0035 0043", four(Packet{Protocol: model.UDP, Fragment: true, Length: 1500})},
		{"the first fragment", "450005dc 00002000 40110000" + addrs4 + "0035 0043", four(Packet{Protocol: model.UDP, SrcPort: 53, DstPort: 67, Length: 1500})},
		{"ports cut off", "4500003c 00004000 40060000" + addrs4 + "9c40 00", four(Packet{Protocol: model.TCP, Length: 60})},
		{"a header length beyond the copy", "4f00003c 00004000 40060000" + addrs4 + "9c40 0050", four(Packet{Protocol: model.TCP, Length: 60})},
		{"a header length that is too small", "4100003c 00004000 40060000" + addrs4 + "9c40 0050", four(Packet{Protocol: model.TCP, Length: 60})},
		{"an IPv4 header cut off", "4500003c 00004000 40060000 0a00", Packet{}},
		{"nothing", "", Packet{}},
		{"neither", "00112233 44556677", Packet{}},

		{"IPv6 UDP", "60000000 0010 11 40" + addrs6 + "0035 0043", six(Packet{Protocol: model.UDP, SrcPort: 53, DstPort: 67, Length: 56})},
		{"ICMPv6", "60000000 0010 3a 40" + addrs6 + "8000", six(Packet{Protocol: model.ICMPv6, ICMPType: 128, HasICMP: true, Length: 56})},
		{"all kinds of extension headers", "60000000 0060 00 40" + addrs6 +
			"2b00000000000000" + "3c01000000000000 0000000000000000" + "3302000000000000" + "06010000 00000000 00000000" + "9c40 0050",
			six(Packet{Protocol: model.AnyProtocol, Length: 136})},
		{"hop by hop, destination", "60000000 0060 00 40" + addrs6 + "3c00000000000000" + "0601000000000000 0000000000000000" + "9c40 0050",
			six(Packet{Protocol: model.TCP, SrcPort: 40000, DstPort: 80, Length: 136})},
		{"authentication", "60000000 0060 33 40" + addrs6 + "06010000 00000000 00000000" + "9c40 0050",
			six(Packet{Protocol: model.TCP, SrcPort: 40000, DstPort: 80, Length: 136})},
		{"the first fragment of IPv6", "60000000 0060 2c 40" + addrs6 + "1100 0001 00000000" + "0035 0043",
			six(Packet{Protocol: model.UDP, SrcPort: 53, DstPort: 67, Length: 136})},
		{"a later fragment of IPv6", "60000000 0060 2c 40" + addrs6 + "1100 00b8 00000000" + "0035 0043",
			six(Packet{Protocol: model.UDP, Fragment: true, Length: 136})},
		{"a later fragment behind which more headers follow", "60000000 0060 2c 40" + addrs6 + "3c00 00b8 00000000" + "1100 000000000000" + "0035 0043",
			six(Packet{Protocol: model.AnyProtocol, Fragment: true, Length: 136})},
		{"no next header", "60000000 0000 3b 40" + addrs6, six(Packet{Protocol: 59, Length: 40})},
		{"an extension header that is cut off", "60000000 0060 00 40" + addrs6 + "06ff", six(Packet{Length: 136})},
		{"an extension header without its length", "60000000 0060 00 40" + addrs6 + "06", six(Packet{Length: 136})},
		{"a fragment header cut off", "60000000 0060 2c 40" + addrs6 + "1100 00", six(Packet{Length: 136})},
		{"extension headers without end", "60000000 0060 00 40" + addrs6 + strings.Repeat("0000000000000000", 200), six(Packet{Length: 136})},
		{"an IPv6 header cut off", "60000000 0060 00 40 2001", Packet{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := parseMessage(message(t, "c-x rule", packet(t, c.payload)))
			if err != nil {
				t.Fatal(err)
			}
			c.want.Prefix, c.want.Hook, c.want.Mark, c.want.InIndex, c.want.OutIndex = "c-x rule", Forward, 0x4000, 7, 9
			c.want.seq, c.want.hasSeq = 42, true
			if *got != c.want {
				t.Errorf("got  %+v\nwant %+v", *got, c.want)
			}
		})
	}
}

func TestParseRefuses(t *testing.T) {
	good := message(t, "p", packet(t, "4500003c 00004000 40060000"+addrs4+"9c40 0050"))
	for _, c := range []struct {
		name string
		data []byte
	}{
		{"nothing", nil},
		{"less than a header", good[:3]},
		{"a cut attribute", good[:len(good)-3]},
		{"an attribute longer than the message", append(good[:4:4], 0xff, 0xff, 0, 9, 1, 2, 3, 4)},
		{"an attribute shorter than its header", append(good[:4:4], 2, 0, 0, 9)},
		{"a mark of two bytes", append(good[:4:4], 6, 0, attrMark, 0, 1, 2, 0, 0)},
	} {
		if p, err := parseMessage(c.data); err == nil {
			t.Errorf("%s: read as %+v", c.name, p)
		}
	}
	if p, err := parseMessage(good[:4]); err != nil || *p != (Packet{}) {
		t.Errorf("no attributes at all: %+v, %v", p, err)
	}
}

func TestPrefixIsText(t *testing.T) {
	p, err := parseMessage(message(t, "a\xffb", nil))
	if err != nil || p.Prefix != "a?b" {
		t.Errorf("prefix %q, error %v", p.Prefix, err)
	}
}

func TestStrings(t *testing.T) {
	for _, c := range []struct {
		p    Packet
		want string
	}{
		{Packet{}, "any ? → ?"},
		{Packet{Protocol: model.TCP, Src: netip.MustParseAddr("10.0.0.1"), Dst: netip.MustParseAddr("2001:db8::1"), SrcPort: 1, DstPort: 2}, "TCP 10.0.0.1:1 → [2001:db8::1]:2"},
		{Packet{Protocol: model.ICMPv4, Src: netip.MustParseAddr("10.0.0.1"), Dst: netip.MustParseAddr("10.0.0.2")}, "ICMP 10.0.0.1 → 10.0.0.2"},
	} {
		if got := c.p.String(); got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
	if Forward.String() != "forward" || Hook(9).String() != "9" {
		t.Errorf("hooks are called %s and %s", Forward, Hook(9))
	}
}

func TestSequence(t *testing.T) {
	for _, c := range []struct {
		name string
		// events are numbers of packets, or -1: the kernel says that it had no room
		events []int64
		want   uint64
	}{
		{"nothing missing", []int64{0, 1, 2, 3}, 0},
		{"the first ones missing", []int64{2, 3}, 2},
		{"some missing", []int64{0, 1, 5, 6, 8}, 4},
		{"no room is one lost until a number says more", []int64{0, 1, -1}, 1},
		{"and not counted twice", []int64{0, 1, -1, 7}, 5},
		{"however often it is said", []int64{0, -1, -1, -1, 4}, 3},
		{"one round after the other", []int64{0, -1, 3, -1, 6}, 4},
		{"said before what had come is read", []int64{0, -1, 1, 2, 9}, 6},
		{"around", []int64{0, 1 << 31, 1<<32 - 2, 1<<32 - 1, 0, 2}, (1<<31 - 1) + (1<<31 - 3) + 1},
		{"backwards is nothing", []int64{5, 4, 5}, 5},
	} {
		t.Run(c.name, func(t *testing.T) {
			var s sequence
			var got uint64
			for _, e := range c.events {
				if e < 0 {
					got += s.overrun()
				} else {
					got += s.see(uint32(e))
				}
			}
			if got != c.want {
				t.Errorf("%d lost, want %d", got, c.want)
			}
		})
	}
}

// FuzzParse holds that no message makes the reader fail, and what is always true of what it reads.
func FuzzParse(f *testing.F) {
	for _, payload := range []string{
		"", "4500003c 00004000 40060000" + addrs4 + "9c40 0050", "4600003c 00002000 40110000" + addrs4 + "01010101 0035 0043",
		"60000000 0060 00 40" + addrs6 + "3c00000000000000" + "0601000000000000 0000000000000000" + "9c40 0050",
		"60000000 0060 2c 40" + addrs6 + "1100 00b8 00000000" + "0035 0043", "60000000 0060 33 40" + addrs6 + "06010000 00000000 00000000" + "9c40 0050",
	} {
		f.Add(message(f, "c-abc GlobalNetworkPolicy/x", packet(f, payload)))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := parseMessage(b)
		if err != nil {
			return
		}
		switch {
		case p.Src.IsValid() != p.Dst.IsValid() || p.Src.BitLen() != p.Dst.BitLen():
			t.Errorf("addresses of two families: %+v", p)
		case (p.SrcPort != 0 || p.DstPort != 0) && (!p.Protocol.HasPorts() || p.Fragment):
			t.Errorf("ports where there are none: %+v", p)
		case p.HasICMP && (p.Fragment || p.Protocol != model.ICMPv4 && p.Protocol != model.ICMPv6):
			t.Errorf("ICMP where there is none: %+v", p)
		case p.Length < 0 || p.Length > 65535+ipv6Header:
			t.Errorf("length %d", p.Length)
		}
		_ = p.String()
	})
}
