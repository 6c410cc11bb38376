package scenarios

import (
	"testing"

	"github.com/tierwall/tierwall/controllers/manifests"
	"github.com/tierwall/tierwall/dataplane/iptables"
	"github.com/tierwall/tierwall/lab/fleet"
)

// TestPacketsIPTables is TestPackets with the iptables backend, in both of its variants.
func TestPacketsIPTables(t *testing.T) {
	needLab(t)
	tests, err := manifests.FindTests(folders, manifests.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range []iptables.Variant{iptables.Legacy, iptables.NFT} {
		t.Run(v.String(), func(t *testing.T) {
			runAll(t, tests, func() (fleet.Kernel, error) { return iptables.New(iptables.Options{Variant: v}) })
		})
	}
}
