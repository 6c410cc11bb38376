package nftables

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/tierwall/tierwall/dataplane"
	"github.com/tierwall/tierwall/dataplane/base"
	"github.com/tierwall/tierwall/dataplane/nftables/nft"
)

// kernel is what the Backend asks of a table in the kernel.
type kernel interface {
	Read(want *nft.Ruleset) (*nft.Snapshot, error)
	Counters() (map[string]nft.Count, error)
	PutTimed(list []nft.Elem) error
	DropTimed(list []nft.Elem) error
	Commit(p *nft.Plan) error
	Slice(h *nft.Backlog, size int) error
	Close() error
}

var _ kernel = (*nft.Conn)(nil)

// Backend keeps the kernel's table equal to a State. Not safe for concurrent use.
//
// New takes the network namespace of the calling thread, and all other methods
// must be called in the same one: whoever lives in several locks the goroutine to
// its thread.
type Backend struct {
	opts   Options
	kernel kernel
	// bridge is the table of family bridge, bridged that the kernel may hold one.
	bridge  kernel
	bridged bool
	// world is what the kernel holds; nil after an error, when that is not known.
	world *world
	// littered is true if something that nothing leads to could not be removed.
	littered bool
	// hidden is what waits and no packet sees, ahead what was rendered for endpoints that
	// do not have it yet. patient: somebody does what waits.
	hidden  nft.Backlog
	ahead   ahead
	patient bool
	// sliceSize and goneAtOnce are the constants.
	sliceSize, goneAtOnce int
	reader                reader
	stats                 Stats
}

// Stats counts what a Backend has done.
type Stats struct {
	// Transactions of structure and of members alone; Rebuilds threw the table away first.
	Transactions, MemberTransactions, Rebuilds uint64
	// Hidden are transactions of what no packet sees.
	Hidden uint64
}

// New returns a Backend for the kernel of the calling thread's network
// namespace. It needs the privilege to change it (CAP_NET_ADMIN) when it does,
// and no program: it speaks with the kernel itself.
func New(o Options) (*Backend, error) {
	k, err := nft.Open(inetTable)
	if err != nil {
		return nil, fmt.Errorf("nftables: %w", err)
	}
	b, err := nft.Open(bridgeTable)
	if err != nil {
		return nil, fmt.Errorf("nftables: %w", errors.Join(err, k.Close()))
	}
	out := &Backend{opts: o.complete(), kernel: k, bridge: b, bridged: true, sliceSize: nft.SliceSize, goneAtOnce: goneAtOnce}
	if err := out.reader.open(); err != nil {
		return nil, fmt.Errorf("nftables: %w", errors.Join(err, k.Close(), b.Close()))
	}
	return out, nil
}

// Close gives up what the Backend holds open. The kernel's table stays.
func (b *Backend) Close() error {
	b.forget()
	b.reader.close()
	return errors.Join(b.kernel.Close(), b.bridge.Close())
}

var _ dataplane.Backend = (*Backend)(nil)

// Sync implements dataplane.Backend. What stands in the kernel and is as it
// should be is left alone, counters too; if nothing is to do, nothing is written.
func (b *Backend) Sync(_ context.Context, s *dataplane.State) error {
	b.forget()
	w := newWorld(s, b.opts)
	if err := b.syncBridge(w); err != nil {
		return err
	}
	have, err := b.kernel.Read(w.Ruleset)
	if err != nil {
		return fmt.Errorf("nftables: cannot list the table: %w", err)
	}
	p := have.Plan(w.Ruleset)
	if !p.Empty() {
		if err := b.run(p); err != nil {
			if p.Rebuild || p.NewTable {
				return err
			}
			// What stands there may be what is in the way.
			if again := b.run(nft.Rebuild(w.Ruleset)); again != nil {
				return errors.Join(err, again)
			}
		}
	}
	w.Settle()
	b.world, b.littered = w, false
	b.reader.publish(w)
	return nil
}

// Apply implements dataplane.Backend. Where what the kernel holds is not known,
// after an error, it is a Sync, and so it is where all programs change.
func (b *Backend) Apply(ctx context.Context, ch *dataplane.Change, s *dataplane.State) error {
	if b.world == nil || b.littered || b.world.shape != base.ShapeOf(s) {
		return b.Sync(ctx, s)
	}
	w := b.world
	w.apply(ch, s)
	if b.ahead.taken(ch) || b.ahead.over(ch) {
		b.letGoAhead()
	}
	err := b.applyBridge(w)
	if err == nil {
		err = b.carryOut(w.Plan())
	}
	if err != nil {
		b.forget()
		return err
	}
	w.Settle()
	b.reader.publish(w)
	return nil
}

// run executes a plan.
func (b *Backend) run(p *nft.Plan) error {
	switch err := b.kernel.Commit(p); {
	case errors.Is(err, nft.ErrLitter): // the change holds
		b.littered = true
	case err != nil:
		return fmt.Errorf("nftables: cannot change the table: %w", err)
	}
	if !p.Structural() {
		b.stats.MemberTransactions++
		return nil
	}
	b.stats.Transactions++
	if p.Rebuild {
		b.stats.Rebuilds++
	}
	return nil
}

// Counters implements dataplane.Backend.
func (b *Backend) Counters(context.Context) (map[dataplane.Origin]dataplane.Count, error) {
	if b.world == nil {
		return nil, errors.New("nftables: nothing has been programmed")
	}
	counts, err := b.kernel.Counters()
	if err != nil {
		return nil, fmt.Errorf("nftables: cannot list counters: %w", err)
	}
	out := make(map[dataplane.Origin]dataplane.Count, len(counts))
	for name, c := range counts {
		if o, ok := b.world.origins[name]; ok {
			out[o] = dataplane.Count(c)
		}
	}
	if err := b.bridgeCounters(out); err != nil {
		return nil, err
	}
	return out, nil
}

// Origin returns the rule that a log prefix of the kernel's names.
func (b *Backend) Origin(prefix string) (dataplane.Origin, bool) {
	if b.world == nil {
		return dataplane.Origin{}, false
	}
	name, _, _ := strings.Cut(prefix, " ")
	o, ok := b.world.origins[name]
	return o, ok
}

// Stats returns what the Backend has done so far.
func (b *Backend) Stats() Stats { return b.stats }

// Cleanup implements dataplane.Backend. A kernel without the table is clean.
func (b *Backend) Cleanup(context.Context) error {
	b.forget()
	if err := errors.Join(b.kernel.Commit(&nft.Plan{Remove: true}), b.bridge.Commit(&nft.Plan{Remove: true})); err != nil {
		return fmt.Errorf("nftables: cannot remove the table: %w", err)
	}
	return nil
}
