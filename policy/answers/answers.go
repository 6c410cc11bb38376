// Package answers puts DNS answers that files hold into an index, so that rules by name
// can be asked about where no agent has learnt anything.
//
//	v1alpha1.DNSAnswers ──Read──→ Answer ──Learn──→ index.Index
//	                                       └──→ Book: which answers brought an address
//
// There is no time here: answers of files do not expire, and what an agent has learnt is
// what it knows at one moment.
package answers

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/policy/index"
	"github.com/tierwall/tierwall/policy/names"
)

// Answer is a DNS answer.
type Answer struct {
	// Names are the one that was asked for and those of the CNAME records that lead to
	// the addresses, in order, as names.Canonical has them.
	Names []string
	Addrs []netip.Addr
	// Since is when it first came, and Until how long its addresses are known; zero: the
	// answer is of a file, and does not expire.
	Since, Until time.Time
}

// String is the names in order, with arrows.
func (a Answer) String() string { return strings.Join(a.Names, " → ") }

// Fault is what is wrong with a field of DNSAnswers.
type Fault struct{ Field, Message string }

// Read reads the answers of a file. Those with a fault are left out.
func Read(o *v1alpha1.DNSAnswers) (list []Answer, faults []Fault) {
	if len(o.Spec.Answers) == 0 {
		return nil, []Fault{{"spec.answers", "is empty"}}
	}
	for i := range o.Spec.Answers {
		in := &o.Spec.Answers[i]
		before := len(faults)
		fault := func(field, format string, args ...any) {
			faults = append(faults, Fault{fmt.Sprintf("spec.answers[%d].%s", i, field), fmt.Sprintf(format, args...)})
		}
		var out Answer
		for j, name := range append([]string{in.Name}, in.Chain...) {
			field := "name"
			if j > 0 {
				field = fmt.Sprintf("chain[%d]", j-1)
			}
			p, err := names.ParsePattern(name)
			switch {
			case err != nil:
				fault(field, "%v", err)
			case p.Wildcard():
				fault(field, "%q is a pattern: want a name", name)
			default:
				out.Names = append(out.Names, p.String())
			}
		}
		for j, text := range in.Addresses {
			a, err := netip.ParseAddr(text)
			if err != nil || a.Zone() != "" {
				fault(fmt.Sprintf("addresses[%d]", j), "%q is no IP address", text)
				continue
			}
			out.Addrs = append(out.Addrs, a.Unmap())
		}
		if len(in.Addresses) == 0 {
			fault("addresses", "is empty")
		}
		if len(faults) == before {
			list = append(list, out)
		}
	}
	return list, faults
}

// Book is what answers say. A nil Book is empty.
type Book struct {
	answers []Answer
	table   *names.Table
}

// Learn has an index, which is flushed, know what answers bring for the names that its
// rules speak of. The caller flushes it after that. internal says why an address may not be learnt, as
// index.Index.Internal does, which is what nil means.
func Learn(ix *index.Index, list []Answer, internal func(netip.Addr) string) *Book {
	if internal == nil {
		internal = ix.Internal
	}
	settings := ix.Settings().DNS
	options := settings.NameOptions()
	options.Refuse = func(a netip.Addr) bool { return !settings.TakeInternal && internal(a) != "" }
	b := &Book{answers: list, table: names.New(options)}
	for _, p := range ix.Patterns() {
		b.table.Use(p)
	}
	for _, a := range list {
		answer := names.Answer{Names: a.Names}
		for _, addr := range a.Addrs {
			answer.Addrs = append(answer.Addrs, names.Address{Addr: addr})
		}
		b.table.Learn(answer, time.Time{})
	}
	ix.ApplyNames(b.table.Deltas())
	return b
}

// Addrs returns the addresses that the answers for a name lead to, in their order, each
// once, those that may not be learnt too.
func (b *Book) Addrs(name string) []netip.Addr {
	if b == nil {
		return nil
	}
	var out []netip.Addr
	for _, a := range b.answers {
		if slices.Contains(a.Names, name) {
			for _, x := range a.Addrs {
				if !slices.Contains(out, x) {
					out = append(out, x)
				}
			}
		}
	}
	return out
}

// Names returns the names that there are answers for, sorted.
func (b *Book) Names() []string {
	if b == nil {
		return nil
	}
	var out []string
	for _, a := range b.answers {
		out = append(out, a.Names...)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// Sources returns the answers that have brought an address for one of some patterns.
func (b *Book) Sources(a netip.Addr, patterns []names.Pattern) []Answer {
	if b == nil {
		return nil
	}
	var out []Answer
	for _, x := range b.answers {
		if slices.Contains(x.Addrs, a.Unmap()) && slices.ContainsFunc(x.Names, func(name string) bool {
			return slices.ContainsFunc(patterns, func(p names.Pattern) bool { return p.Matches(name) })
		}) {
			out = append(out, x)
		}
	}
	return out
}
