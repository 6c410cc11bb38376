package nftables

import (
	"github.com/tierwall/tierwall/dataplane"
)

// Render returns the whole table as nft reads it (nft -f), the same text for
// the same State: what Sync would make on a kernel without it.
func Render(s *dataplane.State, o Options) string {
	w := newWorld(s, o.complete())
	text := w.Ruleset.String()
	if w.bridge != nil {
		text += "\n" + w.bridge.String()
	}
	return text
}
