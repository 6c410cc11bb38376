//go:build linux

package machine

import (
	"os"
	"strings"
	"testing"
)

func TestParseStat(t *testing.T) {
	tail := " S 1 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4242 1000 200"
	for _, c := range []struct {
		name, line string
		start      uint64
		state      byte
		bad        bool
	}{
		{name: "plain", line: "17 (kubelet)" + tail, start: 4242, state: 'S'},
		{name: "blanks and parentheses in the name", line: "17 (a ) Z 3) b)" + tail, start: 4242, state: 'S'},
		{name: "zombie", line: "17 (x)" + strings.Replace(tail, "S", "Z", 1), start: 4242, state: 'Z'},
		{name: "no name", line: "17 kubelet" + tail, bad: true},
		{name: "cut off", line: "17 (kubelet) S 1 1", bad: true},
		{name: "no number", line: "17 (x)" + strings.Replace(tail, "4242", "soon", 1), bad: true},
		{name: "empty", bad: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			start, state, err := parseStat(c.line)
			if (err != nil) != c.bad {
				t.Fatalf("error %v", err)
			}
			if start != c.start || state != c.state {
				t.Errorf("start %d, state %q, not %d, %q", start, state, c.start, c.state)
			}
		})
	}
}

func TestAliveIsTheVeryProcess(t *testing.T) {
	me, err := processOf(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if !me.Alive() {
		t.Error("this process is not alive")
	}
	other := me
	other.Start++
	if other.Alive() {
		t.Error("a process that had this number before is alive")
	}
	other = me
	other.Boot = "before"
	if other.Alive() {
		t.Error("a process of another boot is alive")
	}
	// Were it not the start time that decides, this test would end here.
	other = me
	other.Start++
	if err := other.kill(t.Context()); err != nil {
		t.Errorf("a process that is gone cannot be killed: %v", err)
	}
}

func TestParseMount(t *testing.T) {
	for _, c := range []struct {
		line string
		want mountPoint
		ok   bool
	}{
		{"36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 shared:2 - ext3 /dev/root rw", mountPoint{"/mnt2", "ext3"}, true},
		{`36 35 98:0 / /a\040b rw - tmpfs tmpfs rw`, mountPoint{"/a b", "tmpfs"}, true},
		{"36 35 98:0 / /x rw - nsfs nsfs", mountPoint{"/x", "nsfs"}, true},
		{"36 35 98:0 / /x rw", mountPoint{}, false},
		{"", mountPoint{}, false},
	} {
		got, ok := parseMount(c.line)
		if got != c.want || ok != c.ok {
			t.Errorf("%q: %v, %t", c.line, got, ok)
		}
	}
}

func TestCheckFolder(t *testing.T) {
	overlays := []string{"/etc", "/var/lib"}
	for dir, want := range map[string]string{
		"/tmp/c":       "",
		"/srv/etc/c":   "",
		"/var/library": "",
		"":             "not a clean absolute path",
		"c":            "not a clean absolute path",
		"/":            "not a clean absolute path",
		"/tmp/../c":    "not a clean absolute path",
		"/tmp/a:b":     "mount options",
		"/tmp/a b":     "mount options",
		"/run/c":       "its own /run",
		"/proc":        "its own /proc",
		"/var/lib/c":   "its own /var/lib",
		"/etc":         "its own /etc",
	} {
		err := CheckFolder(dir, overlays)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: %v, not %q", dir, err, want)
		}
	}
}
