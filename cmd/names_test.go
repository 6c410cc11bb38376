package cmd

import (
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tierwall/tierwall/controllers/agent/learnt"
	dnsnames "github.com/tierwall/tierwall/policy/names"
)

func TestNames(t *testing.T) {
	dir := t.TempDir()
	if got := runMain(t, "", "names", "--state-dir", dir); got.status != 2 || !strings.Contains(got.errOut, "knows no names") {
		t.Errorf("without a file: %+v", got)
	}
	now := time.Now().UTC().Truncate(time.Second)
	known := func(name, addr string, until time.Duration) dnsnames.Known {
		return dnsnames.Known{Name: name, Addr: netip.MustParseAddr(addr), Since: now.Add(-time.Hour), Until: now.Add(until)}
	}
	log := learnt.Log{Path: filepath.Join(dir, learnt.FileName)}
	if _, err := log.Compact([]dnsnames.Known{known("a.example", "192.0.2.1", time.Hour), known("b.example", "2001:db8::1", time.Hour), known("old.example", "192.0.2.2", -time.Minute)}); err != nil {
		t.Fatal(err)
	}
	got := runMain(t, "", "names", "--state-dir", dir)
	if lines := strings.Split(got.out, "\n"); got.status != 0 || len(lines) != 4 || !strings.HasPrefix(lines[1], "a.example  192.0.2.1 ") || !strings.HasPrefix(lines[2], "b.example  2001:db8::1 ") {
		t.Errorf("%+v", got)
	}
	got = runMain(t, "", "names", "--state-dir", dir, "-o", "json", "*.example", "b.example")
	if got.status != 0 || strings.Count(got.out, `"name"`) != 2 {
		t.Errorf("%+v", got)
	}
	if got := runMain(t, "", "names", "--state-dir", dir, "a.*"); got.status != 2 {
		t.Errorf("with a pattern that is none: %+v", got)
	}
}
