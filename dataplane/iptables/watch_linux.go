package iptables

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
	"k8s.io/utils/clock"

	"github.com/tierwall/tierwall/dataplane"
	"github.com/tierwall/tierwall/dataplane/watch"
)

const (
	// lookEvery is how often sets and legacy tables are looked at.
	lookEvery = 500 * time.Millisecond
	// listShare is how much longer than it has taken to list a legacy table it is left
	// alone then, if it looks as it did.
	listShare = 100
)

// Watcher notices when somebody else changes what a Backend has written: rules of
// variant NFT when the kernel tells, those of variant Legacy and sets, of which
// it does not tell, by a look every half second. That look is a system call a
// table (its size, and where its chains begin) and one list of the sets
// (their sizes, not their members). A legacy table that looks different is listed
// and compared; one that does not, too, as often as takes a hundredth of the time at most. What is
// left to the periodic comparison: sets in which members were exchanged for as many others.
type Watcher struct {
	backend *Backend
	clock   clock.WithTicker
	rules   *watch.Watcher // nil with Legacy
	// A connection to the kernel of the namespace in which the Watcher was made.
	legacy *legacyReader // nil with NFT
	nl     *nl.SocketHandle

	mu sync.Mutex
	// want is what the kernel should hold; nil: that is not known.
	want *ruleset
	seen map[tableAt]sight
	// told is the difference that somebody has been told of; empty: none.
	told    string
	changed func()
}

// tableAt is a table of a family.
type tableAt struct {
	family dataplane.Family
	name   string
}

// sight is what was seen of a legacy table when it was listed last and was as it should be.
type sight struct {
	info tableInfo
	want *table
	// again is when it is to be listed anew.
	again time.Time
}

// NewWatcher returns a Watcher of what the Backend writes in the network
// namespace of the calling thread. Close, or the end of Watch, gives it up.
func (b *Backend) NewWatcher(c clock.WithTicker) (*Watcher, error) {
	w := &Watcher{backend: b, clock: c, seen: map[tableAt]sight{}}
	var err error
	if b.Variant() == NFT {
		w.rules, err = watch.NewScoped(scopes()...)
	} else {
		w.legacy, err = newLegacyReader()
	}
	if err != nil {
		return nil, err
	}
	socket, err := nl.Subscribe(unix.NETLINK_NETFILTER)
	if err != nil {
		w.close()
		return nil, fmt.Errorf("iptables: watch sets: %w", err)
	}
	w.nl = &nl.SocketHandle{Socket: socket}
	return w, nil
}

// scopes are the chains of iptables-nft's tables that matter: ours, and those that lead to ours.
func scopes() []watch.Scope {
	var out []watch.Scope
	for _, family := range []byte{unix.NFPROTO_IPV4, unix.NFPROTO_IPV6} {
		for _, name := range tableNames {
			hooks := hooked[name]
			out = append(out, watch.Scope{Family: family, Table: name, Chain: func(c string) bool {
				return strings.HasPrefix(c, chainPrefix) || slices.Contains(hooks, c)
			}})
		}
	}
	return out
}

func (w *Watcher) close() {
	if w.legacy != nil {
		w.legacy.close()
	}
	if w.nl != nil {
		w.nl.Close()
	}
}

// Watch calls changed after changes of somebody else's until the context ends;
// then it returns nil, and the Watcher is closed.
func (w *Watcher) Watch(ctx context.Context, changed func()) error {
	ctx, cancel := context.WithCancel(ctx)
	var rules sync.WaitGroup
	var rulesErr error
	defer func() {
		cancel()
		rules.Wait()
		w.mu.Lock()
		defer w.mu.Unlock()
		w.close()
		w.changed, w.want = nil, nil
	}()
	if w.rules != nil {
		rules.Go(func() {
			defer cancel()
			rulesErr = w.rules.Watch(ctx, changed)
		})
	}
	w.mu.Lock()
	w.changed = changed
	w.mu.Unlock()
	ticker := w.clock.NewTicker(lookEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			rules.Wait()
			return rulesErr
		case <-ticker.C():
			w.mu.Lock()
			w.look()
			w.mu.Unlock()
		}
	}
}

// Own runs a transaction of the Backend's, which is no news. While a Watcher is in use, all
// of them are run so: what it compares with changes in place where only elements change.
func (w *Watcher) Own(write func() error) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	inner := write
	if w.rules != nil {
		inner = func() error {
			return w.rules.OwnUpTo(func() (int, error) {
				before := w.backend.commits
				err := write()
				return w.backend.commits - before, err
			})
		}
	}
	elements := w.backend.stats.ElementsOnly
	err := inner()
	w.want = w.backend.have
	if w.backend.stats.ElementsOnly == elements { // else the next look is soon enough
		w.look()
	}
	return err
}

// look compares, and tells of a difference, of the same one once: if the backend
// does not see it, or cannot repair it, it would not help to say so again.
func (w *Watcher) look() {
	if w.want == nil || w.changed == nil {
		return
	}
	diff := w.difference()
	if diff == "" || diff == w.told {
		w.told = diff
		return
	}
	w.told = diff
	w.changed()
}

// difference says what differs from what the kernel should hold; empty: nothing.
func (w *Watcher) difference() string {
	var diffs []string
	if w.legacy != nil {
		for _, f := range []dataplane.Family{dataplane.IPv4, dataplane.IPv6} {
			if _, ok := w.legacy.sockets[f]; !ok {
				continue
			}
			for _, name := range sortedKeys(w.want.of(f)) {
				diffs = append(diffs, w.table(tableAt{f, name})...)
			}
		}
	}
	return strings.Join(append(diffs, w.sets()...), "; ")
}

// table says how a legacy table differs.
func (w *Watcher) table(at tableAt) []string {
	want := w.want.of(at.family)[at.name]
	info, err := w.legacy.info(at.family, at.name)
	if err != nil {
		return nil // as with sets
	}
	now := w.clock.Now()
	last := w.seen[at]
	if last.want == want && last.info == info && now.Before(last.again) {
		return nil
	}
	have, err := w.legacy.shape(at.family, at.name, info)
	switch {
	case errors.Is(err, errEntry):
		return []string{err.Error()}
	case err != nil: // somebody has been faster, as a rule
		return nil
	case !sameTable(have, w.want.shape().tables[at.family][at.name]):
		return []string{fmt.Sprintf("%s table %s: %+v", at.family, at.name, info)}
	}
	took := w.clock.Since(now)
	w.seen[at] = sight{info, want, now.Add(listShare * took)}
	return nil
}

// sets says which sets differ in size, or are not there.
func (w *Watcher) sets() []string {
	sizes, err := listSizes(w.nl)
	if err != nil {
		return nil // nothing is known now: the next look, or the comparison, will know
	}
	var diffs []string
	for _, key := range sortedKeys(w.want.sets) {
		s := w.want.sets[key]
		if n, ok := sizes[s.name]; !ok || n >= 0 && n != len(s.elems) && timed(s.kind) == 0 {
			diffs = append(diffs, fmt.Sprintf("set %s: %d", s.name, n))
		}
	}
	return diffs
}
