package lint

import (
	"fmt"
	"slices"
	"strings"

	"github.com/tierwall/tierwall/api/selector"
	"github.com/tierwall/tierwall/policy/model"
	"github.com/tierwall/tierwall/policy/nearest"
)

// impossible reports policies whose selector contradicts itself, so that they select
// nothing whatever endpoints there are.
func (l *linter) impossible() {
	for _, p := range l.ix.Policies() {
		if p.Selector.MatchesNothing() {
			l.add(Finding{Severity: Warning, Code: CodeSelectsNothing, Object: p.Ref, Message: "selects no endpoint, whatever endpoints there are: the conditions of its selectors contradict each other"})
		}
	}
}

// subjects reports policies that select no endpoint.
func (l *linter) subjects() {
	for _, p := range l.ix.Policies() {
		if len(l.selected(p.Ref)) == 0 && !p.Selector.MatchesNothing() {
			l.add(Finding{Severity: Warning, Code: CodeSelectsNothing, Object: p.Ref, Message: "selects no endpoint" + l.unmet(p.Selector)})
		}
	}
}

// unmet says which condition of a selector no endpoint meets, and what was probably
// meant; it is empty if no single one of them is to blame.
func (l *linter) unmet(s *selector.Selector) string {
	for _, c := range s.Constraints() {
		key, have := c.Key, l.values(c.Key)
		switch {
		case strings.HasPrefix(key, ":") || strings.HasPrefix(key, model.PrefixServiceAccount):
			continue // of the core, or of objects that are not at hand here
		case strings.HasPrefix(key, model.PrefixNamespace):
			continue
		case len(have) == 0:
			return fmt.Sprintf(": none has the label %s%s", key, nearest.Clause(key, l.keys()))
		case c.Values == nil || slices.ContainsFunc(c.Values, func(v string) bool { return slices.Contains(have, v) }):
			continue
		}
		what := "the label " + key
		switch key {
		case model.LabelNamespace:
			what = "a namespace called"
		case model.LabelServiceAccount:
			what = "a service account called"
		}
		clause := ""
		if len(c.Values) == 1 {
			clause = nearest.Clause(c.Values[0], have)
		}
		return fmt.Sprintf(": none has %s %s%s", what, quotedList(c.Values), clause)
	}
	return ""
}

// quotedList is 'a', 'b' or 'c', as selectors spell values.
func quotedList(values []string) string {
	quoted := make([]string, 0, maxNamed)
	for i, v := range values {
		if i == maxNamed {
			return strings.Join(quoted, ", ") + " …"
		}
		quoted = append(quoted, "'"+v+"'")
	}
	if n := len(quoted); n > 1 {
		return strings.Join(quoted[:n-1], ", ") + " or " + quoted[n-1]
	}
	return strings.Join(quoted, "")
}

// values are those that endpoints have of a label, sorted.
func (l *linter) values(key string) []string { return l.labels()[key] }

// keys are the labels that endpoints have.
func (l *linter) keys() []string {
	var out []string
	for k := range l.labels() {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

// labels are the labels of all endpoints with their values.
func (l *linter) labels() map[string][]string {
	if l.endpointLabels != nil {
		return l.endpointLabels
	}
	sets := map[string]map[string]bool{}
	add := func(key, value string) {
		if sets[key] == nil {
			sets[key] = map[string]bool{}
		}
		sets[key][value] = true
	}
	for _, r := range l.ix.Endpoints() {
		e, ok := l.ix.Endpoint(r)
		if !ok {
			continue
		}
		for k, v := range e.Labels {
			add(k, v)
		}
		if r.Kind == model.KindPod {
			add(model.LabelNamespace, r.Namespace)
			add(model.LabelName, r.Name)
			add(model.LabelOrchestrator, "k8s")
			add(model.LabelServiceAccount, e.ServiceAccount)
		}
	}
	l.endpointLabels = map[string][]string{}
	for k, vs := range sets {
		for v := range vs {
			l.endpointLabels[k] = append(l.endpointLabels[k], v)
		}
		slices.Sort(l.endpointLabels[k])
	}
	return l.endpointLabels
}
