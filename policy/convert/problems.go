package convert

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/tierwall/tierwall/policy/model"
)

// maxQuoted is how many characters of a found value a message repeats.
const maxQuoted = 60

// Bounds of the API; an API server refuses objects beyond them.
const (
	maxRules       = 1024
	maxNets        = 256
	maxPorts       = 50
	maxClusterList = 25 // of every list in a ClusterNetworkPolicy
	maxRuleName    = 100
)

// maxNamed is how many combinations with named ports a policy may have in all:
// each of a native rule's peers with each name, and each name of a rule's source
// ports with each of its destination ports. A name is looked up for each pod that
// a peer selects, so every combination is a set of its own.
const maxNamed = 1 << 16

// report collects the problems of one object.
type report struct {
	ref  model.Ref
	list []model.Problem
	// errors counts the problems that are not warnings: a part is invalid if
	// the count grew while it was converted.
	errors int
	// named counts combinations with named ports; see maxNamed.
	named int
	// untracked: the policy governs packets before connection tracking or translation.
	untracked bool
}

// combine counts combinations with named ports, and reports an error if the policy has
// too many.
func (r *report) combine(p *field.Path, a, b int) {
	if r.named += a * b; a*b > 0 && r.named > maxNamed {
		r.errorf(p, "too many: %d combinations with named ports here, the policy must have at most %d", a*b, maxNamed)
	}
}

// namedPorts counts the names among ports.
func namedPorts(ports []model.Port) (n int) {
	for i := range ports {
		if ports[i].Name != "" {
			n++
		}
	}
	return n
}

// errorf reports what is wrong with a field. A nil path is the object as a whole.
func (r *report) errorf(p *field.Path, format string, args ...any) {
	r.errors++
	r.add(p, false, format, args)
}

// warnf reports what is odd about a field and leaves its meaning alone.
func (r *report) warnf(p *field.Path, format string, args ...any) {
	r.add(p, true, format, args)
}

func (r *report) add(p *field.Path, warning bool, format string, args []any) {
	path := ""
	if p != nil {
		path = p.String()
	}
	r.list = append(r.list, model.Problem{
		Object: r.ref, Field: path, Message: fmt.Sprintf(format, args...), Warning: warning,
	})
}

// atMost warns if a list is longer than the API allows.
func (r *report) atMost(parent *field.Path, name string, length, limit int) {
	if length > limit {
		r.warnf(parent.Child(name), "has %d entries; an API server accepts at most %d", length, limit)
	}
}

// quote is a found value for a message, shortened if it is long.
func quote(s string) string {
	if len(s) <= maxQuoted {
		return strconv.Quote(s)
	}
	cut := maxQuoted
	for cut > 0 && !utf8.RuneStart(s[cut]) {
		cut--
	}
	return fmt.Sprintf("%s… (%d bytes)", strconv.Quote(s[:cut]), len(s))
}

// pathKey is a label's key for a field path: as it is if it is a key at all.
func pathKey(k string) string {
	if isLabelKey(k) {
		return k
	}
	return quote(k)
}

// list is "a, b or c", of at least two.
func list[T ~string](items ...T) string {
	s := make([]string, len(items))
	for i, it := range items {
		s[i] = string(it)
	}
	return strings.Join(s[:len(s)-1], ", ") + " or " + s[len(s)-1]
}
