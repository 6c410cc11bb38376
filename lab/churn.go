//go:build linux

package lab

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// change begins a change of the topology. A closed lab is not changed: without
// their namespaces the netlink handles would reach into the host's own.
func (l *Lab) change() (done func(), err error) {
	l.changes.Lock()
	l.mu.RLock()
	defer l.mu.RUnlock()
	if l.closed {
		l.changes.Unlock()
		return nil, errClosed
	}
	return l.changes.Unlock, nil
}

// AddPod adds a pod to the running lab. Its address may be one that the host
// Internet took on for a probe.
func (l *Lab) AddPod(p Pod) error {
	done, err := l.change()
	if err != nil {
		return err
	}
	defer done()
	s := Spec{Pods: []Pod{p}}
	l.mu.RLock()
	for _, n := range l.nodes {
		s.Nodes = append(s.Nodes, n.spec)
	}
	_, taken := l.pods[p.Where()]
	l.mu.RUnlock()
	if taken {
		return fmt.Errorf("lab: pod %s: it is already there", p.Where())
	}
	if err := s.check(); err != nil {
		return fmt.Errorf("lab: %w", err)
	}
	if err := l.free(p.Addrs); err != nil {
		return fmt.Errorf("lab: pod %s: %w", p.Where(), err)
	}
	return l.addPod(p)
}

// RemovePod removes a pod with its namespace. Its sockets and streams end as
// those of a dead pod do: without a word to the other side.
func (l *Lab) RemovePod(where string) error {
	done, err := l.change()
	if err != nil {
		return err
	}
	defer done()
	l.mu.Lock()
	p, ok := l.pods[where]
	delete(l.pods, where)
	l.mu.Unlock()
	if !ok {
		return fmt.Errorf("lab: there is no pod %q", where)
	}
	return p.takeDown()
}

// SetPodAddrs changes the addresses of a pod: new ones are there before old
// ones go.
func (l *Lab) SetPodAddrs(where string, addrs []netip.Addr) error {
	done, err := l.change()
	if err != nil {
		return err
	}
	defer done()
	l.mu.RLock()
	p, ok := l.pods[where]
	l.mu.RUnlock()
	switch {
	case !ok:
		return fmt.Errorf("lab: there is no pod %q", where)
	case p.spec.HostNetwork || len(addrs) == 0:
		return fmt.Errorf("lab: pod %s: addresses are needed, and a network of its own", where)
	}
	old := p.spec.Addrs
	var added []netip.Addr
	for _, a := range addrs {
		if err := checkAddr(a); err != nil {
			return fmt.Errorf("lab: pod %s: %w", where, err)
		}
		if !slices.Contains(old, a) {
			added = append(added, a)
		}
	}
	if err := l.free(added); err != nil {
		return fmt.Errorf("lab: pod %s: %w", where, err)
	}
	p.spec.Addrs = slices.Clone(addrs)
	for _, a := range added {
		if err := p.addAddr(a); err != nil {
			return err
		}
	}
	// The default routes must not hang on a source address that goes.
	for _, is4 := range []bool{true, false} {
		if a := of(addrs, is4); a.IsValid() {
			if err := p.near.route(everything(is4), p.gateway(a).addr, a); err != nil {
				return err
			}
		}
	}
	for _, a := range old {
		if !slices.Contains(addrs, a) {
			if err := p.removeAddr(a); err != nil {
				return err
			}
		}
	}
	return nil
}

// PodAddrs returns the addresses of a pod; those of its node for a host-network
// pod.
func (l *Lab) PodAddrs(where string) ([]netip.Addr, error) {
	done, err := l.change()
	if err != nil {
		return nil, err
	}
	defer done()
	l.mu.RLock()
	defer l.mu.RUnlock()
	p, ok := l.pods[where]
	switch {
	case !ok:
		return nil, fmt.Errorf("lab: there is no pod %q", where)
	case p.spec.HostNetwork:
		return slices.Clone(p.node.spec.Addrs), nil
	}
	return slices.Clone(p.spec.Addrs), nil
}

// AddHost adds a host outside of the cluster.
func (l *Lab) AddHost(h Host) error {
	done, err := l.change()
	if err != nil {
		return err
	}
	defer done()
	if err := (&Spec{Outside: []Host{h}}).check(); err != nil {
		return fmt.Errorf("lab: %w", err)
	}
	if _, err := l.at(h.Name); err == nil {
		return fmt.Errorf("lab: host %s: the name is taken", h.Name)
	}
	if err := l.free(h.Addrs); err != nil {
		return fmt.Errorf("lab: host %s: %w", h.Name, err)
	}
	return l.addHost(h)
}

// free makes sure that no place has the addresses; those that were taken on for
// probes are given back.
func (l *Lab) free(addrs []netip.Addr) error {
	for _, a := range addrs {
		where, ok := l.Owner(a)
		if !ok {
			continue
		}
		l.mu.RLock()
		h, stray := l.hosts[Internet], l.pods[where]
		l.mu.RUnlock()
		switch {
		case where == Internet:
			l.setOwner(a, nil)
			if err := h.wiring.far.removeRoute(single(a)); err != nil {
				return err
			}
			h.wiring.far.removeNeighbour(a)
			if err := h.wiring.near.removeAddr(single(a)); err != nil {
				return err
			}
			h.addrs = dropAddr(h.addrs, a)
		case stray != nil && stray.spec.Namespace == strayNamespace:
			l.mu.Lock()
			delete(l.pods, where)
			l.mu.Unlock()
			if err := stray.takeDown(); err != nil {
				return err
			}
		default:
			return fmt.Errorf("the address %s is that of %s", a, where)
		}
	}
	return nil
}

// strayNamespace is the namespace of pods that hold addresses of pod blocks
// which no pod has. No pod of a cluster can be in it.
const strayNamespace = "(unknown)"

// carry sees to it that an address is in the lab: a pod of the node in whose
// pod block it is, else the host Internet, takes it on if no place has it.
func (l *Lab) carry(a netip.Addr) (*place, error) {
	a = a.Unmap()
	l.mu.RLock()
	p, ok := l.owners[a]
	l.mu.RUnlock()
	if ok {
		return p, nil
	}
	if err := checkAddr(a); err != nil {
		return nil, fmt.Errorf("lab: %w", err)
	}
	done, err := l.change()
	if err != nil {
		return nil, err
	}
	defer done()
	l.mu.RLock()
	p, ok = l.owners[a]
	h := l.hosts[Internet]
	l.mu.RUnlock()
	if ok {
		return p, nil
	}
	if n := l.inBlock(a); n != nil {
		s := Pod{Namespace: strayNamespace, Name: strings.ReplaceAll(a.String(), ":", "-"), Node: n.name, Addrs: []netip.Addr{a}}
		if err := l.addPod(s); err != nil {
			return nil, err
		}
		return l.at(s.Where())
	}
	if err := h.addAddr(a); err != nil {
		return nil, err
	}
	return h.place, nil
}

// dropAddr returns the list without an address, as a new list.
func dropAddr(list []netip.Addr, a netip.Addr) []netip.Addr {
	return slices.DeleteFunc(slices.Clone(list), func(b netip.Addr) bool { return a == b })
}
