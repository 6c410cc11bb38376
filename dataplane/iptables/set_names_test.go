package iptables

import (
	"testing"

	"github.com/tierwall/tierwall/dataplane"
)

// TestSwitchIsTakenOver: the switch of waiting answers is a set of ports, of which the kernel
// lists no family. A new one in its place would be empty, and IPv6 answers would not wait until
// it is renewed.
func TestSwitchIsTakenOver(t *testing.T) {
	for _, f := range []dataplane.Family{dataplane.IPv4, dataplane.IPv6} {
		want := &ipset{key: "6hold", kind: typeHold, family: f}
		name := versionName(want.key, 0)
		listed := &ipset{name: name, kind: typeHold, family: dataplane.IPv4}
		if got := nameAmong(map[string]*ipset{name: listed})(want); got != name {
			t.Errorf("%s: the switch that stands is %s, and becomes %s", f, name, got)
		}
	}
	flows := &ipset{key: "6bar", kind: typeFlows, family: dataplane.IPv6}
	name := versionName(flows.key, 0)
	if got := nameAmong(map[string]*ipset{name: {name: name, kind: typeFlows, family: dataplane.IPv4}})(flows); got == name {
		t.Error("a set of addresses of the other family is taken over")
	}
}
