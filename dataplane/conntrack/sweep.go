package conntrack

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"

	"github.com/tierwall/tierwall/policy/model"
)

// Table is a kernel's table of tracked connections.
type Table interface {
	// List calls visit for each entry of both families until it returns false.
	// The entry is the callee's to keep. Entries that come or go meanwhile may be
	// missed or seen twice. visit must not call the Table.
	List(ctx context.Context, visit func(*Entry) bool) error
	// Delete removes an entry that List has visited. It is no error if there is
	// none any more, or another one of the same tuple; deleted reports which.
	Delete(ctx context.Context, e *Entry) (deleted bool, err error)
}

// Sweep is one walk over a table, in steps: [Find] lists, Denied evaluates the policy
// and Delete deletes. The steps are separate because listing a long table takes long
// and must not block anything, and because what is to stay cut is recorded between
// Denied and Delete. It is not safe for concurrent use.
type Sweep struct {
	entries []*Entry
	// masters are the connections that a helper expected some of the entries of;
	// nil ones are gone.
	masters map[Tuple]*Entry
	// lost: the masters could not all be listed.
	lost bool
	// err is why entries may be missing.
	err error
}

// Find lists the entries that wanted reports; nil means all. It keeps them in
// memory, some 300 bytes each: a sweep of all addresses had better want only what
// the policy denies. wanted must not call the Table. Safe for concurrent use with
// nothing else of the Table.
func Find(ctx context.Context, t Table, wanted func(*Entry) bool) *Sweep {
	s := &Sweep{masters: map[Tuple]*Entry{}}
	s.err = t.List(ctx, func(e *Entry) bool {
		if wanted == nil || wanted(e) {
			s.entries = append(s.entries, e)
			if e.Related() {
				s.masters[e.Master] = nil
			}
		}
		return ctx.Err() == nil
	})
	if len(s.masters) == 0 {
		return s
	}
	err := t.List(ctx, func(e *Entry) bool {
		if _, asked := s.masters[e.Original]; asked {
			s.masters[e.Original] = e
		}
		return ctx.Err() == nil
	})
	if err != nil {
		s.lost = true
		if s.err == nil {
			s.err = err
		}
	}
	return s
}

// Entries returns what was found.
func (s *Sweep) Entries() iter.Seq[*Entry] { return slices.Values(s.entries) }

// Denied returns the connections found that decide does not allow; anything except
// [model.Deny] is allowed.
//
// A connection that a helper expected is kept while the connection that it belongs to
// is tracked and allowed. When that one is gone or denied, the connection is evaluated
// by itself.
func (s *Sweep) Denied(decide func(*Entry) model.Action) []*Entry {
	var denied []*Entry
	for _, e := range s.entries {
		if decide(e) != model.Deny {
			continue
		}
		if e.Related() {
			m := s.masters[e.Master]
			if s.lost || m != nil && decide(m) != model.Deny {
				continue // where it is not known whether the master is gone, it is not
			}
		}
		denied = append(denied, e)
	}
	return denied
}

// Delete deletes entries and returns the number. What Find could not list is an
// error too, and ends nothing: what can be deleted is.
func (s *Sweep) Delete(ctx context.Context, t Table, denied []*Entry) (deleted int, err error) {
	errs := []error{}
	if s.err != nil {
		errs = append(errs, fmt.Errorf("list tracked connections: %w", s.err))
	}
	failed := 0
	for _, e := range denied {
		gone, err := t.Delete(ctx, e)
		switch {
		case err == nil && gone:
			deleted++
		case err != nil:
			if failed++; failed == 1 { // one stands for all: they are mostly alike
				errs = append(errs, fmt.Errorf("delete tracked connection %s: %w", e, err))
			}
		}
		if ctx.Err() != nil {
			break
		}
	}
	if failed > 1 {
		errs = append(errs, fmt.Errorf("and %d more tracked connections", failed-1))
	}
	return deleted, errors.Join(append(errs, ctx.Err())...)
}
