package nfqueue

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"
)

// packetMessage is a packet's message as the kernel makes it.
func packetMessage(id uint32, data []byte) []byte {
	m, at := begin(nil, msgPacket, 0, 0, 7)
	return m.attribute(attrHeader, append(be32(id), 8, 0, 2)...).attribute(5, 0, 0, 0, 3).attribute(attrPayload, data...).end(at)
}

func errorMessage(seq uint32, code int32) []byte {
	b := make([]byte, headerLen+20)
	binary.NativeEndian.PutUint32(b, uint32(len(b)))
	binary.NativeEndian.PutUint16(b[4:], typeError)
	binary.NativeEndian.PutUint32(b[8:], seq)
	binary.NativeEndian.PutUint32(b[headerLen:], uint32(-code))
	return b
}

func TestEach(t *testing.T) {
	b := append(packetMessage(3, []byte("abcde")), errorMessage(2, 0)...)
	b = append(append(b, errorMessage(1, 22)...), packetMessage(4, nil)...)
	var got []answer
	if err := each(b, func(a answer) { got = append(got, a) }); err != nil {
		t.Fatal(err)
	}
	if len(got) != 4 || !got[0].isPacket || got[0].packet.ID != 3 || string(got[0].packet.Data) != "abcde" ||
		got[1].seq != 2 || got[1].err != nil || got[2].err == nil || got[3].packet.ID != 4 {
		t.Errorf("%+v", got)
	}
	for n := range len(b) {
		_ = each(b[:n], func(answer) {})
	}
}

// TestRequests holds the requests to what the kernel's headers say.
func TestRequests(t *testing.T) {
	b := accept(nil, 0x0102, []uint32{5, 6})
	want := []byte{0, 0, 1, 2, 12, 0, 2, 0, 0, 0, 0, 1, 0, 0, 0, 5}
	if len(b) != 64 || !bytes.Equal(b[headerLen:32], want) {
		t.Errorf("verdicts are %v", b)
	}
	b = bind(7, 1, 16)
	first := int(binary.NativeEndian.Uint32(b))
	second := int(binary.NativeEndian.Uint32(b[first:]))
	if first+second != len(b) || binary.NativeEndian.Uint32(b[8:]) != 1 || binary.NativeEndian.Uint32(b[first+8:]) != 2 {
		t.Errorf("binding is %v", b)
	}
}

func TestGaps(t *testing.T) {
	var r round
	for _, c := range []struct {
		ids  []uint32
		want uint64
	}{{[]uint32{5, 6}, 0}, {[]uint32{7, 10}, 2}, {[]uint32{9}, 0}, {[]uint32{1<<32 - 1}, 0}} {
		r.packets = nil
		for _, id := range c.ids {
			r.packets = append(r.packets, Packet{ID: id})
		}
		if got := r.gaps(); got != c.want {
			t.Errorf("%v: %d missing, want %d", c.ids, got, c.want)
		}
	}
	r = round{last: 1<<32 - 2, begun: true, packets: []Packet{{ID: 1<<32 - 1}, {ID: 1}}}
	if got := r.gaps(); got != 1 {
		t.Errorf("where numbers wrap around: %d missing", got)
	}
}

var (
	v4a, v4b = netip.MustParseAddr("10.0.0.53"), netip.MustParseAddr("10.0.0.2")
	v6a, v6b = netip.MustParseAddr("fd00::53"), netip.MustParseAddr("fd00::2")
)

// packet is one of IPv4 or IPv6, with extension headers.
func packet(v6 bool, extensions []byte, protocol byte, l4 []byte) []byte {
	if !v6 {
		b := make([]byte, 20+len(extensions))
		b[0], b[9] = byte(0x40+len(b)/4), protocol
		copy(b[12:], v4a.AsSlice())
		copy(b[16:], v4b.AsSlice())
		copy(b[20:], extensions)
		b = append(b, l4...)
		binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
		return b
	}
	b := make([]byte, 40)
	b[0], b[6] = 0x60, protocol
	if len(extensions) > 0 {
		b[6] = extHopByHop
		extensions[0] = protocol
	}
	copy(b[8:], v6a.AsSlice())
	copy(b[24:], v6b.AsSlice())
	b = append(append(b, extensions...), l4...)
	binary.BigEndian.PutUint16(b[4:], uint16(len(b)-40))
	return b
}

func udp(payload string) []byte {
	b := []byte{0, 53, 0x9c, 0x40, 0, byte(8 + len(payload)), 0, 0}
	return append(b, payload...)
}

func tcp(flags byte, payload string) []byte {
	b := make([]byte, 24)
	b[1], b[2], b[3], b[7], b[12], b[13] = 53, 0x9c, 0x40, 9, 0x60, flags
	return append(b, payload...)
}

func TestSegment(t *testing.T) {
	for _, c := range []struct {
		name string
		data []byte
		want string // payload; "-": none
		syn  bool
	}{
		{"UDP", packet(false, nil, 17, udp("abc")), "abc", false},
		{"UDP with padding", append(packet(false, nil, 17, udp("abc")), 0, 0, 0), "abc", false},
		{"UDP with options", packet(false, make([]byte, 8), 17, udp("abc")), "abc", false},
		{"UDP over IPv6", packet(true, nil, 17, udp("abc")), "abc", false},
		{"behind an extension header", packet(true, make([]byte, 8), 17, udp("abc")), "abc", false},
		{"behind a long extension header", packet(true, append([]byte{0, 9}, make([]byte, 78)...), 17, udp("a")), "a", false},
		{"behind part of an extension header", packet(true, append([]byte{0, 9}, make([]byte, 6)...), 17, udp("a")), "-", false},
		{"TCP", packet(false, nil, 6, tcp(16, "abc")), "abc", false},
		{"SYN and ACK", packet(true, nil, 6, tcp(18, "")), "", true},
		{"FIN", packet(true, nil, 6, tcp(17, "x")), "x", false},
		{"ICMP", packet(false, nil, 1, udp("abc")), "-", false},
		{"nothing", nil, "-", false},
		{"another version", []byte{0x50, 1, 2}, "-", false},
	} {
		p := Packet{Data: c.data}
		s, ok := p.Segment()
		if ok != (c.want != "-") || ok && (string(s.Payload) != c.want || s.SYN != c.syn || s.Src.Port() != 53 || s.Dst.Port() != 40000) {
			t.Errorf("%s: %+v, %v", c.name, s, ok)
		}
		if ok && s.Src.Addr() != v4a && s.Src.Addr() != v6a {
			t.Errorf("%s: from %s", c.name, s.Src)
		}
	}
	fragment := packet(false, nil, 17, udp("abc"))
	fragment[6] = 0x20
	if _, ok := (&Packet{Data: fragment}).Segment(); ok {
		t.Error("a fragment is taken for a whole packet")
	}
}

func FuzzSegment(f *testing.F) {
	f.Add(packet(false, nil, 17, udp("abc")))
	f.Add(packet(true, make([]byte, 16), 6, tcp(2, "abc")))
	f.Fuzz(func(t *testing.T, data []byte) {
		p := Packet{Data: data}
		s, ok := p.Segment()
		if ok && (!s.Src.IsValid() || !s.Dst.IsValid() || len(s.Payload) > len(data)) {
			t.Errorf("%+v", s)
		}
	})
}

func FuzzEach(f *testing.F) {
	f.Add(append(packetMessage(3, []byte("abcde")), errorMessage(2, 22)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		total := 0
		_ = each(b, func(a answer) { total += len(a.packet.Data) + headerLen })
		if total > len(b) {
			t.Errorf("%d bytes of %d", total, len(b))
		}
	})
}
