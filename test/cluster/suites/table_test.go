package suites

import (
	"strings"
	"testing"
	"time"
)

var aDay = time.Date(2026, 11, 21, 1, 0, 0, 0, time.UTC)

func aRow(pods string, passed int) Row {
	return Row{
		Suite:         Suite{Title: "Netpol"},
		Configuration: Configuration{PodNetwork: pods, ProxyMode: "nftables", Families: "IPv4", Runtime: "containerd 2.4.2", Dataplane: "NFTables"},
		Verdict:       Verdict{Version: "v1.36.3", Passed: passed, Total: 47, Time: 184400 * time.Millisecond, Skipped: []string{"a", "b", "c"}},
		Baseline:      Verdict{Passed: 5, Total: 47},
		Day:           aDay,
	}
}

func TestUpdateTable(t *testing.T) {
	page := "# Page\n\n" + results.Begin + "\n" + results.End + "\n\nMore.\n"
	got, err := results.update(page, [][]string{aRow("routed", 46).cells(), aRow("bridge", 47).cells()})
	if err != nil {
		t.Fatal(err)
	}
	// A later run takes the place of the earlier.
	if got, err = results.update(got, [][]string{aRow("routed", 47).cells()}); err != nil {
		t.Fatal(err)
	}
	want := "# Page\n\n" + results.Begin + `
| suite | version | pod network | kube-proxy | families | runtime | data plane | passed | without Tierwall | skipped | time | on |
|---|---|---|---|---|---|---|---|---|---|---|---|
| Netpol | v1.36.3 | bridge | nftables | IPv4 | containerd 2.4.2 | NFTables | 47 of 47 | 5 of 47 | 3 (SCTP sockets) | 3m4s | 2026-11-21 |
| Netpol | v1.36.3 | routed | nftables | IPv4 | containerd 2.4.2 | NFTables | 47 of 47 | 5 of 47 | 3 (SCTP sockets) | 3m4s | 2026-11-21 |
` + results.End + "\n\nMore.\n"
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestUpdateTableRefuses(t *testing.T) {
	for _, c := range []struct{ page, want string }{
		{"nothing", results.Begin},
		{results.Begin + "\nno end", results.End},
		{results.Begin + "\nsome text\n" + results.End, "line 1"},
	} {
		if _, err := results.update(c.page, nil); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: error %v, want one with %q", c.page, err, c.want)
		}
	}
}
