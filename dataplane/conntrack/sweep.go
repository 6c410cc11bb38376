package conntrack

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"github.com/tierwall/tierwall/policy/model"
)

// Table is a kernel's table of tracked connections.
type Table interface {
	// List calls visit for each entry of both families until it returns false.
	// The entry is the callee's to keep. Entries that come or go meanwhile may be
	// missed or seen twice. visit must not call the Table.
	List(ctx context.Context, visit func(*Entry) bool) error
	// Delete removes an entry that List has told of. It is no error if there is
	// none any more, or another one of the same tuple; deleted says so.
	Delete(ctx context.Context, e *Entry) (deleted bool, err error)
}

// Sweep deletes all connections of the changed addresses that decide does not
// allow (anything but [model.Deny] is allowed), and returns their number. A nil
// changed means all addresses. decide is asked about flows as the policy sees
// them, see [Entry.Flow].
//
// An error does not end the sweep: what can be deleted is.
func Sweep(ctx context.Context, t Table, changed func(netip.Addr) bool, decide func(model.Flow) model.Action) (deleted int, err error) {
	return SweepEntries(ctx, t, changed, func(e *Entry) model.Action { return decide(e.Flow()) })
}

// SweepEntries is Sweep for a policy that wants to see the whole entry.
//
// A connection that a helper expected of another one is kept while that one
// is tracked and allowed. When it is gone or denied, the connection is judged
// by itself.
func SweepEntries(ctx context.Context, t Table, changed func(netip.Addr) bool, decide func(*Entry) model.Action) (deleted int, err error) {
	var denied, related []*Entry
	listed := t.List(ctx, func(e *Entry) bool {
		switch {
		case changed != nil && !e.Touches(changed) || decide(e) != model.Deny:
		case e.Related():
			related = append(related, e)
		default:
			denied = append(denied, e)
		}
		return ctx.Err() == nil
	})
	if len(related) > 0 {
		more, err := orphans(ctx, t, related, decide)
		denied, listed = append(denied, more...), errors.Join(listed, err)
	}
	return remove(ctx, t, denied, listed)
}

// remove deletes entries. listed is what went wrong before.
func remove(ctx context.Context, t Table, denied []*Entry, listed error) (deleted int, err error) {
	errs := []error{}
	if listed != nil {
		errs = append(errs, fmt.Errorf("list tracked connections: %w", listed))
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

// orphans returns the expected connections whose master is gone or denied.
func orphans(ctx context.Context, t Table, related []*Entry, decide func(*Entry) model.Action) ([]*Entry, error) {
	allowed := make(map[Tuple]bool, len(related))
	for _, e := range related {
		allowed[e.Master] = false
	}
	err := t.List(ctx, func(e *Entry) bool {
		if _, asked := allowed[e.Original]; asked {
			allowed[e.Original] = decide(e) != model.Deny
		}
		return ctx.Err() == nil
	})
	if err != nil {
		return nil, err // whether a master is gone is not known
	}
	var out []*Entry
	for _, e := range related {
		if !allowed[e.Master] {
			out = append(out, e)
		}
	}
	return out, nil
}
