package selector

import "slices"

// Constructors take any string as key or value, also such as the grammar cannot
// express; keys with ':' are made in no other way. Operands that are nil count
// as all().

// All returns all(), which matches everything.
func All() *Selector { return all }

// None returns !all(), which matches nothing.
func None() *Selector { return none }

// Global returns global(), which matches what belongs to no namespace.
func Global() *Selector { return one(opGlobal, false, GlobalKey) }

// Has returns has(key): the label is there, with any value.
func Has(key string) *Selector { return one(opHas, false, key) }

// Equal returns key == 'value'.
func Equal(key, value string) *Selector { return one(opIn, false, key, value) }

// NotEqual returns key != 'value', which also matches where the label is absent.
func NotEqual(key, value string) *Selector { return one(opIn, true, key, value) }

// In returns key in {values…}; without values it is None.
func In(key string, values ...string) *Selector {
	return one(opIn, false, key, sortedSet(slices.Clone(values))...)
}

// NotIn returns key not in {values…}, which also matches where the label is
// absent; without values it is All.
func NotIn(key string, values ...string) *Selector {
	return one(opIn, true, key, sortedSet(slices.Clone(values))...)
}

// Not returns the selector that matches exactly where s does not.
func Not(s *Selector) *Selector { return s.rebuild(true, nil) }

// And returns the selector that matches where all of s do; all() if there are none.
func And(s ...*Selector) *Selector { return combine(opAnd, s) }

// Or returns the selector that matches where at least one of s does; None if
// there are none.
func Or(s ...*Selector) *Selector { return combine(opOr, s) }

func one(o op, negated bool, key string, values ...string) *Selector {
	b := newBuilder()
	defer b.release()
	b.leaf(o, negated, key, values)
	return b.build("")
}

func combine(o op, operands []*Selector) *Selector {
	if len(operands) == 1 && operands[0] != nil {
		return operands[0]
	}
	b := newBuilder()
	defer b.release()
	for _, s := range operands {
		b.nodes = append(b.nodes, s.tree()...)
		b.global = b.global || s.HasGlobal()
	}
	b.group(o, 0)
	return b.build("")
}
