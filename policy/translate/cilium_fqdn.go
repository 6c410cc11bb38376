package translate

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/tierwall/tierwall/policy/names"
)

// ciliumFQDNs translates DNS names. In Cilium, * stands for characters within a label,
// and ** as the first label for one or more labels, which is what * is here. The
// addresses of a name are never pods and nodes there.
func (t *translation) ciliumFQDNs(at string, in []ciliumFQDN, sc *ciliumScope) ([]ciliumSide, error) {
	if !sc.allow {
		t.lose(at, "names cannot be denied; all addresses outside of the cluster are denied")
		return []ciliumSide{sc.outside()}, nil
	}
	var domains []string
	for i, f := range in {
		field, text := fmt.Sprintf("%s[%d].matchName", at, i), f.MatchName
		switch {
		case f.MatchName != "" && f.MatchPattern != "":
			return nil, fmt.Errorf("%s[%d]: matchName and matchPattern cannot stand in one entry", at, i)
		case f.MatchPattern != "":
			field = fmt.Sprintf("%s[%d].matchPattern", at, i)
			if rest, ok := strings.CutPrefix(f.MatchPattern, "**."); ok && !strings.Contains(rest, "*") {
				text = "*." + rest
				t.explain(field, "written as %s; Cilium before 1.18 takes ** for one label only", text)
				break
			}
			if text = f.MatchPattern; strings.Contains(text, "*") {
				t.lose(field, "has no equivalent: * stands for characters within a label, and here for one or more whole labels; it is not allowed")
				continue
			}
		case text == "":
			return nil, fmt.Errorf("%s[%d]: needs matchName or matchPattern", at, i)
		case strings.Contains(text, "*"):
			t.lose(field, "is no DNS name: matchName has no wildcards; it is not allowed")
			continue
		}
		p, err := names.ParsePattern(text)
		switch {
		case err != nil:
			t.lose(field, "is no DNS name: %v; it is not allowed", errors.Unwrap(err))
		case !slices.Contains(domains, p.String()):
			domains = append(domains, p.String())
		}
	}
	if domains == nil {
		return nil, nil
	}
	side := sc.outside()
	side.entity.Domains = domains
	return []ciliumSide{side}, nil
}
