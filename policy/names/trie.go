package names

import (
	"cmp"
	"slices"
	"strings"
)

// trie leads from a name to the patterns that match it, label by label from the last.
type trie struct{ root *node }

// node is the state of a match after some labels.
type node struct {
	next map[string]*node
	// star is the state after a *; in it any label leads to itself.
	star    *node
	isStar  bool
	pattern *pattern // that ends here; nil: none
}

func newTrie() *trie { return &trie{root: &node{}} }

func (t *trie) add(p *pattern) {
	n := t.root
	for _, label := range reversed(p.text) {
		n = n.child(label, true)
	}
	n.pattern = p
}

func (n *node) child(label string, create bool) *node {
	if label == star {
		if n.star == nil && create {
			n.star = &node{isStar: true}
		}
		return n.star
	}
	c := n.next[label]
	if c == nil && create {
		if n.next == nil {
			n.next = map[string]*node{}
		}
		c = &node{}
		n.next[label] = c
	}
	return c
}

// remove takes a pattern out, with the nodes that only led to it.
func (t *trie) remove(p Pattern) {
	labels := reversed(p.text)
	path := []*node{t.root}
	for _, label := range labels {
		n := path[len(path)-1].child(label, false)
		if n == nil {
			return
		}
		path = append(path, n)
	}
	path[len(labels)].pattern = nil
	for i := len(labels); i > 0; i-- {
		if n := path[i]; n.pattern != nil || n.star != nil || len(n.next) > 0 {
			return
		}
		if labels[i-1] == star {
			path[i-1].star = nil
		} else {
			delete(path[i-1].next, labels[i-1])
		}
	}
}

// match returns the patterns that match a name, sorted by their text. What it does is
// bounded by the labels of the name times the nodes of the trie.
func (t *trie) match(name string) []*pattern {
	at, then := []*node{t.root}, []*node(nil)
	for end := len(name); end >= 0 && len(at) > 0; {
		begin := strings.LastIndexByte(name[:end], '.') + 1
		label := name[begin:end]
		end = begin - 1
		then = then[:0]
		for _, n := range at {
			if c := n.next[label]; c != nil {
				then = reach(then, c)
			}
			if n.star != nil {
				then = reach(then, n.star)
			}
			if n.isStar {
				then = reach(then, n)
			}
		}
		at, then = then, at
	}
	var out []*pattern
	for _, n := range at {
		if n.pattern != nil {
			out = append(out, n.pattern)
		}
	}
	slices.SortFunc(out, func(a, b *pattern) int { return cmp.Compare(a.text, b.text) })
	return out
}

// reach adds a state, once. Only a * can be reached in two ways.
func reach(to []*node, n *node) []*node {
	if n.isStar && slices.Contains(to, n) {
		return to
	}
	return append(to, n)
}

// reversed returns the labels of a name, the last one first.
func reversed(name string) []string {
	labels := strings.Split(name, ".")
	slices.Reverse(labels)
	return labels
}
