package main

import (
	"strings"
	"testing"
)

func TestSuites(t *testing.T) {
	for dir, want := range map[string]string{
		"policy/index":           "policy/index test/scenarios test/oracle",
		"dataplane/base":         "dataplane/base dataplane/nftables dataplane/iptables test/scenarios test/oracle",
		"dataplane/nftables":     "dataplane/nftables dataplane/iptables test/scenarios test/oracle",
		"controllers/agent/kept": "controllers/agent/kept controllers/agent test/scenarios test/oracle",
	} {
		var got []string
		for _, s := range suites {
			if s, ok := s.on(dir); ok {
				got = append(got, s.pkg)
			}
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: %s, want %s", dir, got, want)
		}
	}
}
