package dns

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
)

func parse4(s string) []byte  { return netip.MustParseAddr(s).AsSlice() }
func parse16(s string) []byte { b := netip.MustParseAddr(s).As16(); return b[:] }

// framed returns messages with their lengths before them.
func framed(msgs ...[]byte) (out []byte) {
	for _, m := range msgs {
		out = append(binary.BigEndian.AppendUint16(out, uint16(len(m))), m...)
	}
	return out
}

// likeAnswer makes a message with the header of an answer.
func likeAnswer(n int, fill byte) []byte {
	m := bytes.Repeat([]byte{fill}, max(n, 12))
	copy(m, []byte{1, 2, 0x80, 0, 0, 1})
	return m
}

func TestStream(t *testing.T) {
	a, b, c := likeAnswer(40, 'a'), likeAnswer(3000, 'b'), likeAnswer(12, 'c')
	all := framed(a, b, c)
	const isn = 1<<32 - 100 // numbers wrap around
	type part struct{ from, to int }
	for _, tt := range []struct {
		name  string
		parts []part
	}{
		{"at once", []part{{0, len(all)}}},
		{"byte by byte at first", []part{{0, 1}, {1, 2}, {2, 3}, {3, len(all)}}},
		{"a message each", []part{{0, 42}, {42, 42 + 3002}, {42 + 3002, len(all)}}},
		{"twice", []part{{0, 50}, {0, 50}, {50, len(all)}, {50, len(all)}}},
		{"the tail once more", []part{{0, 1500}, {1000, 1500}, {1000, 2000}, {1999, len(all)}}},
		{"the wrong order", []part{{2000, len(all)}, {1000, 2000}, {0, 1000}}},
		{"the wrong order, in part twice", []part{{0, 10}, {1500, 2500}, {500, 1600}, {2400, len(all)}, {5, 700}}},
	} {
		var s Stream
		var got [][]byte
		each := func(m []byte) { got = append(got, bytes.Clone(m)) }
		s.Segment(isn, true, nil, each)
		for _, p := range tt.parts {
			if !s.Segment(uint32(isn+1+p.from), false, all[p.from:p.to], each) {
				t.Errorf("%s: %v is left out", tt.name, p)
			}
		}
		if fmt.Sprint(got) != fmt.Sprint([][]byte{a, b, c}) || len(s.buf) != 0 || len(s.ahead) != 0 || s.kept != 0 {
			t.Errorf("%s: %d messages, %d bytes and %d segments left", tt.name, len(got), len(s.buf), len(s.ahead))
		}
	}
}

// TestStreamMidway: the beginning was not seen, as after a restart.
func TestStreamMidway(t *testing.T) {
	a, b := likeAnswer(40, 'a'), likeAnswer(50, 'b')
	var s Stream
	n := 0
	each := func([]byte) { n++ }
	if s.Segment(1000, false, framed(a)[7:], each) || n != 0 {
		t.Error("the rest of a message was taken for one")
	}
	if !s.Segment(1000+35, false, framed(a, b), each) || n != 2 {
		t.Errorf("%d messages", n)
	}
}

// TestStreamBounds: segments that never join cost no more than their bound.
func TestStreamBounds(t *testing.T) {
	var s Stream
	each := func([]byte) {}
	s.Segment(0, true, nil, each)
	lost := 0
	for i := range uint32(5000) {
		if !s.Segment(100+i*2000, false, make([]byte, 1000), each) {
			lost++
		}
		if s.kept > MaxAhead || len(s.ahead) > MaxAhead/512 {
			t.Fatalf("%d bytes in %d segments", s.kept, len(s.ahead))
		}
	}
	if lost == 0 {
		t.Error("no loss is reported")
	}
	for i := range uint32(5000) {
		s.Segment(1<<31+i*3, false, []byte{1}, each)
		if len(s.ahead) > MaxAhead/512 {
			t.Fatalf("%d segments", len(s.ahead))
		}
	}
}

// TestStreamRandom: however a stream is cut up, sent again and mixed, its messages come
// out whole, in order, each once.
func TestStreamRandom(t *testing.T) {
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 0))
		var msgs [][]byte
		for range 1 + r.IntN(8) {
			msgs = append(msgs, likeAnswer(r.IntN(3000), byte(r.IntN(256))))
		}
		all, isn := framed(msgs...), r.Uint32()
		var parts [][2]int
		for at := 0; at < len(all); {
			end := min(len(all), at+1+r.IntN(1500))
			parts = append(parts, [2]int{max(0, at-r.IntN(2)*r.IntN(300)), end})
			at = end
		}
		for range r.IntN(4) {
			parts = append(parts, parts[r.IntN(len(parts))])
		}
		for range r.IntN(6) { // neighbours change places
			if i := r.IntN(len(parts)); i > 0 {
				parts[i-1], parts[i] = parts[i], parts[i-1]
			}
		}
		var s Stream
		var got [][]byte
		each := func(m []byte) { got = append(got, bytes.Clone(m)) }
		s.Segment(isn, true, nil, each)
		for _, p := range parts {
			s.Segment(isn+1+uint32(p[0]), false, all[p[0]:p[1]], each)
		}
		if fmt.Sprint(got) != fmt.Sprint(msgs) {
			t.Fatalf("seed %d: %d of %d messages, parts %v", seed, len(got), len(msgs), parts)
		}
	}
}

func FuzzStream(f *testing.F) {
	f.Add([]byte{0, 20, 0, 14, 1, 2, 0x80, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, script []byte) {
		var s Stream
		for len(script) >= 2 { // where a segment begins, and its length
			n := min(int(script[1]), len(script)-2)
			s.Segment(uint32(script[0])*8, script[0] == 0, script[2:2+n], func(m []byte) {
				if len(m) > 1<<16-1 {
					t.Errorf("a message of %d bytes", len(m))
				}
			})
			if len(s.buf) > lengthBytes+1<<16-1 || s.kept > MaxAhead {
				t.Errorf("%d and %d bytes are kept", len(s.buf), s.kept)
			}
			script = script[2+n:]
		}
	})
}
