package names

import (
	"net/netip"
	"testing"
)

func TestInternal(t *testing.T) {
	for _, s := range []string{
		"0.0.0.0", "0.1.2.3", "127.0.0.1", "127.255.0.1", "169.254.169.254", "224.0.0.1", "239.1.2.3", "255.255.255.255",
		"100.100.100.200", "168.63.129.16", "192.0.0.192", "::", "::1", "fe80::1", "febf::1", "ff02::1", "fd00:ec2::254",
		"::ffff:127.0.0.1", "::ffff:169.254.169.254",
	} {
		if Internal(netip.MustParseAddr(s)) == "" {
			t.Errorf("%s is not internal", s)
		}
	}
	if Internal(netip.Addr{}) == "" {
		t.Error("no address is not internal")
	}
	// Of these, some are the cluster's own; that is for the index to say.
	for _, s := range []string{"1.0.0.1", "10.0.0.1", "128.0.0.1", "192.0.2.1", "198.18.0.1", "223.255.255.255", "2001:db8::1", "fd00::1", "fec0::1"} {
		if why := Internal(netip.MustParseAddr(s)); why != "" {
			t.Errorf("%s: %s", s, why)
		}
	}
}
