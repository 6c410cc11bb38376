package nftables

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/tierwall/tierwall/dataplane"
	"github.com/tierwall/tierwall/dataplane/base"
)

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
	hidden  hidden
	ahead   ahead
	patient bool
	// sliceSize and goneAtOnce are the constants.
	sliceSize, goneAtOnce int
	// queueTried: the kernel has been tried for a queue; queueErr is why it has none.
	queueTried bool
	queueErr   error
	reader     reader
	stats      Stats
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
	k, err := newNetlinkKernel(unix.NFPROTO_INET)
	if err != nil {
		return nil, fmt.Errorf("nftables: %w", err)
	}
	b, err := newNetlinkKernel(unix.NFPROTO_BRIDGE)
	if err != nil {
		return nil, fmt.Errorf("nftables: %w", errors.Join(err, k.close()))
	}
	out := &Backend{opts: o.complete(), kernel: k, bridge: b, bridged: true, sliceSize: sliceSize, goneAtOnce: goneAtOnce}
	if err := out.reader.open(); err != nil {
		return nil, fmt.Errorf("nftables: %w", errors.Join(err, k.close(), b.close()))
	}
	return out, nil
}

// Close gives up what the Backend holds open. The kernel's table stays.
func (b *Backend) Close() error {
	b.forget()
	b.reader.close()
	return errors.Join(b.kernel.close(), b.bridge.close())
}

var _ dataplane.Backend = (*Backend)(nil)

// Sync implements dataplane.Backend. What stands in the kernel and is as it
// should be is left alone, counters too; if nothing is to do, nothing is written.
func (b *Backend) Sync(_ context.Context, s *dataplane.State) error {
	b.forget()
	b.findQueue(s)
	w := newWorld(s, b.opts)
	if err := b.syncBridge(w); err != nil {
		return err
	}
	have, err := b.kernel.read(w.ruleset)
	if err != nil {
		return fmt.Errorf("nftables: cannot list the table: %w", err)
	}
	p := have.plan(w.ruleset)
	if !p.empty() {
		if err := b.run(p); err != nil {
			if p.rebuild || p.newTable {
				return err
			}
			// What stands there may be what is in the way.
			if again := b.run(rebuild(w.ruleset)); again != nil {
				return errors.Join(err, again)
			}
		}
	}
	w.settle()
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
	b.findQueue(s)
	w := b.world
	w.opts.queue = b.opts.queue
	w.apply(ch, s)
	if b.ahead.taken(ch) || b.ahead.over(ch) {
		b.letGoAhead()
	}
	err := b.applyBridge(w)
	if err == nil {
		err = b.carryOut(w.plan())
	}
	if err != nil {
		b.forget()
		return err
	}
	w.settle()
	b.reader.publish(w)
	return nil
}

// run executes a plan.
func (b *Backend) run(p *plan) error {
	switch err := b.kernel.commit(p); {
	case errors.Is(err, errLitter): // the change holds
		b.littered = true
	case err != nil:
		return fmt.Errorf("nftables: cannot change the table: %w", err)
	}
	if !p.structural() {
		b.stats.MemberTransactions++
		return nil
	}
	b.stats.Transactions++
	if p.rebuild {
		b.stats.Rebuilds++
	}
	return nil
}

// Counters implements dataplane.Backend.
func (b *Backend) Counters(context.Context) (map[dataplane.Origin]dataplane.Count, error) {
	if b.world == nil {
		return nil, errors.New("nftables: nothing has been programmed")
	}
	counts, err := b.kernel.counters()
	if err != nil {
		return nil, fmt.Errorf("nftables: cannot list counters: %w", err)
	}
	out := make(map[dataplane.Origin]dataplane.Count, len(counts))
	for name, c := range counts {
		if o, ok := b.world.origins[name]; ok {
			out[o] = c
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
	if err := errors.Join(b.kernel.commit(&plan{remove: true}), b.bridge.commit(&plan{remove: true})); err != nil {
		return fmt.Errorf("nftables: cannot remove the table: %w", err)
	}
	return nil
}
