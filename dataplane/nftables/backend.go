package nftables

import (
	"context"
	"errors"
	"fmt"

	"sigs.k8s.io/knftables"

	"github.com/tierwall/tierwall/dataplane"
)

// Backend keeps the kernel's table equal to a State. Not safe for concurrent use.
//
// New takes the network namespace of the calling thread, and all other methods
// must be called in the same one: whoever lives in several locks the goroutine to
// its thread.
type Backend struct {
	opts   Options
	nft    knftables.Interface
	kernel kernel
	// world is what the kernel holds; nil after an error, when that is not known.
	world *world
	stats Stats
	// many is the number of new elements from which on it pays to prepare them.
	many int
}

// Stats counts what a Backend has done.
type Stats struct {
	// Transactions of structure and of members alone; Rebuilds threw the table away first.
	Transactions, MemberTransactions, Rebuilds uint64
}

// kernel is what the backend asks of the kernel beside transactions.
type kernel interface {
	// read lists the table, with the elements of the sets that are wanted.
	read(ctx context.Context, want *ruleset) (*snapshot, error)
	counters(ctx context.Context) (map[string]dataplane.Count, error)
	// members changes elements of sets in one transaction. It may refuse with
	// errNotMembers, having done nothing.
	members(del, add []elem) error
	close() error
}

var errNotMembers = errors.New("not a matter of members alone")

// New returns a Backend for the kernel of the calling thread's network
// namespace. It fails if nft is not installed, too old, or not permitted.
func New(o Options) (*Backend, error) {
	nft, err := knftables.New(knftables.InetFamily, TableName)
	if err != nil {
		return nil, fmt.Errorf("nftables: %w", err)
	}
	k, err := newNetlinkKernel()
	if err != nil {
		return nil, fmt.Errorf("nftables: %w", err)
	}
	return &Backend{opts: o.complete(), nft: nft, kernel: k, many: 1000}, nil
}

// Close gives up what the Backend holds open. The kernel's table stays.
func (b *Backend) Close() error {
	b.world = nil
	return b.kernel.close()
}

// NewWith returns a Backend that uses an nftables of the caller's, as a fake in tests.
func NewWith(nft knftables.Interface, o Options) *Backend {
	return &Backend{opts: o.complete(), nft: nft, kernel: &listedKernel{nft}}
}

var _ dataplane.Backend = (*Backend)(nil)

// Sync implements dataplane.Backend. What stands in the kernel and is as it
// should be is left alone, counters too; if nothing is to do, nothing is written.
func (b *Backend) Sync(ctx context.Context, s *dataplane.State) error {
	b.world = nil
	w := newWorld(s, b.opts)
	have, err := b.kernel.read(ctx, w.ruleset)
	if err != nil {
		return fmt.Errorf("nftables: cannot list the table: %w", err)
	}
	p := have.plan(w.ruleset)
	if !p.empty() {
		if err := b.run(ctx, p); err != nil {
			if p.rebuild || p.newTable {
				return err
			}
			// What stands there may be what is in the way.
			if again := b.run(ctx, rebuild(w.ruleset)); again != nil {
				return errors.Join(err, again)
			}
		}
	}
	w.settle()
	b.world = w
	return nil
}

// Apply implements dataplane.Backend. Where what the kernel holds is not known,
// after an error, it is a Sync.
func (b *Backend) Apply(ctx context.Context, ch *dataplane.Change, s *dataplane.State) error {
	if b.world == nil {
		return b.Sync(ctx, s)
	}
	w := b.world
	b.world = nil
	w.apply(ch, s)
	if p := w.plan(); !p.empty() {
		if err := b.run(ctx, p); err != nil {
			return err
		}
	}
	w.settle()
	b.world = w
	return nil
}

// run executes a plan in one transaction.
func (b *Backend) run(ctx context.Context, p *plan) error {
	if !p.structural() {
		err := b.kernel.members(p.delElems, p.addElems)
		if !errors.Is(err, errNotMembers) {
			if err != nil {
				return fmt.Errorf("nftables: cannot change members: %w", err)
			}
			b.stats.MemberTransactions++
			return nil
		}
	}
	if err := b.prepare(ctx, p); err != nil {
		return err
	}
	if p.onlyMembersShow() {
		// The change itself is one of members; what goes has nothing left that leads to it.
		switch err := b.kernel.members(p.delElems, p.addElems); {
		case err == nil:
			p.delElems, p.addElems = nil, nil
		case !errors.Is(err, errNotMembers):
			return fmt.Errorf("nftables: cannot change members: %w", err)
		}
	}
	if !p.empty() {
		if err := b.transact(ctx, p); err != nil {
			return err
		}
	}
	b.stats.Transactions++
	if p.rebuild {
		b.stats.Rebuilds++
	}
	return nil
}

func (b *Backend) transact(ctx context.Context, p *plan) error {
	tx := b.nft.NewTransaction()
	p.write(tx)
	if err := b.nft.Run(ctx, tx); err != nil {
		return fmt.Errorf("nftables: cannot change the table: %w", err)
	}
	return nil
}

// prepare puts the bulk of a large plan into the kernel beforehand, out of the
// sight of packets, because nft takes long for many elements. What an error
// leaves behind there the next Sync finds.
func (b *Backend) prepare(ctx context.Context, p *plan) error {
	if _, ok := b.kernel.(*listedKernel); ok {
		return nil
	}
	hidden, elems := p.split(b.many)
	if hidden == nil {
		return nil
	}
	if err := b.transact(ctx, hidden); err != nil {
		return err
	}
	for len(elems) > 0 {
		n := min(len(elems), batch)
		if err := b.kernel.members(nil, elems[:n]); err != nil {
			return fmt.Errorf("nftables: cannot fill new sets: %w", err)
		}
		elems = elems[n:]
	}
	return nil
}

// Counters implements dataplane.Backend.
func (b *Backend) Counters(ctx context.Context) (map[dataplane.Origin]dataplane.Count, error) {
	if b.world == nil {
		return nil, errors.New("nftables: nothing has been programmed")
	}
	counts, err := b.kernel.counters(ctx)
	if err != nil {
		return nil, fmt.Errorf("nftables: cannot list counters: %w", err)
	}
	out := make(map[dataplane.Origin]dataplane.Count, len(counts))
	for name, c := range counts {
		if o, ok := b.world.origins[name]; ok {
			out[o] = c
		}
	}
	return out, nil
}

// Origin returns the rule that a log prefix of the kernel's names.
func (b *Backend) Origin(prefix string) (dataplane.Origin, bool) {
	if b.world == nil {
		return dataplane.Origin{}, false
	}
	for i := range prefix {
		if prefix[i] == ' ' {
			prefix = prefix[:i]
			break
		}
	}
	o, ok := b.world.origins[prefix]
	return o, ok
}

// Stats returns what the Backend has done so far.
func (b *Backend) Stats() Stats { return b.stats }

// Cleanup implements dataplane.Backend.
func (b *Backend) Cleanup(ctx context.Context) error {
	b.world = nil
	tx := b.nft.NewTransaction()
	tx.Add(&knftables.Table{}) // so that there is one to delete
	tx.Delete(&knftables.Table{})
	if err := b.nft.Run(ctx, tx); err != nil {
		return fmt.Errorf("nftables: cannot remove the table: %w", err)
	}
	return nil
}
