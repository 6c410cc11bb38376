//go:build linux

package lab

import (
	"encoding/hex"
	"net/netip"
	"testing"

	"github.com/tierwall/tierwall/policy/model"
)

// TestReadProbes reads back what is built, of every protocol, and what is said
// of it in ICMP errors.
func TestReadProbes(t *testing.T) {
	flows := append(allProtocols(addr("10.0.0.1"), addr("10.0.0.2")), allProtocols(addr("fd00::1"), addr("fd00::2"))...)
	flows = append(flows, flow(model.UDPLite, "10.0.0.1", "10.0.0.2", 5),
		model.Flow{Src: addr("10.0.0.1"), Dst: addr("10.0.0.2"), Protocol: model.ICMPv4, ICMPType: 3, ICMPCode: 13},
		model.Flow{Src: addr("fd00::1"), Dst: addr("fd00::2"), Protocol: model.ICMPv6, ICMPType: 1, ICMPCode: 1})
	for _, f := range flows {
		if f.Protocol.HasPorts() {
			f.SrcPort = 1234
		}
		packet := probePacket(f, 0xfedcba98, Options{})
		src, dst, p, body, ok := readIP(packet)
		if !ok || src != f.Src || dst != f.Dst || p != f.Protocol {
			t.Errorf("%s: the IP header reads %s > %s protocol %s, %t", describe(f), src, dst, p, ok)
			continue
		}
		s, ok := read(src, dst, p, body)
		want := seen{id: 0xfedcba98, src: netip.AddrPortFrom(f.Src, f.SrcPort), dst: netip.AddrPortFrom(f.Dst, f.DstPort), icmpType: f.ICMPType, icmpCode: f.ICMPCode}
		if !ok || s != want {
			t.Errorf("%s: got %+v, %t, want %+v", describe(f), s, ok, want)
		}

		icmp, typ := model.ICMPv4, uint8(3)
		if f.Src.Is6() {
			icmp, typ = model.ICMPv6, 1
		}
		if icmp == f.Protocol && icmpIsError(icmp, f.ICMPType) {
			continue // there are no errors about errors
		}
		quote := packet
		if f.Protocol == model.TCP && f.Src.Is4() {
			quote = packet[:28] // what an old router sends back
		}
		s, ok = read(dst, src, icmp, append([]byte{typ, 2, 0, 0, 0, 0, 0, 0}, quote...))
		if !ok || s.id != 0xfedcba98 || !s.rejects || s.answer == "" {
			t.Errorf("%s: an ICMP error about it reads %+v, %t", describe(f), s, ok)
		}
	}
}

// TestChecksums: over a packet with its sum in place the Internet checksum is
// zero; the CRC has a published check value.
func TestChecksums(t *testing.T) {
	for _, pair := range [][2]string{{"10.0.0.1", "10.0.0.2"}, {"fd00::1", "fd00::2"}} {
		for _, f := range allProtocols(addr(pair[0]), addr(pair[1])) {
			b := transport(f, 77, payloadProbe)
			var at [2]byte
			switch f.Protocol {
			case model.TCP, model.UDP, model.ICMPv4, model.ICMPv6:
				if sum(at[:], f, b); at != [2]byte{} && at != [2]byte{0xff, 0xff} {
					t.Errorf("%s: the sum over the packet is %x", describe(f), at)
				}
			}
		}
	}
	b := transport(model.Flow{Src: addr("10.0.0.1"), Dst: addr("10.0.0.2"), Protocol: model.SCTP, SrcPort: 1, DstPort: 2}, 0x01020304, payloadProbe)
	if got, want := hex.EncodeToString(b[:8]), "0001000200000000"; got != want {
		t.Errorf("SCTP header %s, want %s", got, want)
	}
	if got := hex.EncodeToString(castagnoliOf("123456789")); got != "839206e3" {
		t.Errorf("CRC32c of the check string as it is sent: %s", got)
	}
}

// FuzzRead feeds the parsers what a network may bring.
func FuzzRead(f *testing.F) {
	for _, fl := range append(allProtocols(addr("10.0.0.1"), addr("10.0.0.2")), allProtocols(addr("fd00::1"), addr("fd00::2"))...) {
		f.Add(probePacket(fl, 1, Options{}))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if src, dst, p, body, ok := readIP(b); ok {
			for _, q := range []model.Protocol{p, model.TCP, model.UDP, model.SCTP, model.ICMPv4, model.ICMPv6, gre} {
				if s, ok := read(src, dst, q, body); ok && s.src.Addr() != src {
					t.Errorf("source %s, want %s", s.src.Addr(), src)
				}
			}
		}
	})
}
