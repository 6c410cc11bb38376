package startup

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"

	"github.com/tierwall/tierwall/api/v1alpha1"
)

// Running takes the sandboxes that the runtime has, in place of those before. Their pods'
// containers may be running.
func (o *Overlay) Running(list []Sandbox) {
	o.mu.Lock()
	defer o.mu.Unlock()
	now := map[key]*box{}
	for i := range list {
		s := prepare(list[i])
		k := s.key()
		if len(s.Addrs) == 0 {
			continue
		}
		before := o.boxes[k]
		switch known := before != nil && before.ID == s.ID && !before.ended; {
		case known:
			now[k] = before
		case now[k] == nil:
			now[k] = &box{Sandbox: s, listed: true}
		case now[k] != before:
			now[k].ended, now[k].Addrs = true, nil // which is the newer one is not known
		}
	}
	// Of one that is not in the list nothing is concluded: a runtime that has just
	// started may not know yet how its sandboxes are.
	before := o.boxes
	o.boxes = now
	for k, p := range o.pods {
		if p.local && (now[k] != nil || before[k] != nil) {
			o.resolvePod(k, p)
		}
	}
	o.graves.list(list, o.opts.Clock.Now())
	o.adopt()
	o.localPodsChanged()
	o.deliver()
}

// Started is called when a sandbox has started, before any container of its pod has.
// It returns when the kernel holds the policy of the pod with these addresses and
// the other nodes can know of them, or with a [Late] when the context ends.
// A sandbox that stops meanwhile, or is replaced, is no error.
func (o *Overlay) Started(ctx context.Context, s Sandbox) error {
	s = prepare(s)
	if len(s.Addrs) == 0 {
		return nil
	}
	k := s.key()
	o.mu.Lock()
	o.boxes[k] = &box{Sandbox: s}
	o.graves.sandboxes[s.ID] = s
	if p := o.pods[k]; p != nil && p.local {
		o.resolvePod(k, p)
	}
	o.localPodsChanged()
	o.deliver()
	o.mu.Unlock()

	name := s.Namespace + "/" + s.Name
	known, err := o.known(ctx, k, s.ID)
	if err != nil {
		return &Late{name, MissingPod, err}
	}
	if !known {
		return nil
	}
	kernel := o.attached()
	if kernel == nil {
		return &Late{name, MissingKernel, errors.New("there is no agent")}
	}
	if err := kernel.Settled(ctx, s.Namespace); err != nil {
		return &Late{name, MissingKernel, err}
	}
	if err := o.opts.Announcer.Announced(ctx); err != nil {
		return &Late{name, MissingAnnouncement, err}
	}
	return nil
}

func (o *Overlay) attached() Kernel {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.kernel
}

// known waits until the pod of a sandbox is known. False: the sandbox has stopped.
func (o *Overlay) known(ctx context.Context, k key, id string) (bool, error) {
	for {
		known, stopped, changed := o.look(k, id)
		if known || stopped {
			return known, nil
		}
		select {
		case <-ctx.Done():
			return false, ctx.Err()
		case <-changed:
		}
	}
}

// look reports whether the pod of a sandbox is known, or the sandbox has stopped.
// If neither is true, changed is closed when that may have changed.
func (o *Overlay) look(k key, id string) (known, stopped bool, changed <-chan struct{}) {
	// Both are changed in place, so they are read under the lock too.
	o.mu.Lock()
	defer o.mu.Unlock()
	b, p := o.boxes[k], o.pods[k]
	stopped = b == nil || b.ID != id || b.ended
	known = !stopped && p != nil && p.local && b.of(p.Pod)
	return known, stopped, o.changed
}

// Stopped is called when a sandbox has stopped: no pod has its addresses any more. It may
// be called more than once.
func (o *Overlay) Stopped(s Sandbox) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.graves.sandboxes, s.ID)
	o.graves.book.Stopped(s.ID)
	k := s.key()
	b := o.boxes[k]
	if b == nil || b.ID != s.ID {
		o.deliver()
		return
	}
	b.ended = true
	p := o.pods[k]
	if p == nil {
		delete(o.boxes, k)
	} else if p.local {
		o.resolvePod(k, p)
	}
	o.localPodsChanged()
	o.deliver()
}

// prepare sorts a sandbox's addresses, and leaves out those that a pod cannot have.
func prepare(s Sandbox) Sandbox {
	var addrs []netip.Addr
	for _, a := range s.Addrs {
		if a = a.Unmap(); usable(a) {
			addrs = append(addrs, a)
		}
	}
	s.Addrs = tidy(addrs)
	return s
}

func compareStarted(x, y v1alpha1.StartedPod) int {
	return slices.Compare([]string{x.Namespace, x.Name, x.UID, strings.Join(x.IPs, " ")}, []string{y.Namespace, y.Name, y.UID, strings.Join(y.IPs, " ")})
}
