package iptables

import (
	"context"
	"os/exec"
	"strings"
	"testing"

	"github.com/tierwall/tierwall/dataplane"
)

// do runs commands in the thread's network namespace; IPTABLES and IP6TABLES
// stand for those of the variant.
func do(t *testing.T, v Variant, script string) string {
	t.Helper()
	c, _ := installed(v)
	script = strings.NewReplacer("IPTABLES", c.name(dataplane.IPv4, ""), "IP6TABLES", c.name(dataplane.IPv6, "")).Replace(script)
	out, err := exec.Command("sh", "-ec", script).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", script, err, out)
	}
	return string(out)
}

// sabotages are what others may do to the rules of golden "host-early".
var sabotages = map[string]string{
	"a rule before ours":       "IPTABLES -I FORWARD 1 -s 203.0.113.9 -j ACCEPT",
	"a jump removed":           "IPTABLES -D INPUT 1",
	"a jump removed, IPv6":     "IP6TABLES -D OUTPUT 1",
	"a jump twice":             "IPTABLES -A FORWARD -j TW-FORWARD",
	"a jump from elsewhere":    "IPTABLES -t mangle -A POSTROUTING -j TW-PREROUTING || IPTABLES -t mangle -A FORWARD -j TW-PREROUTING",
	"hooks flushed":            "IPTABLES -F FORWARD; IPTABLES -t raw -F PREROUTING",
	"a chain flushed":          "IPTABLES -F TW-forward; IP6TABLES -F TW-egress",
	"all flushed":              "IPTABLES -F; IPTABLES -X; IP6TABLES -F; IP6TABLES -X",
	"a rule added to ours":     "IPTABLES -I TW-forward 1 -j RETURN",
	"a rule removed from ours": "IPTABLES -D TW-forward 2",
	"a rule replaced":          "IPTABLES -R TW-FORWARD 1 -m comment --comment something -j MARK --set-mark 0",
	"a chain of our name":      "IPTABLES -N TW-evil; IPTABLES -A TW-evil -j ACCEPT",
	"a set of our name":        "ipset create tw-evil-0 hash:ip; ipset create tw-evil hash:ip",
	"members removed":          "ipset flush $(ipset list -n | grep '^tw-4pods-[0-9]')",
	"a member added":           "ipset add $(ipset list -n | grep '^tw-4hosts-c-[0-9]') 203.0.113.7",
	"a member added, IPv6":     "ipset add $(ipset list -n | grep '^tw-6podcidrs-c-[0-9]') 2001:db8:7::/64",
}

// TestRepair changes what is ours behind the backend's back, and holds Sync to
// putting all of it right and leaving alone what is others'.
func TestRepair(t *testing.T) {
	ctx := context.Background()
	inEach(t, func(t *testing.T, v Variant) {
		const others = "IPTABLES -t nat -S MINE; IPTABLES -S MINE; IP6TABLES -S MINE; ipset list mine"
		do(t, v, "ipset create mine hash:ip; ipset add mine 192.0.2.77; IPTABLES -t nat -N MINE; IPTABLES -N MINE; IP6TABLES -N MINE")
		do(t, v, "IPTABLES -A MINE -m set --match-set mine src -j ACCEPT; IP6TABLES -A MINE -j RETURN; IPTABLES -t nat -A MINE -p tcp -j RETURN")
		before := do(t, v, others)
		s := stateOf(goldens["host-early"]())
		b := newBackend(t, v)
		if err := b.Sync(ctx, s); err != nil {
			t.Fatal(err)
		}
		for _, name := range sortedKeys(sabotages) {
			do(t, v, sabotages[name])
			if b.same(s) == nil {
				t.Errorf("%s: not noticed", name)
			}
			if err := b.Sync(ctx, s); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if err := b.same(s); err != nil {
				t.Errorf("%s: not repaired: %v", name, err)
			}
			if first := strings.Split(do(t, v, "IPTABLES -S FORWARD"), "\n")[1]; !strings.Contains(first, "TW-FORWARD") {
				t.Errorf("%s: first in FORWARD is %q", name, first)
			}
			if strings.HasPrefix(name, "all flushed") { // others' filter rules are gone, too
				do(t, v, "IPTABLES -N MINE; IP6TABLES -N MINE; IPTABLES -A MINE -m set --match-set mine src -j ACCEPT; IP6TABLES -A MINE -j RETURN")
			}
		}
		if after := do(t, v, others); after != before {
			t.Errorf("of others there was\n%s\nthere is\n%s", before, after)
		}
		if err := b.Cleanup(ctx); err != nil {
			t.Fatal(err)
		}
		if after := do(t, v, others); after != before {
			t.Errorf("after Cleanup: of others there was\n%s\nthere is\n%s", before, after)
		}
		if left := do(t, v, "IPTABLES -S; IP6TABLES -S; IPTABLES -t raw -S; IPTABLES -t mangle -S; ipset list -n"); strings.Contains(left, "TW-") || strings.Contains(left, "tw-") {
			t.Errorf("after Cleanup: %s", left)
		}
		if err := b.Cleanup(ctx); err != nil {
			t.Errorf("a second Cleanup: %v", err)
		}
	})
}

// TestForeignRulesStay holds repair to putting our jump before a foreign rule, not in its place.
func TestForeignRulesStay(t *testing.T) {
	ctx := context.Background()
	inEach(t, func(t *testing.T, v Variant) {
		do(t, v, "IPTABLES -A FORWARD -s 192.0.2.8 -j DROP")
		s := stateOf(goldens["one-node"]())
		b := newBackend(t, v)
		if err := b.Sync(ctx, s); err != nil {
			t.Fatal(err)
		}
		do(t, v, "IPTABLES -I FORWARD 1 -s 192.0.2.9 -j ACCEPT")
		if err := b.Sync(ctx, s); err != nil {
			t.Fatal(err)
		}
		rules := strings.Split(strings.TrimSpace(do(t, v, "IPTABLES -S FORWARD")), "\n")[1:]
		if len(rules) != 3 || !strings.HasSuffix(rules[0], "-j TW-FORWARD") || rules[1] != "-A FORWARD -s 192.0.2.9/32 -j ACCEPT" || rules[2] != "-A FORWARD -s 192.0.2.8/32 -j DROP" {
			t.Errorf("FORWARD is %q", rules)
		}
	})
}
