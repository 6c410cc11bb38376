package iptables

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/tierwall/tierwall/dataplane"
	"github.com/tierwall/tierwall/dataplane/base"
)

// Backend keeps the kernel's rules and sets equal to a State. Not safe for concurrent use.
//
// All methods work on the network namespace of the calling thread: whoever lives
// in several locks the goroutine to its thread.
type Backend struct {
	opts   Options
	kernel kernel
	socket *setSocket // the kernel's; nil: it has none
	// have is what the kernel holds; nil after an error, when that is not known.
	have *ruleset
	// published are the origins of what the kernel holds or held last, home is its
	// namespace: for reading counters, once at a time, beside all else.
	published atomic.Pointer[map[string]dataplane.Origin]
	home      atomic.Pointer[netns]
	reading   sync.Mutex
	// memory is of the State of have.
	memory *memory
	// litter are sets that could not be destroyed yet, because the kernel had not
	// let go of the rules that asked for them.
	litter map[string]bool
	// failed is true after a change that could not be made.
	failed bool
	// alone is true when the other variant is known to hold nothing of ours.
	alone bool
	stats Stats
	// queueTried: the kernel has been tried for a queue; queueErr is why it has none.
	queueTried bool
	queueErr   error
	// commits of tables that restores have made so far.
	commits int
}

var _ dataplane.Backend = (*Backend)(nil)

// Stats counts what a Backend has done.
type Stats struct {
	// Restores of a family's rules, sets made and destroyed, and elements changed in place.
	Restores, SetsCreated, SetsDestroyed, ElementsChanged uint64
	// ElementsOnly counts the changes for which no rules were made.
	ElementsOnly uint64
}

// New returns a Backend for the kernel of the calling thread's network namespace,
// and finds the commands of its variant. It needs the privilege to change the
// kernel (CAP_NET_ADMIN, and CAP_NET_RAW for the commands) when it does.
func New(o Options) (*Backend, error) {
	c, err := detect(o.Variant)
	if err != nil {
		return nil, err
	}
	o.Variant = c.variant
	k := commandKernel{commands: c, socket: &setSocket{}}
	return &Backend{opts: o.complete(), kernel: k, socket: k.socket, litter: map[string]bool{}}, nil
}

// Variant is the one that the Backend uses: Legacy or NFT.
func (b *Backend) Variant() Variant { return b.opts.Variant }

// Stats returns what the Backend has done so far.
func (b *Backend) Stats() Stats { return b.stats }

// Close gives up what the Backend holds open. The kernel's rules stay.
func (b *Backend) Close() error {
	b.reading.Lock()
	defer b.reading.Unlock()
	var errs []error
	if b.socket != nil {
		errs = append(errs, b.socket.close())
	}
	if n := b.home.Swap(nil); n != nil {
		errs = append(errs, n.close())
	}
	return errors.Join(errs...)
}

// Sync implements dataplane.Backend. What packets can see of it is what they can
// see of Apply: README.md.
//
// What of the kernel is missing (a table, a family's) is an error that names it;
// all else is enforced all the same.
func (b *Backend) Sync(ctx context.Context, s *dataplane.State) error {
	b.have = nil
	have, missing, err := b.read(ctx)
	if err != nil {
		return fmt.Errorf("iptables: read what the kernel holds: %w", err)
	}
	b.memory = newMemory(s)
	b.findQueue(ctx, s)
	want := b.memory.generate(s, b.opts, nameAmong(have.sets))
	want.single = b.failed // what was in the way may be chains that stood side by side
	p := planOf(have, want)
	for f := range missing {
		delete(p.restore, f)
	}
	if err := errors.Join(slices.Collect(maps.Values(missing))...); err != nil {
		return errors.Join(fmt.Errorf("iptables: read what the kernel holds: %w", err), b.carryOut(ctx, p))
	}
	if err := b.carryOut(ctx, p); err != nil {
		return fmt.Errorf("iptables: write to the kernel: %w", err)
	}
	b.settle(want)
	if b.alone {
		return nil
	}
	if err := b.leaveOthers(ctx); err != nil {
		return err
	}
	b.alone = true
	return b.sweep()
}

// Apply implements dataplane.Backend. After an error what the kernel holds is
// found out by the next Sync or Apply.
func (b *Backend) Apply(ctx context.Context, ch *dataplane.Change, s *dataplane.State) error {
	if b.have == nil || ch == nil || b.memory.compiled != s.Compiled || b.memory.shape != base.ShapeOf(s) {
		return b.Sync(ctx, s)
	}
	b.findQueue(ctx, s)
	if ok, err := b.applyElements(ctx, ch, s); ok {
		return err
	}
	b.memory.forget(ch)
	have, renew := b.have.shape(), map[string]bool{}
	want := b.memory.generate(s, b.opts, b.namer(renew))
	p := planOf(have, want)
	if b.mustRenew(p, want, renew) {
		want = b.memory.generate(s, b.opts, b.namer(renew))
		p = planOf(have, want)
	}
	b.split(p, want)
	if err := b.carryOut(ctx, p); err != nil {
		b.have = nil
		return fmt.Errorf("iptables: write to the kernel: %w", err)
	}
	b.settle(want)
	return nil
}

// effectOf is what it has meant and will mean that a member enters a set.
func (b *Backend) effectOf(s *ipset, want *ruleset) effect {
	return b.have.effects[s.key].with(want.effects[s.key])
}

// mustRenew finds the sets that cannot be changed under the rules that ask for
// them: those of mixed effect, unless one member is all that changes.
func (b *Backend) mustRenew(p *plan, want *ruleset, renew map[string]bool) bool {
	elems := 0
	for _, c := range p.change {
		elems += len(c.add) + len(c.remove)
	}
	if elems == 1 && len(p.restore)+len(p.create)+len(p.destroy) == 0 {
		return false
	}
	for _, c := range p.change {
		if b.effectOf(c.set, want) == mixed {
			renew[c.set.key] = true
		}
	}
	return len(renew) > 0
}

// split sorts what changes in sets into what closes and what opens.
func (b *Backend) split(p *plan, want *ruleset) {
	for _, c := range p.change {
		add, remove := setChange{set: c.set, add: c.add}, setChange{set: c.set, remove: c.remove}
		if b.effectOf(c.set, want) == closes {
			p.closing, p.opening = append(p.closing, add), append(p.opening, remove)
		} else {
			p.closing, p.opening = append(p.closing, remove), append(p.opening, add)
		}
	}
	nothing := func(c setChange) bool { return len(c.add)+len(c.remove) == 0 }
	p.closing, p.opening, p.change = slices.DeleteFunc(p.closing, nothing), slices.DeleteFunc(p.opening, nothing), nil
}

// read returns what the kernel holds. A family whose rules cannot be read is
// missing, with the reason; if neither can, or the sets cannot, that is an error.
func (b *Backend) read(ctx context.Context) (have *shape, missing map[dataplane.Family]error, err error) {
	have, missing = newShape(), map[dataplane.Family]error{}
	for _, f := range []dataplane.Family{dataplane.IPv4, dataplane.IPv6} {
		t, err := b.kernel.rules(ctx, f)
		if err != nil {
			missing[f] = fmt.Errorf("rules of %s: %w", f, err)
			continue
		}
		have.tables[f] = t
	}
	if len(missing) == len(have.tables) {
		return nil, nil, errors.Join(missing[dataplane.IPv4], missing[dataplane.IPv6])
	}
	have.sets, err = b.kernel.sets()
	return have, missing, err
}

// restore brings a family's rules. If not all tables take theirs, those that do have them.
func (b *Backend) restore(ctx context.Context, f dataplane.Family, text string) error {
	b.stats.Restores++
	b.commits += strings.Count(text, "COMMIT\n")
	err := b.kernel.restore(ctx, f, text)
	parts := strings.SplitAfter(text, "COMMIT\n")
	parts = parts[:max(len(parts)-1, 0)] // nothing comes after the last
	if err == nil || ctx.Err() != nil || len(parts) < 2 {
		return err
	}
	var errs []error
	b.commits += len(parts)
	for _, part := range parts {
		if err := b.kernel.restore(ctx, f, part); err != nil {
			name, _, _ := strings.Cut(strings.TrimPrefix(part, "*"), "\n")
			errs = append(errs, fmt.Errorf("%s table %s: %w", f, name, err))
		}
	}
	return errors.Join(errs...)
}

// carryOut makes a plan so: sets that rules will ask for, what closes of sets that
// they ask for already, rules, what opens, and away with the sets that no rule
// asks for any more.
func (b *Backend) carryOut(ctx context.Context, p *plan) (err error) {
	defer func() { b.failed = err != nil }()
	for _, s := range p.create {
		if err := b.kernel.createSet(s); err != nil {
			return err
		}
		b.stats.SetsCreated++
	}
	if err := b.changeSets(p.closing); err != nil {
		return err
	}
	var errs []error
	for _, f := range []dataplane.Family{dataplane.IPv4, dataplane.IPv6} {
		if text := p.restore[f]; text != "" {
			errs = append(errs, b.restore(ctx, f, text))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return err // what is not needed any more goes when all holds
	}
	if len(p.opening) > 0 && len(p.closing)+len(p.restore) > 0 {
		b.kernel.settle() // or a packet on its way may have met what was closed since when it was open
	}
	if err := b.changeSets(p.opening); err != nil {
		return err
	}
	for _, name := range p.destroy {
		b.litter[name] = true
	}
	for _, name := range p.keep {
		delete(b.litter, name)
	}
	return b.sweep()
}

// changeSets changes sets that rules ask for.
func (b *Backend) changeSets(list []setChange) error {
	for _, c := range list {
		for add, elems := range map[bool][]elem{false: c.remove, true: c.add} {
			if len(elems) == 0 {
				continue
			}
			if err := b.kernel.changeSet(c.set, elems, add); err != nil {
				return err
			}
		}
		b.stats.ElementsChanged += uint64(len(c.remove) + len(c.add))
	}
	return nil
}

// sweep destroys sets that no rule asks for. The kernel may let go of rules later
// than it says; what is still in use stays for the next time.
func (b *Backend) sweep() error {
	for _, name := range sortedKeys(b.litter) {
		switch err := b.kernel.destroySet(name); {
		case errors.Is(err, errBusy):
		case err != nil:
			return err
		default:
			delete(b.litter, name)
			b.stats.SetsDestroyed++
		}
	}
	return nil
}

// Counters implements dataplane.Backend.
func (b *Backend) Counters(ctx context.Context) (map[dataplane.Origin]dataplane.Count, error) {
	if b.have == nil {
		return nil, errors.New("iptables: nothing has been programmed")
	}
	return b.count(ctx, b.have.origins)
}

// count reads the counters of these chains.
func (b *Backend) count(ctx context.Context, origins map[string]dataplane.Origin) (map[dataplane.Origin]dataplane.Count, error) {
	out := map[dataplane.Origin]dataplane.Count{}
	for _, f := range []dataplane.Family{dataplane.IPv4, dataplane.IPv6} {
		tables, err := b.kernel.rules(ctx, f)
		if err != nil {
			return nil, fmt.Errorf("iptables: read counters: %w", err)
		}
		for _, name := range tableNames {
			if tables[name] == nil {
				continue
			}
			for chain, n := range tables[name].counts {
				if o, ok := origins[chain]; ok {
					c := out[o]
					out[o] = dataplane.Count{Packets: c.Packets + n.Packets, Bytes: c.Bytes + n.Bytes}
				}
			}
		}
	}
	return out, nil
}

// Origin returns the rule that a log prefix names.
func (b *Backend) Origin(prefix string) (dataplane.Origin, bool) {
	if b.have == nil {
		return dataplane.Origin{}, false
	}
	name, _, _ := strings.Cut(prefix, " ")
	o, ok := b.have.origins[name]
	return o, ok
}
