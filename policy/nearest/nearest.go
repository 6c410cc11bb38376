// Package nearest suggests known words for misspelt fields, kinds and names in error
// messages.
package nearest

import (
	"slices"
	"strings"

	"github.com/tierwall/tierwall/policy/model"
)

// Clause is `; did you mean "WORD"?` with the known word nearest to an unknown
// one, or "" if none is near.
func Clause(word string, known []string) string {
	if n := closest(word, known); n != "" {
		return `; did you mean "` + n + `"?`
	}
	return ""
}

// Ref returns the known object that was probably meant: one of the same kind and name
// in another namespace, or one of a similar name in the same namespace. It is false if
// there is none.
func Ref(r model.Ref, known []model.Ref) (model.Ref, bool) {
	var names []string
	for _, k := range known {
		switch {
		case k.Kind != r.Kind:
		case k.Name == r.Name:
			return k, true
		case k.Namespace == r.Namespace:
			names = append(names, k.Name)
		}
	}
	name := closest(r.Name, names)
	return model.Ref{Kind: r.Kind, Namespace: r.Namespace, Name: name}, name != ""
}

// closest returns the known word that a typo would turn into word: one that differs in
// case only, or within a few edits, depending on its length. Ties are broken by name.
func closest(word string, known []string) string {
	// Nobody types such a word by mistake, and computing the distance is quadratic.
	if len(word) > 100 {
		return ""
	}
	sorted := slices.Clone(known)
	slices.Sort(sorted)
	best, bestDistance := "", min(2+len(word)/6, (len(word)+1)/2)+1
	lower := strings.ToLower(word)
	for _, k := range sorted {
		d := Distance(lower, strings.ToLower(k))
		// A plural for a singular, and a prefix for the whole word, are the most common
		// mistakes.
		if d > 2 && len(word) > 3 && (strings.HasPrefix(strings.ToLower(k), lower) || strings.HasPrefix(lower, strings.ToLower(k))) {
			d = 2
		}
		if d < bestDistance {
			best, bestDistance = k, d
		}
	}
	return best
}

// Distance counts the insertions, deletions, substitutions and transpositions that turn
// a into b.
func Distance(a, b string) int {
	prev2, prev, cur := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		cur[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			cur[j] = min(prev[j]+1, cur[j-1]+1, prev[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				cur[j] = min(cur[j], prev2[j-2]+1)
			}
		}
		prev2, prev, cur = prev, cur, prev2
	}
	return prev[len(b)]
}
