package nftables

import (
	"context"
	"errors"
	"slices"

	"github.com/tierwall/tierwall/dataplane"
	"github.com/tierwall/tierwall/dataplane/base"
	"github.com/tierwall/tierwall/dataplane/nftables/nft"
)

// ahead is what endpoints are to have and do not yet.
type ahead struct {
	policy *dataplane.Compiled
	ends   []dataplane.Endpoint
	held   int // the programs of how many of ends are held
}

var _ dataplane.Preparer = (*Backend)(nil)

// Prepare implements dataplane.Preparer. One call renders what one more endpoint needs,
// or has one transaction of what has been rendered.
func (b *Backend) Prepare(_ context.Context, ends []dataplane.Endpoint, s *dataplane.State) (done bool, err error) {
	b.patient = true
	w := b.world
	if w == nil || b.littered || w.shape != base.ShapeOf(s) {
		return true, nil // the next Apply is a Sync
	}
	w.state = s
	switch a := &b.ahead; {
	case !a.of(ends):
		b.letGoAhead()
		if len(ends) > 0 {
			b.ahead = ahead{policy: ends[0].Policy, ends: ends}
		}
		err = b.hide()
	case !b.hidden.Empty():
		err = b.slice(b.sliceSize)
	case a.held < len(a.ends):
		before := len(w.units)
		for a.held < len(a.ends) && len(w.units) == before {
			w.holdPrograms(a.ends[a.held])
			a.held++
		}
		err = b.hide()
	}
	if err != nil {
		b.forget()
		return false, err
	}
	return b.hidden.Empty() && b.ahead.held == len(b.ahead.ends), nil
}

// of reports whether this is what endpoints are to have.
func (a *ahead) of(ends []dataplane.Endpoint) bool {
	return len(a.ends) == len(ends) && (len(ends) == 0 || a.policy == ends[0].Policy && slices.EqualFunc(a.ends, ends, func(x, y dataplane.Endpoint) bool {
		return x.LocalEndpoint == y.LocalEndpoint
	}))
}

// letGoAhead gives up what was prepared, or what has been given to its endpoints.
func (b *Backend) letGoAhead() {
	for _, e := range b.ahead.ends[:b.ahead.held] {
		b.world.releasePrograms(e)
	}
	b.ahead = ahead{}
}

// taken reports whether a change gives endpoints what was prepared for them.
func (a *ahead) taken(ch *dataplane.Change) bool {
	return a.policy != nil && slices.ContainsFunc(ch.Endpoints, func(ec dataplane.EndpointChange) bool { return ec.After.Policy == a.policy })
}

// over reports whether a change takes programs away that were prepared.
func (a *ahead) over(ch *dataplane.Change) bool {
	return a.policy != nil && slices.ContainsFunc(ch.Removed, func(p *dataplane.Program) bool {
		return slices.ContainsFunc(a.policy.Programs, func(sp dataplane.StageProgram) bool { return sp.Program == p })
	})
}

// hide takes what has been rendered since the last plan. All of it is hidden, unless
// somebody else's sets had to be changed for it.
func (b *Backend) hide() error {
	p := b.world.Plan()
	if p.Empty() {
		return nil
	}
	if p.Shows() {
		return b.carryOut(p)
	}
	b.hidden.AddNew(p)
	b.hidden.AddGone(p)
	b.world.Settle()
	return nil
}

// slice does hidden work of about so many bytes; 0: all.
func (b *Backend) slice(size int) error {
	if b.hidden.Empty() {
		return nil
	}
	b.stats.Hidden++
	err := b.kernel.Slice(&b.hidden, size)
	if errors.Is(err, nft.ErrLitter) {
		b.littered, err = true, nil
	}
	return err
}

// carryOut executes a plan of what packets see, with what belongs to it. Hidden work
// that it has to do with comes first; that which it leaves may wait, where somebody
// does it (Prepare).
func (b *Backend) carryOut(p *nft.Plan) error {
	if b.hidden.Concerns(p) {
		if err := b.slice(0); err != nil {
			return err
		}
	}
	// What is to go may be referred to by what waits to go.
	if gone := len(p.DelChains) + len(p.DelSets) + len(p.DelCounters); gone > 0 && (b.patient && gone > b.goneAtOnce || !b.hidden.Empty()) {
		b.hidden.AddGone(p)
		p.DelChains, p.DelSets, p.DelCounters = nil, nil, nil
	}
	if p.Empty() {
		return nil
	}
	return b.run(p)
}

// goneAtOnce is how many things may go in the transaction that replaces them.
const goneAtOnce = 50

// forget is called when it is not known any more what the kernel holds.
func (b *Backend) forget() { b.world, b.hidden, b.ahead = nil, nft.Backlog{}, ahead{} }
