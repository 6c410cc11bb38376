package index

import (
	"slices"

	"github.com/tierwall/tierwall/api/selector"
	"github.com/tierwall/tierwall/policy/model"
)

// Selectors of global policies that name no namespaces exclude holders of kind
// model.OwnerNamespacedSet (policy/convert). Settings.NamespacedSetsEverywhere
// determines the kind of the namespaces' NetworkSets, so that selectors and the sets
// made of them do not depend on the setting.

// setSettings replaces the settings.
func (ix *Index) setSettings(s *model.Settings) {
	changed := ix.settings.NamespacedSetsEverywhere != s.NamespacedSetsEverywhere
	if ix.settings = s; changed {
		ix.rekindSets()
	}
}

// setKind is the kind of network sets in a namespace, or of those in none.
func (ix *Index) setKind(ns *scope) ownerKind {
	if ns == nil || ix.settings.NamespacedSetsEverywhere {
		return ownerNetworkSet
	}
	return ownerNamespacedSet
}

// rekindSets updates the kinds of network sets to the settings.
func (ix *Index) rekindSets() {
	for ref, o := range ix.networkSets {
		kind := ix.setKind(o.ls.ns)
		if o.ls.kind == kind {
			continue
		}
		ix.upsertNetworkSet(&model.NetworkSet{Ref: ref, Labels: ix.labelsOf(o.ls), Nets: o.nets(), Domains: patternsOf(o.domains())})
	}
}

// LeftOut returns the NetworkSets of namespaces that a selector matches only if
// NetworkSets count everywhere (Settings.NamespacedSetsEverywhere), sorted. The result
// does not depend on the current setting; the cost is proportional to the number of
// NetworkSets.
func (ix *Index) LeftOut(s *selector.Selector) []model.Ref {
	var out []model.Ref
	for ref, o := range ix.networkSets {
		if o.ls.ns == nil {
			continue
		}
		ls := *o.ls
		v := view{sym: &ix.sym, ls: &ls}
		ls.kind = ownerNamespacedSet
		if s.Evaluate(&v) {
			continue
		}
		if ls.kind = ownerNetworkSet; s.Evaluate(&v) {
			out = append(out, ref)
		}
	}
	slices.SortFunc(out, model.Ref.Compare)
	return out
}
