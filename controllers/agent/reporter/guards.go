package reporter

import (
	"math"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/policy/model"
)

// Guards reports what the guards of a node do and how many packets they have met.
// Guards without packets are listed with their mode. A number that the API has no
// room for is its largest one.
func Guards(modes model.Guards, packets map[model.GuardName]model.GuardPackets) map[string]v1alpha1.ReportedGuard {
	out := make(map[string]v1alpha1.ReportedGuard, len(model.GuardNames))
	for _, name := range model.GuardNames {
		n := packets[name]
		out[string(name)] = v1alpha1.ReportedGuard{
			Mode: v1alpha1.GuardMode(modes.Of(name).String()), Dropped: bounded(n.Dropped), Counted: bounded(n.Counted),
		}
	}
	return out
}

func bounded(n uint64) int64 { return int64(min(n, math.MaxInt64)) }

// sameModes reports whether all guards have the same modes, or both are not known.
// How many packets they have met is nothing that people wait for.
func sameModes(a, b *model.Guards) bool {
	if a == nil || b == nil {
		return a == b
	}
	for _, name := range model.GuardNames {
		if a.Of(name) != b.Of(name) {
			return false
		}
	}
	return true
}
