package diff

import (
	"slices"
	"strings"

	"github.com/tierwall/tierwall/policy/model"
)

// listing is the endpoints of a kind that are in, and those that are not.
type listing struct{ in, out []model.Ref }

func (l *listing) note(r model.Ref, in bool, alone model.Ref) {
	list := &l.in
	if !in {
		if list = &l.out; r == alone {
			return
		}
	}
	if k := len(*list); k == 0 || (*list)[k-1] != r {
		*list = append(*list, r)
	}
}

func (l *listing) complete() bool { return len(l.out) == 0 }

// text names everything with a word, what is nearly everything by what lacks,
// and else every namespace of its own.
func (l *listing) text(everything string, label func(model.Ref) string) string {
	if t, ok := l.brief(everything); ok {
		return t
	}
	byNamespace := map[string]*listing{}
	var namespaces []string
	at := func(r model.Ref) *listing {
		s := byNamespace[r.Namespace]
		if s == nil {
			s = &listing{}
			byNamespace[r.Namespace] = s
			namespaces = append(namespaces, r.Namespace)
		}
		return s
	}
	for _, r := range l.in {
		s := at(r)
		s.in = append(s.in, r)
	}
	for _, r := range l.out {
		s := at(r)
		s.out = append(s.out, r)
	}
	slices.Sort(namespaces)
	var whole, single []string
	for _, ns := range namespaces {
		s := byNamespace[ns]
		if len(s.in) == 0 {
			continue
		}
		if ns != "" {
			if t, ok := s.brief("all pods of " + ns); ok {
				whole = append(whole, t)
				continue
			}
		}
		for _, r := range s.in {
			single = append(single, label(r))
		}
	}
	return cut(append(whole, single...))
}

// brief applies to several endpoints of which none or few lack.
func (l *listing) brief(everything string) (string, bool) {
	switch {
	case len(l.in) > 1 && len(l.out) == 0:
		return everything, true
	case len(l.in) >= 4 && len(l.out) <= 3 && len(l.in) >= 3*len(l.out):
		var but []string
		for _, r := range l.out {
			but = append(but, r.String())
		}
		return everything + " but " + strings.Join(but, ", "), true
	}
	return "", false
}
