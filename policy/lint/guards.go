package lint

import (
	"fmt"

	"github.com/tierwall/tierwall/policy/model"
)

// settingsRef is the object that holds the settings.
var settingsRef = model.Ref{Kind: model.KindTierwall, Name: "default"}

// guardsNotEnforced reports guards that do not drop what they find.
func (l *linter) guardsNotEnforced() {
	for _, g := range []struct {
		name  model.GuardName
		finds string
	}{
		{model.GuardSourceName, "packets with a pod's address from elsewhere"},
		{model.GuardLinkName, "packets of pods with addresses that the API does not list, and their router advertisements,"},
		{model.GuardEncapsulationName, "packets of pods to the tunnels of cluster nodes"},
		{model.GuardWildcardName, `packets of pods that policies of host endpoints "*" deny`},
	} {
		f := Finding{Code: CodeGuardNotEnforced, Object: settingsRef, Field: g.name.Setting()}
		switch l.ix.Settings().Guards.Of(g.name) {
		case model.GuardCount:
			f.Severity, f.Message = Info, fmt.Sprintf("only counts: %s pass; Enforce drops them", g.finds)
		case model.GuardOff:
			f.Severity, f.Message = Warning, fmt.Sprintf("is off: %s pass, and nothing counts them", g.finds)
		default:
			continue
		}
		l.add(f)
	}
}
