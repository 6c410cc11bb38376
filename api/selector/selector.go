// Package selector is Tierwall's label selector language.
package selector

// Labels is what a selector is evaluated against.
type Labels interface {
	// Get returns the value of a label and whether it is there.
	Get(key string) (value string, ok bool)
}

// MapLabels adapts a map.
type MapLabels map[string]string

// Get implements Labels.
func (m MapLabels) Get(key string) (string, bool) { v, ok := m[key]; return v, ok }

// Selector is a parsed selector; immutable.
type Selector struct{ canonical string }

// Constraint is a condition on one label that holds wherever the selector matches.
type Constraint struct {
	Key string
	// Values are the values that the label can have, sorted; nil means that the label is present with any value.
	Values []string
}

func Parse(s string) (*Selector, error)                         { return &Selector{}, nil }
func All() *Selector                                            { return nil }
func Has(key string) *Selector                                  { return nil }
func Equal(key, value string) *Selector                         { return nil }
func NotEqual(key, value string) *Selector                      { return nil }
func In(key string, values ...string) *Selector                 { return nil }
func NotIn(key string, values ...string) *Selector              { return nil }
func Not(s *Selector) *Selector                                 { return nil }
func And(s ...*Selector) *Selector                              { return nil }
func Or(s ...*Selector) *Selector                               { return nil }
func (s *Selector) String() string                              { return s.canonical }
func (s *Selector) Evaluate(l Labels) bool                      { return false }
func (s *Selector) Constraints() []Constraint                   { return nil }
func (s *Selector) RewriteKeys(f func(string) string) *Selector { return s }
func (s *Selector) HasGlobal() bool                             { return false }
func (s *Selector) ReplaceGlobal(with *Selector) *Selector      { return s }
func (s *Selector) MatchesAll() bool                            { return false }
