//go:build linux

package main

import (
	"maps"
	"slices"
	"testing"
	"time"
)

// The arguments are those that the upstream suites use.
func TestConnectsSCTP(t *testing.T) {
	for _, c := range []struct {
		arguments []string
		want      connectOptions
		ok        bool
	}{
		{[]string{"/agnhost", "connect", "--timeout=3s", "--protocol=sctp", "10.0.0.1:9003"}, connectOptions{to: "10.0.0.1:9003", data: "hostname", timeout: 3 * time.Second}, true},
		{[]string{"/agnhost", "connect", "[fd00::1]:80", "--timeout=1s", "--protocol=sctp"}, connectOptions{to: "[fd00::1]:80", data: "hostname", timeout: time.Second}, true},
		{[]string{"/agnhost", "connect", "10.0.0.1:80", "--timeout=1s", "--protocol=tcp"}, connectOptions{}, false},
		{[]string{"/agnhost", "connect", "10.0.0.1:80"}, connectOptions{}, false},
		{[]string{"/agnhost", "porter", "--protocol=sctp", "10.0.0.1:80"}, connectOptions{}, false},
		{[]string{"/agnhost"}, connectOptions{}, false},
	} {
		got, ok := connectsSCTP(c.arguments)
		if ok != c.ok || (ok && got != c.want) {
			t.Errorf("%v: %+v, %t; want %+v, %t", c.arguments, got, ok, c.want, c.ok)
		}
	}
}

func TestSCTPPorts(t *testing.T) {
	ports, rest, err := sctpPorts([]string{"PATH=/bin", "SERVE_SCTP_PORT_9003=foo", "SERVE_SCTP_PORT_80=", "SERVE_PORT_81=bar"})
	if err != nil {
		t.Fatal(err)
	}
	if got := slices.Sorted(maps.Keys(ports)); !slices.Equal(got, []uint16{80, 9003}) || string(ports[9003]) != "foo" {
		t.Errorf("ports %v", ports)
	}
	if !slices.Equal(rest, []string{"PATH=/bin", "SERVE_PORT_81=bar"}) || !serves(rest) || serves(rest[:1]) {
		t.Errorf("rest %v", rest)
	}
	for _, e := range []string{"SERVE_SCTP_PORT_=x", "SERVE_SCTP_PORT_0=x", "SERVE_SCTP_PORT_65536=x", "SERVE_SCTP_PORT_ftp=x"} {
		if _, _, err := sctpPorts([]string{e}); err == nil {
			t.Errorf("%s is accepted", e)
		}
	}
}
