package ghosts

import (
	"bytes"
	"errors"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"
)

var kept = State{Cluster: "c", Node: "n1", Boot: "b1", Pods: []KeptPod{
	Keep(Pod{Namespace: "a", Name: "p", UID: "u1", Addrs: []netip.Addr{number(1), netip.MustParseAddr("fd00::1")}, Linked: []netip.Addr{number(1)}, Grace: 30 * time.Second}),
}}

func TestState(t *testing.T) {
	content, err := kept.Encode()
	if err != nil {
		t.Fatal(err)
	}
	got, err := Decode(content, "c", "n1", "b1")
	if want := []Pod{kept.Pods[0].Pod()}; err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
	changed := bytes.Clone(content)
	changed[len(changed)-3] ^= 1
	bad := kept
	bad.Pods = []KeptPod{{Name: "p", Addrs: []netip.Addr{{}}}}
	invalid, err := bad.Encode()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name                string
		content             []byte
		cluster, node, boot string
		want                error
	}{
		{"another cluster", content, "d", "n1", "b1", ErrOther},
		{"another node", content, "c", "n2", "b1", ErrOther},
		{"another boot: no sandbox has outlived it", content, "c", "n1", "b2", ErrOther},
		{"another version", []byte("tierwall pods 2 sha256:00\n{}"), "c", "n1", "b1", ErrOther},
		{"a bit", changed, "c", "n1", "b1", ErrDamaged},
		{"torn", content[:len(content)/2], "c", "n1", "b1", ErrDamaged},
		{"empty", nil, "c", "n1", "b1", ErrDamaged},
		{"no address", invalid, "c", "n1", "b1", ErrDamaged},
	} {
		if got, err := Decode(c.content, c.cluster, c.node, c.boot); !errors.Is(err, c.want) || got != nil {
			t.Errorf("%s: %v, %v", c.name, got, err)
		}
	}
}

// A book that is kept and read again is the same but for what the runtime reports.
func TestKept(t *testing.T) {
	b := New("n1")
	p := Pod{Namespace: "a", Name: "p", UID: "u1", Addrs: []netip.Addr{number(1), number(2)}, Linked: []netip.Addr{number(2)}, Sandbox: "s1", Grace: time.Minute}
	b.Begin(p, now)
	again := New("n1")
	for _, k := range b.Kept() {
		again.Begin(k.Pod(), now)
	}
	if x, y := tell(b), tell(again); x != y || x == "" {
		t.Errorf("%q and %q", x, y)
	}
	if !reflect.DeepEqual(b.Kept(), again.Kept()) {
		t.Errorf("%+v and %+v", b.Kept(), again.Kept())
	}
	again.Expire(now.Add(time.Minute + Margin))
	if again.has(number(1)) || !again.has(number(2)) {
		t.Error("evidence of an interface is lost")
	}
}

func FuzzDecode(f *testing.F) {
	content, err := kept.Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(content)
	f.Add([]byte("tierwall pods 1 sha256:" + strings.Repeat("0", 64) + "\n{}"))
	f.Fuzz(func(t *testing.T, content []byte) {
		list, err := Decode(content, "c", "n1", "b1")
		if err != nil {
			return
		}
		b := New("n1")
		for _, p := range list {
			b.Begin(p, now)
		}
		if b.Expire(now.Add(2 * Longest)); b.Len() > 0 && !anyLinked(list) {
			t.Errorf("%d stay", b.Len())
		}
	})
}

func anyLinked(list []Pod) bool {
	for _, p := range list {
		if len(p.Linked) > 0 {
			return true
		}
	}
	return false
}
