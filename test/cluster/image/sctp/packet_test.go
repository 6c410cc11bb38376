package sctp

import (
	"bytes"
	"encoding/hex"
	"errors"
	"reflect"
	"testing"
)

func TestPacketsAreReadAsWritten(t *testing.T) {
	for _, p := range []packet{
		{source: 10001, destination: 9003, chunks: []chunk{beginning{tag: 7, tsn: 8}.chunk(chunkInit)}},
		{source: 9003, destination: 10001, tag: 7, chunks: []chunk{beginning{tag: 1, tsn: 2, cookie: []byte("sixteen bytes ok")}.chunk(chunkInitAck)}},
		{source: 1, destination: 2, tag: 3, chunks: []chunk{{kind: chunkCookieEcho, value: []byte("odd")}, data(5, []byte("hello")), sack(4)}},
		{source: 1, destination: 2, tag: 3, chunks: []chunk{{kind: chunkAbort, flags: tagReflected, value: []byte{}}}},
	} {
		got, err := parse(p.marshal())
		if err != nil || !reflect.DeepEqual(got, p) {
			t.Errorf("got %+v, %v; want %+v", got, err, p)
		}
	}
}

func TestChecksum(t *testing.T) {
	p := packet{source: 9003, destination: 10001, tag: 7, chunks: []chunk{{kind: chunkAbort}}}
	whole := p.marshal()
	if got := hex.EncodeToString(whole[:8]); got != "232b271100000007" {
		t.Errorf("header %s", got)
	}
	for i := range whole {
		damaged := bytes.Clone(whole)
		damaged[i] ^= 1
		if _, err := parse(damaged); !errors.Is(err, errPacket) {
			t.Errorf("byte %d is damaged, and the packet is read: %v", i, err)
		}
	}
}

func TestParseRefusesWhatIsCutShort(t *testing.T) {
	for name, p := range map[string][]byte{
		"nothing":          nil,
		"a header's part":  make([]byte, 11),
		"a chunk's part":   packet{}.marshal()[:8],
		"no length":        resum(append(packet{}.marshal(), 0, 0, 0, 0)),
		"length too great": resum(append(packet{}.marshal(), 0, 0, 0, 9)),
	} {
		if _, err := parse(p); !errors.Is(err, errPacket) {
			t.Errorf("%s is read: %v", name, err)
		}
	}
	if _, err := parseBeginning(chunk{value: make([]byte, initFields-1)}); !errors.Is(err, errPacket) {
		t.Errorf("a short INIT: %v", err)
	}
	if _, err := parseBeginning(chunk{value: append(make([]byte, initFields), 0, 7, 0, 3)}); !errors.Is(err, errPacket) {
		t.Errorf("an INIT with a parameter shorter than its head: %v", err)
	}
	if _, _, err := parseData(chunk{value: make([]byte, dataFields)}); !errors.Is(err, errPacket) {
		t.Errorf("DATA without any: %v", err)
	}
	if _, _, err := parseCookie(make([]byte, 15)); !errors.Is(err, errPacket) {
		t.Errorf("a short cookie: %v", err)
	}
}

// resum gives a packet that was changed the right checksum.
func resum(p []byte) []byte {
	copy(p[8:12], []byte{0, 0, 0, 0})
	sum := checksum(p)
	return append(append(bytes.Clone(p[:8]), sum[:]...), p[12:]...)
}

func FuzzParse(f *testing.F) {
	f.Add(packet{chunks: []chunk{beginning{cookie: make([]byte, 16)}.chunk(chunkInitAck), data(1, []byte("x")), sack(2)}}.marshal())
	f.Fuzz(func(_ *testing.T, in []byte) {
		if len(in) >= commonHeader {
			in = resum(in)
		}
		p, err := parse(in)
		if err != nil {
			return
		}
		for _, c := range p.chunks {
			_, _ = parseBeginning(c)
			_, _, _ = parseData(c)
			_, _, _ = parseCookie(c.value)
		}
		(&Server{ports: map[uint16][]byte{p.destination: []byte("x")}}).answer(p)
	})
}
