package agent

import (
	"context"
	"net/netip"
	"slices"
	"time"

	"github.com/tierwall/tierwall/dataplane"
	"github.com/tierwall/tierwall/dataplane/links"
	"github.com/tierwall/tierwall/policy/model"
)

const (
	// linksPause is the least pause between two readings of the node's links, and
	// linksShare how many times as long as a reading the pause is at least: where
	// reading takes long (many thousand routes that come and go) it never takes
	// more than a twentieth of a processor.
	linksPause = 100 * time.Millisecond
	linksShare = 20
	// linksRecheck is the first pause until the links are read without a notice,
	// after a local pod has changed or reading has failed. It doubles up to
	// linksPoll. What the kernel gives no notice of (a neighbour from which a
	// pod's port is found) is seen so.
	linksRecheck = time.Second
	linksPoll    = 30 * time.Second
)

// nodeLinks follows what the kernel reports of the node itself. All of it is Run's,
// but for noticed.
type nodeLinks struct {
	noticed chan struct{} // of room 1: the kernel has given notice of a change
	reading *linksReading // at work; nil: none is
	wanted  bool          // one more after that
	at      time.Time     // of the next one; zero: none
	began   time.Time     // the last one
	pause   time.Duration // until the next one without a notice
	least   time.Duration // between two
	err     error         // of the last one
}

// linksReading is one reading. Its results are there when over is closed.
type linksReading struct {
	links *model.Links
	err   error
	over  chan struct{}
}

func newNodeLinks() nodeLinks {
	return nodeLinks{noticed: make(chan struct{}, 1), pause: linksRecheck, least: linksPause}
}

// followLinks notes notices of the kernel until the context ends.
func (a *Agent) followLinks(ctx context.Context) {
	err := a.opts.Links.Watch(ctx, func() {
		select {
		case a.links.noticed <- struct{}{}:
		default:
		}
	})
	if err != nil {
		a.log.Error("changes of the node's interfaces give no notice any more", "error", err, "readEvery", linksPoll)
	}
}

// linksChanged has the links read soon: the kernel gives notice, or what they are
// read for has changed.
func (a *Agent) linksChanged() {
	if !a.synced || a.opts.Links == nil {
		return // they are read before the first transaction
	}
	if a.links.reading != nil {
		a.links.wanted = true
		return
	}
	now := a.clock.Now()
	at := now.Add(max(a.links.began.Add(a.links.least).Sub(now), 0))
	if a.links.at.IsZero() || at.Before(a.links.at) {
		a.links.at = at
	}
}

// noteLocalPods has the links read soon after local pods have changed, and again a
// little later: a pod's route may appear after its object.
func (a *Agent) noteLocalPods(ch *dataplane.Change) {
	if a.opts.Links == nil {
		return
	}
	for i := range ch.Endpoints {
		b, n := ch.Endpoints[i].Before.LocalEndpoint, ch.Endpoints[i].After.LocalEndpoint
		if (b == nil || b.Host == nil) && (n == nil || n.Host == nil) && (b == nil || n == nil || !slices.Equal(b.Addrs, n.Addrs)) {
			a.links.pause = linksRecheck
			a.linksChanged()
			return
		}
	}
}

// localPods are the addresses of the node's pods and ghosts.
func (a *Agent) localPods() links.Pods {
	out := links.Pods{}
	for _, e := range a.comp.Endpoints() {
		if e.Host != nil {
			continue
		}
		ref := e.Ref
		if pod, ok := ref.GhostOf(); ok {
			ref = pod // whose seat at a bridge it keeps
		}
		for _, addr := range e.Addrs {
			if _, twice := out[addr]; !twice {
				out[addr] = ref
			}
		}
	}
	return out
}

// readLinksFirst reads the links before the first transaction, which must not take
// the node's own addresses for others'. It reports whether the index has changed.
func (a *Agent) readLinksFirst() bool {
	if a.opts.Links == nil {
		return false
	}
	a.links.began = a.clock.Now()
	l, err := a.opts.Links.Read(a.localPods())
	return a.takeLinks(l, err)
}

// readLinks begins to read the links.
func (a *Agent) readLinks() {
	if a.links.reading != nil {
		a.links.wanted = true
		return
	}
	r := &linksReading{over: make(chan struct{})}
	a.links.reading, a.links.wanted, a.links.began = r, false, a.clock.Now()
	pods := a.localPods()
	a.listers.Go(func() {
		defer close(r.over)
		r.links, r.err = a.opts.Links.Read(pods)
	})
}

// linksRead is closed when the reading at work is over; nil: there is none.
func (a *Agent) linksRead() <-chan struct{} {
	if a.links.reading == nil {
		return nil
	}
	return a.links.reading.over
}

// linksOver takes what has been read, and has the kernel follow.
func (a *Agent) linksOver(ctx context.Context) {
	r, before := a.links.reading, a.links.err
	a.links.reading = nil
	if a.takeLinks(r.links, r.err) {
		a.dirty = true
		a.hurry(0)
	} else if (before == nil) != (a.links.err == nil) {
		a.tell(ctx)
	}
	if a.links.wanted {
		a.links.wanted = false
		a.linksChanged()
	}
}

// takeLinks puts what has been read into the index, plans the next reading, and
// reports whether the index has changed. After an error what was known stays.
func (a *Agent) takeLinks(l *model.Links, err error) (changed bool) {
	now := a.clock.Now()
	a.links.least = max(linksPause, linksShare*now.Sub(a.links.began))
	a.links.at = now.Add(a.links.pause)
	a.links.pause = min(2*a.links.pause, linksPoll)
	if err != nil {
		a.metrics.failed("links")
		if a.links.err == nil || a.links.err.Error() != err.Error() {
			a.log.Error("the node's interfaces cannot be read; what was known of them counts", "error", err)
		}
		a.links.err = err
		return false
	}
	if a.links.err != nil {
		a.log.Info("the node's interfaces can be read again")
	}
	a.links.err = nil
	l.Node = a.opts.Node
	before := a.ix.Links(l.Node)
	if before != nil && sameLinks(before, l) {
		return false
	}
	a.metrics.ownAddresses.Set(float64(len(l.Addrs)))
	a.metrics.podLinks.Set(float64(len(l.Pods)))
	a.log.Debug("the node's interfaces have changed", "addresses", len(l.Addrs), "routes", len(l.Routes), "pods", len(l.Pods), "tunnels", len(l.Tunnels))
	a.put(l.Key(), l)
	a.sweepLinks(before, l)
	return true
}

func sameLinks(x, y *model.Links) bool {
	return slices.Equal(x.Addrs, y.Addrs) && slices.Equal(x.Routes, y.Routes) && slices.Equal(x.Pods, y.Pods) && slices.Equal(x.Tunnels, y.Tunnels)
}

// sweepLinks has connections examined a little later whose verdict changes with the
// links: those of addresses that the node has got, which counted as others' until
// now, and all of them where a route may lead to another host endpoint. Connections
// of addresses that are gone end by themselves.
func (a *Agent) sweepLinks(before, now *model.Links) {
	if a.opts.Conntrack == nil || before == nil {
		return // the first transaction examines all
	}
	for _, n := range now.Addrs {
		if !slices.ContainsFunc(before.Addrs, func(b model.LinkAddr) bool { return b.Addr == n.Addr }) {
			a.sweepLater.add(netip.PrefixFrom(n.Addr, n.Addr.BitLen()))
		}
	}
	if !slices.Equal(before.Routes, now.Routes) || !slices.Equal(before.Tunnels, now.Tunnels) {
		if slices.ContainsFunc(a.comp.Endpoints(), func(e dataplane.Endpoint) bool { return e.Host != nil }) {
			a.sweepLater.addAll()
		}
	}
	a.planSweep()
}
