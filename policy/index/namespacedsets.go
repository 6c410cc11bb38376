package index

import (
	"slices"

	"github.com/tierwall/tierwall/api/selector"
	"github.com/tierwall/tierwall/policy/model"
)

// Selectors of global policies that do not say of which namespaces leave out the
// owners of kind model.OwnerNamespacedSet (policy/convert). Which kind the NetworkSets
// of namespaces are is up to Settings.NamespacedSetsEverywhere, so that selectors and
// the sets made of them do not depend on the setting.

// setSettings takes new settings.
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

// rekindSets makes the kinds of network sets fit the settings.
func (ix *Index) rekindSets() {
	for ref, o := range ix.networkSets {
		kind := ix.setKind(o.ls.ns)
		if o.ls.kind == kind {
			continue
		}
		ix.upsertNetworkSet(&model.NetworkSet{Ref: ref, Labels: ix.labelsOf(o.ls), Nets: o.nets(), Domains: patternsOf(o.domains())})
	}
}

// LeftOut returns the NetworkSets of namespaces that a selector matches only where
// NetworkSets count everywhere (Settings.NamespacedSetsEverywhere), sorted. It does
// not depend on whether they do now, and takes time in proportion to their number.
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
