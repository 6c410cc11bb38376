package iptables

import (
	"context"
	"strings"
	"testing"

	"github.com/tierwall/tierwall/dataplane"
	"github.com/tierwall/tierwall/test/worlds"
)

// others is what kube-proxy, a CNI, Docker and an operator may have on a node.
const others = `*filter
:INPUT ACCEPT [0:0]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
:DOCKER - [0:0]
:DOCKER-USER - [0:0]
:KUBE-EXTERNAL-SERVICES - [0:0]
:KUBE-FIREWALL - [0:0]
:KUBE-FORWARD - [0:0]
:CNI-FORWARD - [0:0]
-A INPUT -m conntrack --ctstate NEW -m comment --comment "kubernetes externally-visible service portals" -j KUBE-EXTERNAL-SERVICES
-A INPUT -j KUBE-FIREWALL
-A INPUT -p tcp -m tcp --dport 23 -j DROP
-A FORWARD -m comment --comment "CNI firewall plugin rules" -j CNI-FORWARD
-A FORWARD -m comment --comment "kubernetes forwarding rules" -j KUBE-FORWARD
-A FORWARD -j DOCKER-USER
-A FORWARD -o docker0 -j DOCKER
-A OUTPUT -j KUBE-FIREWALL
-A DOCKER-USER -j RETURN
-A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP
-A KUBE-FORWARD -m mark --mark 0x4000/0x4000 -j ACCEPT
COMMIT
*mangle
:PREROUTING ACCEPT [0:0]
:KUBE-IPTABLES-HINT - [0:0]
-A PREROUTING -p tcp -m tcp --dport 7 -j MARK --set-xmark 0x7/0x7
COMMIT
*raw
:PREROUTING ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
-A PREROUTING -p udp -m udp --dport 4789 -j CT --notrack
-A OUTPUT -p udp -m udp --dport 4789 -j CT --notrack
COMMIT
*nat
:PREROUTING ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:KUBE-SERVICES - [0:0]
:TWO - [0:0]
-A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A POSTROUTING -j MASQUERADE
COMMIT
`

// TestOthers holds all that the backend does on a node full of others' rules, on
// both families, to leaving each of them where it is.
func TestOthers(t *testing.T) {
	ctx := context.Background()
	inEach(t, func(t *testing.T, v Variant) {
		c, _ := installed(v)
		k := commandKernel{commands: c}
		for _, f := range []dataplane.Family{dataplane.IPv4, dataplane.IPv6} {
			if err := k.restore(ctx, f, others); err != nil {
				t.Fatal(err)
			}
		}
		do(t, v, "ipset create mine hash:net; ipset add mine 192.0.2.0/24; ipset create two hash:ip")
		before := theirs(t, v)
		if strings.Count(before, "-A ") != 32 || strings.Contains(before, "TW-") {
			t.Fatalf("there is %s", before)
		}
		check := func(what string) {
			t.Helper()
			if after := theirs(t, v); after != before {
				t.Fatalf("%s: of others there was\n%s\nthere is\n%s", what, before, after)
			}
		}
		f := worlds.New(5, worlds.Options{})
		_, s := f.Step(60)
		b := newBackend(t, v)
		if err := b.Sync(ctx, s); err != nil {
			t.Fatal(err)
		}
		check("Sync")
		for range 10 {
			ch, s := f.Step(3)
			if err := b.Apply(ctx, ch, s); err != nil {
				t.Fatal(err)
			}
			check("Apply")
		}
		s = stateOf(goldens["host-early"]())
		if err := b.Sync(ctx, s); err != nil {
			t.Fatal(err)
		}
		check("another State")
		// Somebody takes our place, and flushes what is ours.
		do(t, v, "IPTABLES -D FORWARD -j TW-FORWARD; IPTABLES -A FORWARD -j TW-FORWARD; IPTABLES -t raw -D PREROUTING 1; IP6TABLES -F TW-FORWARD")
		if err := b.Sync(ctx, s); err != nil {
			t.Fatal(err)
		}
		check("repair")
		if err := b.same(s); err != nil {
			t.Error(err)
		}
		for _, chain := range []string{"FORWARD", "INPUT", "OUTPUT", "PREROUTING -t raw", "OUTPUT -t raw", "PREROUTING -t mangle"} {
			if first := strings.Split(do(t, v, "IPTABLES -S "+chain), "\n")[1]; !strings.Contains(first, "-j TW-") {
				t.Errorf("first in %s is %q", chain, first)
			}
		}
		if err := b.Cleanup(ctx); err != nil {
			t.Fatal(err)
		}
		check("Cleanup")
	})
}

// theirs is all rules and sets but ours, as they are listed.
func theirs(t *testing.T, v Variant) string {
	var out []string
	c, _ := installed(v)
	list := do(t, v, c.name(dataplane.IPv4, "-save")+"; "+c.name(dataplane.IPv6, "-save")+"; ipset save")
	for line := range strings.Lines(list) {
		if strings.Contains(line, "TW-") || strings.Contains(line, " tw-") || strings.HasPrefix(line, "#") {
			continue
		}
		line, _, _ = strings.Cut(strings.TrimSpace(line), " [") // less counters of chains
		if strings.HasPrefix(line, "create ") {
			line, _, _ = strings.Cut(line, " initval")
		}
		out = append(out, line)
	}
	return strings.Join(out, "\n")
}
