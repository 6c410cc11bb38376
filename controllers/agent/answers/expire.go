package answers

import (
	"context"
	"net/netip"
	"time"
)

// expireEvery is the interval at which addresses expire: listing connections is slow.
const expireEvery = 5 * time.Second

// saveDelay is how long learnt addresses wait to be written together with later ones.
const saveDelay = 100 * time.Millisecond

// labour does the slow work until the context ends: it writes the file, and expires
// addresses.
func (k *Keeper) labour(ctx context.Context) {
	for next := k.clock.Now().Add(expireEvery); ; {
		select {
		case <-ctx.Done():
			return
		case <-k.work:
			select {
			case <-ctx.Done():
			case <-k.clock.After(saveDelay):
			}
			k.save()
		case <-k.clock.After(next.Sub(k.clock.Now())):
			next = k.clock.Now().Add(expireEvery)
			k.Expire()
			k.save()
		}
	}
}

// Expire forgets addresses whose time is over and that no connection uses, as Run does every
// few seconds.
func (k *Keeper) Expire() {
	k.mu.Lock()
	now := k.clock.Now()
	due, ok := k.table.Due()
	k.measure()
	k.mu.Unlock()
	if !ok || due.After(now) {
		return
	}
	inUse := map[netip.Addr]struct{}{}
	if k.opts.Connections != nil {
		list, err := k.opts.Connections()
		if err != nil {
			k.log.Warn("cannot list connections: addresses of names do not expire", "error", err)
			return
		}
		inUse = list
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.inUse = inUse
	k.table.Expire(now)
	k.waiting.more = true
	if deltas := k.submit(now); deltas != nil {
		k.program(deltas)
	}
}
