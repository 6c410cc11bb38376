package learnt

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tierwall/tierwall/policy/names"
)

var start = time.Unix(1_700_000_000, 0).UTC()

func known(name, addr string, until time.Duration) names.Known {
	return names.Known{Name: name, Addr: netip.MustParseAddr(addr), Since: start, Until: start.Add(until)}
}

// many returns n addresses of each of some names.
func many(count, n int) (out []names.Known) {
	for i := range count {
		for j := range n {
			k := known(fmt.Sprintf("n%d.example", i), "2001:db8::1", time.Hour)
			k.Addr = netip.AddrFrom16([16]byte{0x20, 1, 12: byte(i >> 8), 13: byte(i), 14: byte(j >> 8), 15: byte(j)})
			out = append(out, k)
		}
	}
	return out
}

func load(t testing.TB, l *Log) ([]names.Known, Loaded) {
	t.Helper()
	var got []names.Known
	r, err := l.Load(func(k names.Known) { got = append(got, k) })
	if err != nil {
		t.Fatal(err)
	}
	if r.Addresses != len(got) {
		t.Errorf("%d addresses are reported, %d came", r.Addresses, len(got))
	}
	return got, r
}

func newLog(t testing.TB) *Log {
	l := &Log{Path: filepath.Join(t.TempDir(), "below", FileName)}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func same(t *testing.T, what string, got, want []names.Known) {
	t.Helper()
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%s:\n got %v\nwant %v", what, got, want)
	}
}

func TestLog(t *testing.T) {
	l := newLog(t)
	got, r := load(t, l)
	if len(got) != 0 || r.Damaged != 0 {
		t.Errorf("of no file: %v, %+v", got, r)
	}
	first := []names.Known{known("a.example", "192.0.2.1", time.Hour), known("a.example", "2001:db8::1", time.Minute), known("b.example", "192.0.2.1", time.Hour)}
	if err := l.Append(first); !errors.Is(err, ErrFull) {
		t.Errorf("appended to nothing: %v", err)
	}
	if left, err := l.Compact(first); left != 0 || err != nil {
		t.Fatal(left, err)
	}
	more := []names.Known{known("a.example", "192.0.2.1", 2*time.Hour), known("c.example", "192.0.2.9", time.Hour)}
	for _, k := range more {
		if err := l.Append([]names.Known{k}); err != nil {
			t.Fatal(err)
		}
	}
	next := &Log{Path: l.Path}
	got, r = load(t, next)
	same(t, "loaded", got, slices.Concat(first, more))
	if r.Damaged != 0 {
		t.Errorf("%+v", r)
	}
	if err := next.Append(first[:1]); err != nil {
		t.Fatal(err)
	}
	if got, _ := load(t, l); len(got) != 6 {
		t.Errorf("%d after another agent's append", len(got))
	}
	_ = next.Close()
}

// TestTorn: wherever the last write was torn, what stands before counts, and what is
// appended then is read.
func TestTorn(t *testing.T) {
	l := newLog(t)
	if _, err := l.Compact(many(2, 3)); err != nil {
		t.Fatal(err)
	}
	whole := l.size
	if err := l.Append(many(1, 4)); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(l.Path)
	if err != nil {
		t.Fatal(err)
	}
	for cut := range content {
		torn := &Log{Path: filepath.Join(t.TempDir(), FileName)}
		if err := os.WriteFile(torn.Path, content[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		got, r := load(t, torn)
		if int64(cut) >= whole && len(got) != 6 || int64(cut) < int64(len(header)) && r.Damaged != int64(cut) {
			t.Fatalf("cut at %d: %d addresses, %+v", cut, len(got), r)
		}
		switch err := torn.Append(many(1, 1)); {
		case cut < len(header):
			if !errors.Is(err, ErrFull) {
				t.Fatalf("cut at %d: %v", cut, err)
			}
		case err != nil:
			t.Fatalf("cut at %d: %v", cut, err)
		default:
			if again, r := load(t, torn); len(again) != len(got)+1 || r.Damaged != 0 {
				t.Fatalf("cut at %d: %d addresses then, %+v", cut, len(again), r)
			}
		}
		_ = torn.Close()
	}
	// A bit anywhere is never taken for something that was learnt.
	for i := range content {
		flipped := slices.Clone(content)
		flipped[i] ^= 4
		if err := os.WriteFile(l.Path, flipped, 0o600); err != nil {
			t.Fatal(err)
		}
		got, r := load(t, l)
		if r.Damaged == 0 || len(got) >= 10 {
			t.Fatalf("bit of byte %d: %d addresses, %+v", i, len(got), r)
		}
		if want := slices.Concat(many(2, 3), many(1, 4)); fmt.Sprint(got) != fmt.Sprint(want[:len(got)]) {
			t.Fatalf("bit of byte %d: %v", i, got)
		}
	}
}

func TestBounds(t *testing.T) {
	l := newLog(t)
	l.MaxBytes = 2000
	left, err := l.Compact(many(10, 10))
	if err != nil || left == 0 || l.size > l.MaxBytes {
		t.Fatalf("%d left out of %d bytes, %v", left, l.size, err)
	}
	if got, r := load(t, l); len(got) != 100-left || r.Damaged != 0 {
		t.Errorf("%d loaded, %d left out", len(got), left)
	}
	if err := l.Append(many(1, 10)); !errors.Is(err, ErrFull) {
		t.Errorf("%v", err)
	}
	if _, err := l.Compact(many(1, 1)); err != nil {
		t.Fatal(err)
	}
	appends := 0
	for !l.Long() {
		if err := l.Append(many(1, 1)); err != nil {
			t.Fatal(err)
		}
		appends++
	}
	if appends == 0 || appends > 3 {
		t.Errorf("long after %d", appends)
	}
	// A larger file than is allowed is read up to the bound.
	l.MaxBytes = 0
	if _, err := l.Compact(many(10, 10)); err != nil {
		t.Fatal(err)
	}
	l.MaxBytes = 2000
	if got, r := load(t, l); len(got) == 0 || len(got) == 100 || r.Damaged == 0 {
		t.Errorf("%d loaded, %+v", len(got), r)
	}
	// What a name holds may take more than a frame.
	l.MaxBytes = 0
	if _, err := l.Compact(many(1, 6000)); err != nil {
		t.Fatal(err)
	}
	if got, _ := load(t, l); len(got) != 6000 {
		t.Errorf("%d of 6000", len(got))
	}
}

func TestOtherFiles(t *testing.T) {
	for _, content := range []string{"tierwall learnt names 2\nxxxx", "hello", "\x00", strings.Repeat("x", 100_000)} {
		l := newLog(t)
		if err := os.MkdirAll(filepath.Dir(l.Path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(l.Path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, r := load(t, l); len(got) != 0 || r.Damaged != int64(len(content)) {
			t.Errorf("%.30q: %v, %+v", content, got, r)
		}
		if _, err := l.Compact(many(1, 1)); err != nil {
			t.Error(err)
		}
		if got, _ := load(t, l); len(got) != 1 {
			t.Errorf("%.30q: %v", content, got)
		}
	}
	l := &Log{Path: "/dev/null/x"}
	if _, err := l.Load(func(names.Known) {}); err == nil {
		t.Error("a folder that is none")
	}
	if _, err := l.Compact(nil); err == nil {
		t.Error("a folder that cannot be made")
	}
}

// full is a file on a disk that is full after some bytes.
type full struct {
	*os.File
	room *int
}

func (f full) Write(b []byte) (int, error) {
	n, _ := f.File.Write(b[:min(len(b), *f.room)])
	if *f.room -= n; n < len(b) {
		return n, syscall.ENOSPC
	}
	return n, nil
}

// TestDiskFull: a write that fails half way leaves nothing that is read, and the next
// one that succeeds is.
func TestDiskFull(t *testing.T) {
	l, room := newLog(t), 20
	l.open = func(name string) (file, error) {
		f, err := os.OpenFile(name, os.O_WRONLY|os.O_APPEND, 0o600)
		return full{f, &room}, err
	}
	if _, err := l.Compact(many(1, 1)); err != nil {
		t.Fatal(err)
	}
	if err := l.Append(many(1, 2)); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("%v", err)
	}
	room = 1 << 20
	if err := l.Append([]names.Known{known("z.example", "192.0.2.9", time.Hour)}); err != nil {
		t.Fatal(err)
	}
	if got, r := load(t, l); len(got) != 2 || got[1].Name != "z.example" || r.Damaged != 0 {
		t.Errorf("%v, %+v", got, r)
	}
}

// TestRestart: a table that is restored from the file knows what the other knew.
func TestRestart(t *testing.T) {
	pattern, err := names.ParsePattern("*.example")
	if err != nil {
		t.Fatal(err)
	}
	was := names.New(names.Options{})
	was.Use(pattern)
	l := newLog(t)
	if _, err := l.Compact(nil); err != nil {
		t.Fatal(err)
	}
	for i := range 50 {
		now := start.Add(time.Duration(i) * time.Second)
		a := names.Answer{Names: []string{fmt.Sprintf("n%d.example", i%10)}, Addrs: []names.Address{{Addr: netip.AddrFrom4([4]byte{192, 0, 2, byte(i % 15)}), TTL: time.Minute}}}
		was.Learn(a, now)
		var changed []names.Known
		for _, k := range was.Names() {
			if k.Name == a.Names[0] && k.Addr == a.Addrs[0].Addr {
				changed = append(changed, k)
			}
		}
		if err := l.Append(changed); err != nil {
			t.Fatal(err)
		}
	}
	is := names.New(names.Options{})
	is.Use(pattern)
	if _, err := l.Load(func(k names.Known) { is.Restore(k, start.Add(time.Minute)) }); err != nil {
		t.Fatal(err)
	}
	same(t, "restored", is.Names(), was.Names())
}

// FuzzLoad: no file makes a panic, and what is loaded is read again when it is written.
func FuzzLoad(f *testing.F) {
	frames := appendFrames([]byte(header), many(2, 2))
	f.Add(frames)
	f.Add(frames[:len(frames)-1])
	f.Add([]byte(header))
	f.Add(appendFrames([]byte(header), []names.Known{{Name: "A B"}, known("a.example", "::ffff:192.0.2.1", 0)}))
	f.Fuzz(func(t *testing.T, content []byte) {
		fuzzed := func(content []byte) (got []names.Known, size int64) {
			n, size, err := read(bytes.NewReader(content), func(k names.Known) { got = append(got, k) })
			if err != nil || n != len(got) || size > int64(len(content)) {
				t.Fatalf("%d addresses in %d of %d bytes, %v", n, size, len(content), err)
			}
			return got, size
		}
		got, _ := fuzzed(content)
		for _, k := range got {
			if c, ok := names.Canonical(k.Name); !ok || c != k.Name || !k.Addr.IsValid() || k.Addr.Is4In6() {
				t.Fatalf("%+v", k)
			}
		}
		written := appendFrames([]byte(header), got)
		again, size := fuzzed(written)
		if fmt.Sprint(again) != fmt.Sprint(got) || size != int64(len(written)) {
			t.Fatalf("written again: %v, want %v", again, got)
		}
	})
}
