package oracle

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/policy/model"
	"github.com/tierwall/tierwall/policy/names"
)

// readName says what is meant by a name in a rule: "lower case, no trailing dot; * stands
// for one or more whole labels, anywhere but last" (names). It knows no other scripts.
func readName(text string) ([]string, error) {
	labels := strings.Split(strings.ToLower(strings.TrimSuffix(text, ".")), ".")
	for i, l := range labels {
		switch {
		case l == "*" && i < len(labels)-1:
		case l == "" || strings.Trim(l, "abcdefghijklmnopqrstuvwxyz0123456789-_") != "":
			return nil, fmt.Errorf("%q is no name", text)
		}
	}
	return labels, nil
}

func readNames(texts []string, limit int) ([][]string, error) {
	if len(texts) > limit {
		return nil, fmt.Errorf("%d names", len(texts))
	}
	var out [][]string
	for _, t := range texts {
		n, err := readName(t)
		if err != nil {
			return nil, err
		}
		out = append(out, n)
	}
	return out, nil
}

// nameMatches tries every number of labels for each *.
func nameMatches(pattern, name []string) bool {
	if len(pattern) == 0 || len(name) == 0 {
		return len(pattern) == len(name)
	}
	if pattern[0] != "*" {
		return pattern[0] == name[0] && nameMatches(pattern[1:], name[1:])
	}
	for n := 1; n <= len(name); n++ {
		if nameMatches(pattern[1:], name[n:]) {
			return true
		}
	}
	return false
}

// brought says whether a DNS answer has brought an address for one of some names: "any
// name in the chain of one answer counts: the question, and every CNAME on the way".
func brought(answers []v1alpha1.DNSAnswer, patterns [][]string, a netip.Addr) bool {
	for _, x := range answers {
		if !slices.Contains(parseAddrs(x.Addresses), a) {
			continue
		}
		for _, name := range append([]string{x.Name}, x.Chain...) {
			for _, p := range patterns {
				if nameMatches(p, strings.Split(name, ".")) {
					return true
				}
			}
		}
	}
	return false
}

// sideNames reads the names of one side of a rule. here says that names may stand there.
func (s *side) sideNames(e v1alpha1.EntityRule, here bool) error {
	s.byName = here
	if len(e.Domains) == 0 {
		return nil
	}
	if !here {
		return fmt.Errorf("names elsewhere than in what egress rules allow or log")
	}
	if len(e.Nets) > 0 || e.Selector+e.NamespaceSelector != "" || e.ServiceAccounts != nil || e.Services != nil {
		return fmt.Errorf("names beside other peers")
	}
	var err error
	s.domains, err = readNames(e.Domains, 50)
	return err
}

// takesNames: "actions Allow and Log, in the destination of egress rules"; what happens
// before connection tracking knows no names.
func takesNames(p *policy, dir model.Direction, a v1alpha1.Action) bool {
	return dir == model.Egress && !p.untracked && !p.preDNAT && (a == v1alpha1.Allow || a == v1alpha1.Log)
}

// belongsByName says whether an address is one of the names of a network set that a
// selector matches.
func (w *World) belongsByName(a netip.Addr, matches func(*owner) bool) bool {
	return slices.ContainsFunc(w.sets, func(o *owner) bool { return matches(o) && w.brought(o.domains, a) })
}

// brought leaves out what no answer may open: "loopback, link-local and metadata, node
// addresses, pods, and pod blocks".
func (w *World) brought(patterns [][]string, a netip.Addr) bool {
	return brought(w.answers, patterns, a) && !w.internal(a)
}

func (w *World) internal(a netip.Addr) bool {
	if a.IsUnspecified() || a.IsLoopback() || a.IsLinkLocalUnicast() || a.IsMulticast() {
		return true
	}
	for _, owners := range [][]*owner{w.pods, w.hosts, w.nodeOwners} {
		if slices.ContainsFunc(owners, func(o *owner) bool { return o.has(a) }) {
			return true
		}
	}
	return w.inAnyBlock(a)
}

// Learner says by what the addresses of names have changed, for an index that is fed
// with a world's objects.
type Learner struct {
	told map[names.Pattern]map[netip.Addr]bool
}

// Deltas returns what has changed since the last call, where the answers are all that an
// index has been given.
func (l *Learner) Deltas(ix Namer, answers *v1alpha1.DNSAnswers) []names.Delta {
	now := map[names.Pattern]map[netip.Addr]bool{}
	for _, p := range ix.Patterns() {
		now[p] = map[netip.Addr]bool{}
		if answers == nil {
			continue
		}
		for _, x := range answers.Spec.Answers {
			for _, a := range parseAddrs(x.Addresses) {
				if ix.Internal(a) == "" && brought([]v1alpha1.DNSAnswer{x}, [][]string{strings.Split(p.String(), ".")}, a) {
					now[p][a] = true
				}
			}
		}
	}
	changed := map[names.Pattern]*names.Delta{}
	of := func(p names.Pattern) *names.Delta {
		if changed[p] == nil {
			changed[p] = &names.Delta{Pattern: p}
		}
		return changed[p]
	}
	for p, addrs := range now {
		for a := range addrs {
			if !l.told[p][a] {
				of(p).Added = append(of(p).Added, a)
			}
		}
	}
	for p, addrs := range l.told {
		for a := range addrs {
			if !now[p][a] {
				of(p).Removed = append(of(p).Removed, a)
			}
		}
	}
	l.told = now
	var out []names.Delta
	for _, d := range changed {
		slices.SortFunc(d.Added, netip.Addr.Compare)
		slices.SortFunc(d.Removed, netip.Addr.Compare)
		out = append(out, *d)
	}
	slices.SortFunc(out, func(a, b names.Delta) int { return a.Pattern.Compare(b.Pattern) })
	return out
}

// All returns what is known by the last call of Deltas, as if all of it were new.
func (l *Learner) All() []names.Delta {
	var out []names.Delta
	for p, addrs := range l.told {
		d := names.Delta{Pattern: p}
		for a := range addrs {
			d.Added = append(d.Added, a)
		}
		slices.SortFunc(d.Added, netip.Addr.Compare)
		out = append(out, d)
	}
	slices.SortFunc(out, func(a, b names.Delta) int { return a.Pattern.Compare(b.Pattern) })
	return out
}

// Namer is an index, as far as names go.
type Namer interface {
	Patterns() []names.Pattern
	Internal(netip.Addr) string
	ApplyNames([]names.Delta)
}

// Teach has an index, which is flushed and knows no names yet, know what the DNS answers
// among some objects say. It is to be flushed after that.
func Teach(ix Namer, objects []runtime.Object) {
	for _, o := range objects {
		if a, ok := o.(*v1alpha1.DNSAnswers); ok {
			ix.ApplyNames(new(Learner).Deltas(ix, a))
		}
	}
}
