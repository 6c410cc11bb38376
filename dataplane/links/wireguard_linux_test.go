package links

import (
	"encoding/binary"
	"errors"
	"testing"
)

// TestFillWireGuard reads devices of which some cannot be read.
func TestFillWireGuard(t *testing.T) {
	answer := func(port uint16) []byte {
		b := []byte{wireguardGetDevice, wireguardVersion, 0, 0} // the generic header
		b = binary.NativeEndian.AppendUint16(b, 6)
		b = binary.NativeEndian.AppendUint16(b, wireguardListenPort)
		b = binary.NativeEndian.AppendUint16(b, port)
		return append(b, 0, 0)
	}
	l := &listing{links: []link{
		{index: 1, kind: "dummy", up: true},
		{index: 2, kind: "wireguard", up: true},
		{index: 3, kind: "wireguard", up: true},
		{index: 4, kind: "wireguard"},
		{index: 5, kind: "wireguard", up: true},
	}}
	asked := map[int]bool{}
	l.fillWireGuard(func(index int) ([][]byte, error) {
		asked[index] = true
		switch index {
		case 2:
			return nil, errors.New("no such device")
		case 3:
			return [][]byte{answer(51820), {1, 2}}, nil
		}
		return [][]byte{{}, answer(51821)}, nil
	})
	for i, want := range []uint16{0, 0, 51820, 0, 51821} {
		if got := l.links[i].encapsulation.port; got != want || asked[i+1] != (i == 1 || want != 0) {
			t.Errorf("device %d: port %d, want %d; asked %t", i+1, got, want, asked[i+1])
		}
	}
}
