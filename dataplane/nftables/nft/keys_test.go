package nft

import (
	"net/netip"
	"testing"
	"time"
)

func TestRangeText(t *testing.T) {
	for want, ends := range map[string][2]string{
		"192.0.2.1":               {"192.0.2.1", "192.0.2.1"},
		"192.0.2.0/24":            {"192.0.2.0", "192.0.2.255"},
		"192.0.2.0/31":            {"192.0.2.0", "192.0.2.1"},
		"192.0.2.1-192.0.2.2":     {"192.0.2.1", "192.0.2.2"},
		"192.0.2.0-192.0.3.254":   {"192.0.2.0", "192.0.3.254"},
		"0.0.0.0/1":               {"0.0.0.0", "127.255.255.255"},
		"128.0.0.0/1":             {"128.0.0.0", "255.255.255.255"},
		"0.0.0.0/0":               {"0.0.0.0", "255.255.255.255"},
		"2001:db8::/32":           {"2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff"},
		"2001:db8::-2001:db8:1::": {"2001:db8::", "2001:db8:1::"},
		"fff0::/12":               {"fff0::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"},
	} {
		r := Range{netip.MustParseAddr(ends[0]), netip.MustParseAddr(ends[1])}
		if got := r.String(); got != want {
			t.Errorf("%v: %s, want %s", ends, got, want)
		}
	}
}

func TestHalves(t *testing.T) {
	for _, c := range []struct{ first, last, low, high string }{
		{"0.0.0.0", "255.255.255.255", "0.0.0.0/1", "128.0.0.0/1"},
		{"::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "::/1", "8000::/1"},
		{"0.0.0.0", "255.255.255.254", "0.0.0.0-255.255.255.254", ""},
		{"0.0.0.1", "255.255.255.255", "0.0.0.1-255.255.255.255", ""},
	} {
		got := Range{netip.MustParseAddr(c.first), netip.MustParseAddr(c.last)}.Halves()
		if got[0].String() != c.low || len(got) == 2 && got[1].String() != c.high || (len(got) == 2) != (c.high != "") {
			t.Errorf("%s-%s: %v", c.first, c.last, got)
		}
	}
}

func TestDurationText(t *testing.T) {
	for want, d := range map[string]time.Duration{"10m": 10 * time.Minute, "1h": time.Hour, "1m30s": 90 * time.Second, "5s": 5 * time.Second, "1h0m1s": time.Hour + time.Second} {
		if got := DurationText(d); got != want {
			t.Errorf("%v: %s, want %s", d, got, want)
		}
	}
}

// Types of keys are read as they are written.
func TestTypes(t *testing.T) {
	for _, types := range []string{
		"ipv4_addr", "ipv6_addr", "inet_service", TypeClass, TypeLink, TypeLink + " . ipv4_addr", TypeLink + " . ipv6_addr",
		"ipv4_addr . ipv4_addr", "ipv6_addr . inet_proto", "ipv4_addr . inet_proto . inet_service",
		"ipv6_addr . inet_proto . inet_service . ipv6_addr . inet_service",
	} {
		number, size := keyType(types)
		if got := typesOf(number, size); got != types {
			t.Errorf("%s: read as %s", types, got)
		}
		if got := typesOf(number, size+4); got != unknownType {
			t.Errorf("%s with other keys: read as %s", types, got)
		}
	}
	if got := typesOf(0, 4); got != unknownType {
		t.Errorf("no type: read as %s", got)
	}
	if got := typesOf(63, 4); got != unknownType {
		t.Errorf("a type of others: read as %s", got)
	}
}
