// Package selector is Tierwall's label selector language: the text in a
// policy's selector fields, such as
//
//	app == 'shop' && tier in {'web', 'api'} && !has(quarantine)
//
// Parse turns a text into a Selector; And, Or, Not, Has, In and the other
// constructors build one without text. Either way a Selector is kept in one
// canonical form, so that two selectors that differ only in spelling have the
// same String and can share everything that is computed for them.
//
// On its way a selector goes through these files: lex.go and parse.go read the
// text; canonical.go brings each group of operands into canonical form as soon
// as it is complete; text.go prints it; program.go links the tree into a
// program that evaluates with a jump per term; build.go has the constructors
// and rewrite.go the changes to a finished tree; constraints.go derives what an
// index can look up.
package selector

import "strconv"

// Limits on the text that Parse accepts.
const (
	// MaxLength is the longest text, in bytes.
	MaxLength = 8192
	// MaxDepth is how deep parentheses and '!' may nest; each '(' and each '!'
	// counts one for what it applies to.
	MaxDepth = 64
)

// GlobalKey is the label by which global() is evaluated: global() matches where
// this label is absent, that is what belongs to no namespace.
const GlobalKey = "tierwall.io/namespace"

// Labels is what a selector is evaluated against.
type Labels interface {
	// Get returns the value of a label and whether it is there.
	Get(key string) (value string, ok bool)
}

// MapLabels adapts a map.
type MapLabels map[string]string

// Get implements Labels.
func (m MapLabels) Get(key string) (string, bool) { v, ok := m[key]; return v, ok }

// Selector is a parsed selector. It is immutable and safe for concurrent use.
// A nil *Selector and the zero Selector behave as all(), as the empty text does.
type Selector struct {
	// nodes is the tree in preorder, in canonical form (see canonical.go) and
	// linked (see program.go).
	nodes []node
	// entry is the index of the first leaf, where evaluation starts.
	entry int32
	// text is the canonical text.
	text string
	// global is what HasGlobal returns.
	global bool
}

var (
	all  = seal([]node{{op: opAll, size: 1}}, "")
	none = seal([]node{{op: opAll, negated: true, size: 1}}, "")
)

// tree returns the nodes of s; never empty.
func (s *Selector) tree() []node {
	if s == nil || len(s.nodes) == 0 {
		return all.nodes
	}
	return s.nodes
}

// String returns the canonical text. It identifies the selector: selectors of
// equal text match the same labels, in any process. Parse accepts it and yields
// the same text again, except where it is longer than MaxLength, nests deeper
// than MaxDepth, or holds a key or value that the grammar cannot express and
// only a constructor can bring in: such a string is printed as a quoted Go
// string between back quotes, like `"it's \"it\""`, which no other string is.
// (A key with colons prints as it is.)
func (s *Selector) String() string {
	if s == nil || len(s.nodes) == 0 {
		return all.text
	}
	return s.text
}

// Same reports whether two selectors have the same canonical form. Selectors that
// are the same match the same labels; the converse need not hold.
func (s *Selector) Same(other *Selector) bool {
	return s == other || s.String() == other.String()
}

// MatchesAll reports whether s is all(). It may be false for a selector that
// matches everything for a less obvious reason.
func (s *Selector) MatchesAll() bool {
	n := &s.tree()[0]
	return n.op == opAll && !n.negated
}

// HasGlobal reports whether global() occurs in s as it was written or built, even if
// it is gone from the canonical form: it is true of all() || global(). It is
// the one thing in which selectors of equal String may differ; it matters where
// the mere mention of global() has a meaning, as in a namespace selector.
func (s *Selector) HasGlobal() bool { return s != nil && s.global }

// Keys returns the distinct label keys whose values decide whether s matches,
// sorted. Global() is decided by GlobalKey.
func (s *Selector) Keys() []string {
	var keys []string
	for i := range s.tree() {
		if n := &s.tree()[i]; n.op > opAll {
			keys = append(keys, n.key)
		}
	}
	return sortedSet(keys)
}

// Error is a selector text that cannot be parsed.
type Error struct {
	// Pos is the position in the text, counted in bytes from 1; one past the
	// end where something is missing there.
	Pos int
	// Msg says what is wrong in one short line, without the position.
	Msg string
}

// Error returns "at POS: MSG". It never repeats more than a few bytes of the text.
func (e *Error) Error() string {
	return "at " + strconv.Itoa(e.Pos) + ": " + e.Msg
}
