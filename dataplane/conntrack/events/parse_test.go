package events

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/tierwall/tierwall/dataplane/conntrack"
	"github.com/tierwall/tierwall/policy/model"
)

// Attributes of a tuple, as the kernel writes them; conntrack.ReadTuple reads them.
const (
	ctaTupleIP    = 1
	ctaTupleProto = 2

	ctaIPSrc4 = 1
	ctaIPDst4 = 2
	ctaIPSrc6 = 3
	ctaIPDst6 = 4

	ctaProtoNum     = 1
	ctaProtoSrcPort = 2
	ctaProtoDstPort = 3
	ctaProtoID      = 4
	ctaProtoType    = 5
	ctaProtoCode    = 6
	ctaProtoID6     = 7
	ctaProtoType6   = 8
	ctaProtoCode6   = 9

	attrHeader = 4
)

// attribute encodes a netlink attribute.
func attribute(kind uint16, parts ...[]byte) []byte {
	var value []byte
	for _, p := range parts {
		value = append(value, p...)
	}
	out := binary.NativeEndian.AppendUint16(nil, uint16(attrHeader+len(value)))
	out = binary.NativeEndian.AppendUint16(out, kind)
	out = append(out, value...)
	for len(out)%4 != 0 {
		out = append(out, 0)
	}
	return out
}

func be16(n uint16) []byte { return binary.BigEndian.AppendUint16(nil, n) }
func be32(n uint32) []byte { return binary.BigEndian.AppendUint32(nil, n) }
func be64(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

const nested = 1 << 15

// tuple encodes a tuple under an attribute.
func tuple(kind uint16, t conntrack.Tuple) []byte {
	src, dst := uint16(ctaIPSrc4), uint16(ctaIPDst4)
	if t.Src.Is6() {
		src, dst = ctaIPSrc6, ctaIPDst6
	}
	proto := attribute(ctaProtoNum, []byte{uint8(t.Protocol)})
	switch t.Protocol {
	case model.ICMPv4:
		proto = append(proto, attribute(ctaProtoID, be16(t.ID))...)
		proto = append(proto, attribute(ctaProtoType, []byte{t.Type})...)
		proto = append(proto, attribute(ctaProtoCode, []byte{t.Code})...)
	case model.ICMPv6:
		proto = append(proto, attribute(ctaProtoID6, be16(t.ID))...)
		proto = append(proto, attribute(ctaProtoType6, []byte{t.Type})...)
		proto = append(proto, attribute(ctaProtoCode6, []byte{t.Code})...)
	default:
		proto = append(proto, attribute(ctaProtoSrcPort, be16(t.SrcPort))...)
		proto = append(proto, attribute(ctaProtoDstPort, be16(t.DstPort))...)
	}
	return attribute(kind|nested,
		attribute(ctaTupleIP|nested, attribute(src, t.Src.AsSlice()), attribute(dst, t.Dst.AsSlice())),
		attribute(ctaTupleProto|nested, proto))
}

func tcp(src, dst string) conntrack.Tuple {
	s, d := netip.MustParseAddrPort(src), netip.MustParseAddrPort(dst)
	return conntrack.Tuple{Src: s.Addr(), SrcPort: s.Port(), Dst: d.Addr(), DstPort: d.Port(), Protocol: model.TCP}
}

func counters(kind uint16, v Volume) []byte {
	return attribute(kind|nested, attribute(ctaCountersPackets, be64(v.Packets)), attribute(ctaCountersBytes, be64(v.Bytes)))
}

// message encodes the data of an event.
func message(e *Event, more ...[]byte) []byte {
	status := uint32(0)
	if e.Replied {
		status |= statusSeenReply
	}
	b := []byte{unix.AF_INET, 0, 0, 0}
	b = append(b, tuple(ctaTupleOrig, e.Original)...)
	b = append(b, tuple(ctaTupleReply, e.Reply)...)
	b = append(b, attribute(ctaID, be32(e.ID))...)
	b = append(b, attribute(ctaStatus, be32(status))...)
	if e.Zone != 0 {
		b = append(b, attribute(ctaZone, be16(e.Zone))...)
	}
	if e.Counted {
		b = append(b, counters(ctaCountersOrig, e.Sent)...)
		b = append(b, counters(ctaCountersReply, e.Received)...)
	}
	for _, m := range more {
		b = append(b, m...)
	}
	return b
}

var (
	translated = Event{
		Kind: Ended, Original: tcp("10.0.0.1:4000", "10.96.0.1:80"), Reply: tcp("10.0.0.2:8080", "10.0.0.1:4000"),
		ID: 7, Replied: true, Counted: true, Sent: Volume{5, 300}, Received: Volume{4, 1 << 40},
	}
	plain6 = Event{
		Kind: Began, Original: tcp("[fd00::1]:4000", "[fd00::2]:80"), Reply: tcp("[fd00::2]:80", "[fd00::1]:4000"), ID: 1 << 31, Zone: 3,
	}
	ping = Event{
		Kind:     Listed,
		Original: conntrack.Tuple{Src: netip.MustParseAddr("10.0.0.1"), Dst: netip.MustParseAddr("10.0.0.2"), Protocol: model.ICMPv4, Type: 8, ID: 9},
		Reply:    conntrack.Tuple{Src: netip.MustParseAddr("10.0.0.2"), Dst: netip.MustParseAddr("10.0.0.1"), Protocol: model.ICMPv4, ID: 9},
	}
)

func TestParse(t *testing.T) {
	for name, want := range map[string]Event{"translated": translated, "IPv6": plain6, "ping": ping} {
		t.Run(name, func(t *testing.T) {
			got := Event{Kind: want.Kind, Related: true, Counted: true, ID: 1}
			if err := parse(message(&want), &got); err != nil || got != want {
				t.Errorf("got %+v, %v\nwant %+v", got, err, want)
			}
		})
	}
	t.Run("expected by a helper", func(t *testing.T) {
		var got Event
		if err := parse(message(&translated, tuple(ctaTupleMaster, plain6.Original)), &got); err != nil || !got.Related {
			t.Errorf("got %+v, %v", got, err)
		}
	})
	whole := message(&translated)
	for name, b := range map[string][]byte{
		"nothing": nil, "header alone": whole[:nfgenHeader], "cut in an attribute": whole[:len(whole)-6],
		"without a reply":        append([]byte{2, 0, 0, 0}, tuple(ctaTupleOrig, translated.Original)...),
		"address of five bytes":  append([]byte{2, 0, 0, 0}, attribute(ctaTupleOrig, attribute(ctaTupleIP, attribute(ctaIPSrc4, make([]byte, 5))))...),
		"counter of four bytes":  append([]byte{2, 0, 0, 0}, attribute(ctaCountersOrig, attribute(ctaCountersBytes, be32(1)))...),
		"attribute of length 3":  {2, 0, 0, 0, 3, 0, 1, 0},
		"attribute without size": {2, 0, 0, 0, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			if err := parse(b, &Event{}); err == nil {
				t.Error("no error")
			}
		})
	}
}

// FuzzParse holds that no message makes the parser panic or gives an Event without addresses.
func FuzzParse(f *testing.F) {
	for _, e := range []*Event{&translated, &plain6, &ping} {
		f.Add(message(e))
	}
	f.Add([]byte{2, 0, 0, 0, 4, 0, 1, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		var e Event
		if err := parse(b, &e); err == nil && !(e.Original.Src.IsValid() && e.Original.Dst.IsValid() && e.Reply.Src.IsValid()) {
			t.Errorf("%x: %+v", b, e)
		}
	})
}

// BenchmarkParse is the cost of one event without the system call.
func BenchmarkParse(b *testing.B) {
	msg := message(&translated)
	var e Event
	b.ReportAllocs()
	for b.Loop() {
		if err := parse(msg, &e); err != nil {
			b.Fatal(err)
		}
	}
}
