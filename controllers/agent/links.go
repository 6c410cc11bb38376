package agent

import (
	"context"
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

// linkFollower follows what the kernel reports of the node itself (dataplane/links), and
// puts it into the index as objects are.
//
//	follow        notes notices of the kernel, in a goroutine of its own
//	soon          have the links read soon
//	notePods      local pods have changed
//	readFirst     read them now, before the first transaction
//	read          begin to read them, in a goroutine of its own
//	over, finish  that is over; take what has been read
//
// All but follow is Run's goroutine's. Without Options.Links it does nothing.
type linkFollower struct {
	*node
	sweeper *sweeper

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

func newLinkFollower(n *node, s *sweeper) *linkFollower {
	return &linkFollower{node: n, sweeper: s, noticed: make(chan struct{}, 1), pause: linksRecheck, least: linksPause}
}

// follow notes notices of the kernel until the context ends.
func (f *linkFollower) follow(ctx context.Context) {
	err := f.opts.Links.Watch(ctx, func() {
		select {
		case f.noticed <- struct{}{}:
		default:
		}
	})
	if err != nil {
		f.log.Error("no longer notified of changes to the node's interfaces", "error", err, "readEvery", linksPoll)
	}
}

// soon has the links read soon: the kernel gives notice, or what they are
// read for has changed.
func (f *linkFollower) soon() {
	if !f.synced || f.opts.Links == nil {
		return // they are read before the first transaction
	}
	if f.reading != nil {
		f.wanted = true
		return
	}
	now := f.clock.Now()
	at := now.Add(max(f.began.Add(f.least).Sub(now), 0))
	if f.at.IsZero() || at.Before(f.at) {
		f.at = at
	}
}

// notePods has the links read soon after local pods have changed, and again a
// little later: a pod's route may appear after its object.
func (f *linkFollower) notePods(ch *dataplane.Change) {
	if f.opts.Links == nil {
		return
	}
	for i := range ch.Endpoints {
		b, n := ch.Endpoints[i].Before.LocalEndpoint, ch.Endpoints[i].After.LocalEndpoint
		if (b == nil || b.Host == nil) && (n == nil || n.Host == nil) && (b == nil || n == nil || !slices.Equal(b.Addrs, n.Addrs)) {
			f.pause = linksRecheck
			f.soon()
			return
		}
	}
}

// localPods are the addresses of the node's pods and ghosts.
func (f *linkFollower) localPods() links.Pods {
	out := links.Pods{}
	for _, e := range f.comp.Endpoints() {
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

// readFirst reads the links before the first transaction, which must not take
// the node's own addresses for others'. It reports whether the index has changed.
func (f *linkFollower) readFirst() bool {
	if f.opts.Links == nil {
		return false
	}
	f.began = f.clock.Now()
	l, err := f.opts.Links.Read(f.localPods())
	return f.take(l, err)
}

// read begins to read the links.
func (f *linkFollower) read() {
	if f.reading != nil {
		f.wanted = true
		return
	}
	r := &linksReading{over: make(chan struct{})}
	f.reading, f.wanted, f.began = r, false, f.clock.Now()
	pods := f.localPods()
	f.beside.Go(func() {
		defer close(r.over)
		r.links, r.err = f.opts.Links.Read(pods)
	})
}

// over is closed when the reading at work is over; nil: there is none.
func (f *linkFollower) over() <-chan struct{} {
	if f.reading == nil {
		return nil
	}
	return f.reading.over
}

// finish takes what has been read. It reports whether the index has changed and, if not,
// whether reading has begun or ceased to fail.
func (f *linkFollower) finish() (changed, news bool) {
	r, before := f.reading, f.err
	f.reading = nil
	changed = f.take(r.links, r.err)
	if f.wanted {
		f.wanted = false
		f.soon()
	}
	return changed, (before == nil) != (f.err == nil)
}

// take puts what has been read into the index, plans the next reading, and
// reports whether the index has changed. After an error what was known stays.
func (f *linkFollower) take(l *model.Links, err error) (changed bool) {
	now := f.clock.Now()
	f.least = max(linksPause, linksShare*now.Sub(f.began))
	f.at = now.Add(f.pause)
	f.pause = min(2*f.pause, linksPoll)
	if err != nil {
		f.metrics.failed("links")
		if f.err == nil || f.err.Error() != err.Error() {
			f.log.Error("cannot read the node's interfaces; the last known state is in use", "error", err)
		}
		f.err = err
		return false
	}
	if f.err != nil {
		f.log.Info("the node's interfaces can be read again")
	}
	f.err = nil
	l.Node = f.opts.Node
	before := f.ix.Links(l.Node)
	if before != nil && sameLinks(before, l) {
		return false
	}
	f.metrics.ownAddresses.Set(float64(len(l.Addrs)))
	f.metrics.podLinks.Set(float64(len(l.Pods)))
	f.log.Debug("the node's interfaces have changed", "addresses", len(l.Addrs), "routes", len(l.Routes), "pods", len(l.Pods), "tunnels", len(l.Tunnels))
	f.put(l.Key(), l)
	f.sweeper.noteLinks(before, l)
	return true
}

func sameLinks(x, y *model.Links) bool {
	return slices.Equal(x.Addrs, y.Addrs) && slices.Equal(x.Routes, y.Routes) && slices.Equal(x.Pods, y.Pods) && slices.Equal(x.Tunnels, y.Tunnels)
}
