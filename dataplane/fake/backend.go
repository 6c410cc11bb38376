// Package fake has a dataplane.Backend without a kernel, for tests of what
// drives backends. It keeps what it is told change by change, holds that
// against the State that comes with each change, and fails when told to.
package fake

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sync"

	"github.com/tierwall/tierwall/dataplane"
	"github.com/tierwall/tierwall/policy/index"
	"github.com/tierwall/tierwall/policy/model"
)

// Op is a call of the Backend.
type Op string

// The calls that change the kernel.
const (
	Sync    Op = "Sync"
	Apply   Op = "Apply"
	Cleanup Op = "Cleanup"
)

// World is what a kernel would hold.
type World struct {
	Node      string
	Settings  model.Settings
	NodeAddrs []netip.Addr
	PodCIDRs  []netip.Prefix
	Foreign   []netip.Addr
	// These are as the State has them.
	ForeignNets  []netip.Prefix
	ClusterAddrs []netip.Addr
	Links        *model.Links
	Answers      *dataplane.Answers
	// Endpoints by name.
	Endpoints map[model.Ref]Endpoint
	// Programs by ID, as text.
	Programs map[string]string
	// Sets of the core by ID: their members.
	Sets map[string][]index.Member
}

// Endpoint is an endpoint of a World.
type Endpoint struct {
	Addrs []netip.Addr
	// Programs are the IDs of its programs, one a stage, direction and family.
	Programs []string
}

// Backend is a dataplane.Backend in memory. Unlike real ones it is safe for
// concurrent use. The zero Backend holds nothing.
type Backend struct {
	// Before is called at the beginning of each call that changes something, if
	// it is not nil. An error makes the call fail; it may also block. Set it
	// before the Backend is used.
	Before func(op Op, s *dataplane.State) error
	// NoQueue is why the kernel has no queue that answers could wait in; nil: it has one.
	// Set it before the Backend is used.
	NoQueue error
	// Done, if not nil, gets every call that changes something once it is over.
	// Give it room: the Backend waits for it.
	Done chan Call

	mu       sync.Mutex
	world    World
	counters map[dataplane.Origin]dataplane.Count
	countErr error
	busy     bool
}

// Call is a call that is over.
type Call struct {
	Op Op
	// Err that it returned.
	Err error
	// World after it.
	World World
}

var _ dataplane.Holder = (*Backend)(nil)

// CanHold implements dataplane.Holder.
func (b *Backend) CanHold(context.Context) error { return b.NoQueue }

// World returns what the Backend holds. The caller does not change it.
func (b *Backend) World() World {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.world
}

// SetCounters sets what Counters returns from now on.
func (b *Backend) SetCounters(c map[dataplane.Origin]dataplane.Count, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.counters, b.countErr = c, err
}

// Sync implements dataplane.Backend.
func (b *Backend) Sync(_ context.Context, s *dataplane.State) error {
	return b.call(Sync, s, func() error {
		b.world = worldOf(s)
		return nil
	})
}

// Apply implements dataplane.Backend. A Change that does not lead to the State is an error.
func (b *Backend) Apply(_ context.Context, ch *dataplane.Change, s *dataplane.State) error {
	return b.call(Apply, s, func() error {
		want := worldOf(s)
		if err := b.world.check(ch, &want); err != nil {
			return err
		}
		b.world = want
		return nil
	})
}

// Counters implements dataplane.Backend.
func (b *Backend) Counters(context.Context) (map[dataplane.Origin]dataplane.Count, error) {
	if err := b.enter(); err != nil {
		return nil, err
	}
	defer b.leave()
	b.mu.Lock()
	defer b.mu.Unlock()
	return maps.Clone(b.counters), b.countErr
}

// Cleanup implements dataplane.Backend.
func (b *Backend) Cleanup(context.Context) error {
	return b.call(Cleanup, nil, func() error {
		b.world = World{}
		return nil
	})
}

// enter notes a call: real backends bear one at a time.
func (b *Backend) enter() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.busy {
		return fmt.Errorf("fake: two calls at the same time")
	}
	b.busy = true
	return nil
}

func (b *Backend) leave() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.busy = false
}

func (b *Backend) call(op Op, s *dataplane.State, do func() error) error {
	if err := b.enter(); err != nil {
		return err
	}
	err := error(nil)
	if b.Before != nil {
		err = b.Before(op, s)
	}
	b.mu.Lock()
	if err == nil {
		err = do()
	}
	c := Call{Op: op, Err: err, World: b.world}
	b.busy = false
	b.mu.Unlock()
	if b.Done != nil {
		b.Done <- c
	}
	return err
}

// worldOf copies what a State says, for the State goes on changing.
func worldOf(s *dataplane.State) World {
	w := World{
		Node: s.Node, NodeAddrs: slices.Clone(s.NodeAddrs), PodCIDRs: slices.Clone(s.PodCIDRs), Foreign: slices.Clone(s.Foreign),
		ForeignNets: slices.Clone(s.ForeignNets), ClusterAddrs: slices.Clone(s.ClusterAddrs), Links: s.Links, Answers: s.Answers,
		Endpoints: map[model.Ref]Endpoint{}, Programs: map[string]string{}, Sets: map[string][]index.Member{},
	}
	if s.Settings != nil {
		w.Settings = *s.Settings
	}
	for _, e := range s.Compiled.Endpoints() {
		w.Endpoints[e.Ref] = endpointOf(e)
	}
	for _, p := range s.Compiled.Programs() {
		w.Programs[p.ID] = p.String()
	}
	for _, set := range s.Compiled.Sets() {
		if set.IsCore() {
			w.Sets[set.ID] = s.Compiled.Members(set)
		}
	}
	return w
}

func endpointOf(e dataplane.Endpoint) Endpoint {
	out := Endpoint{Addrs: slices.Clone(e.Addrs)}
	if e.Policy != nil {
		for _, p := range e.Policy.Programs {
			out.Programs = append(out.Programs, p.Program.ID)
		}
	}
	return out
}

// check says how a change of a world fails to lead to another.
func (w *World) check(ch *dataplane.Change, want *World) error {
	if w.Endpoints == nil {
		return fmt.Errorf("fake: Apply before any Sync")
	}
	ends, programs, sets := maps.Clone(w.Endpoints), maps.Clone(w.Programs), maps.Clone(w.Sets)
	for _, e := range ch.Endpoints {
		if e.After.LocalEndpoint == nil {
			delete(ends, e.Ref)
		} else {
			ends[e.Ref] = endpointOf(e.After)
		}
	}
	for _, p := range ch.Added {
		programs[p.ID] = p.String()
	}
	for _, p := range ch.Removed {
		delete(programs, p.ID)
	}
	for _, s := range ch.Sets {
		if s.Gone {
			delete(sets, s.Set.ID)
			continue
		}
		if w.Sets[s.Set.ID] == nil && want.Sets[s.Set.ID] == nil {
			continue // it makes up tables alone, which a World does not have
		}
		members := map[index.Member]bool{}
		for _, m := range sets[s.Set.ID] {
			members[m] = true
		}
		for _, m := range s.Removed {
			delete(members, m)
		}
		for _, m := range s.Added {
			members[m] = true
		}
		sets[s.Set.ID] = slices.SortedFunc(maps.Keys(members), index.Member.Compare)
	}
	same := func(a, b Endpoint) bool {
		return slices.Equal(a.Addrs, b.Addrs) && slices.Equal(a.Programs, b.Programs)
	}
	switch {
	case !maps.EqualFunc(ends, want.Endpoints, same):
		return fmt.Errorf("fake: the change leads to endpoints %v, the state has %v", ends, want.Endpoints)
	case !maps.Equal(programs, want.Programs):
		return fmt.Errorf("fake: the change leads to programs %v, the state has %v", programs, want.Programs)
	case !maps.EqualFunc(sets, want.Sets, slices.Equal[[]index.Member]):
		return fmt.Errorf("fake: the change leads to sets %v, the state has %v", sets, want.Sets)
	}
	return nil
}
