package diff

import (
	"fmt"

	"github.com/tierwall/tierwall/policy/index"
	"github.com/tierwall/tierwall/policy/model"
)

// GuardChange is a setting of guards that differs between the worlds.
type GuardChange struct {
	// Setting of Tierwall/default, as in spec.wildcardGuard.
	Setting string `json:"setting"`
	Before  string `json:"before"`
	After   string `json:"after"`
	// NotCompared names the packets that the guard drops and that no Change covers;
	// empty if the changes cover all effects of the setting.
	NotCompared string `json:"notCompared,omitempty"`
}

// notCompared describes the packets of a guard that are not traffic between two known
// addresses, or that go to tunnels of nodes whose tunnels are unknown.
func notCompared(name model.GuardName, worlds ...*index.Index) string {
	switch name {
	case model.GuardSourceName:
		return "packets with a pod's address from elsewhere"
	case model.GuardLinkName:
		return "packets of pods with addresses that the API does not list, and router advertisements"
	case model.GuardEncapsulationName:
		for _, ix := range worlds {
			for _, n := range ix.Nodes() {
				if ix.Links(n.Name) == nil {
					return "packets of pods to the tunnels of nodes without a NodeReport"
				}
			}
		}
	}
	return ""
}

// guardChanges compares the guards of two worlds.
func guardChanges(a, b *index.Index) []GuardChange {
	x, y := &a.Settings().Guards, &b.Settings().Guards
	var out []GuardChange
	for _, name := range model.GuardNames {
		before, after := x.Of(name), y.Of(name)
		if before != after && name != model.GuardDiscoveryName { // that is the link guard's
			out = append(out, GuardChange{name.Setting(), before.String(), after.String(), notCompared(name, a, b)})
		}
	}
	if x.NoTunnelFailsafe != y.NoTunnelFailsafe {
		out = append(out, GuardChange{
			Setting: "spec.failsafe.tunnels",
			Before:  fmt.Sprint(!x.NoTunnelFailsafe), After: fmt.Sprint(!y.NoTunnelFailsafe),
		})
	}
	return out
}
