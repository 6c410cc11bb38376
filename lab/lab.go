//go:build linux

package lab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"sync"

	"github.com/tierwall/tierwall/policy/model"
)

// Lab is a running world. All methods may be called at the same time.
type Lab struct {
	network Network
	wire    *place
	cpus    *cpus
	starter *starter
	pending pending
	planned map[netip.Addr]bool // the addresses of the spec; fixed

	// changes serializes what changes the topology.
	changes sync.Mutex

	// mu guards what follows; the objects behind the pointers have locks of
	// their own or change under changes only.
	mu       sync.RWMutex
	closed   bool
	nodes    map[string]*node
	hosts    map[string]*host
	pods     map[string]*pod
	owners   map[netip.Addr]*place // the place that has an address
	services []Service
	overlay  *overlay // nil: none
	streams  map[*Stream]struct{}

	numbers numbers
}

var errClosed = errors.New("lab: it is closed")

// New builds a lab. It is up when New returns: no packet is lost for a reason
// of its own. The caller closes it. On an error nothing is left.
func New(ctx context.Context, s Spec) (*Lab, error) {
	if err := s.check(); err != nil {
		return nil, fmt.Errorf("lab: %w", err)
	}
	l := &Lab{
		network: s.Network,
		nodes:   map[string]*node{}, hosts: map[string]*host{}, pods: map[string]*pod{},
		owners:  map[netip.Addr]*place{},
		streams: map[*Stream]struct{}{},
		planned: map[netip.Addr]bool{},
	}
	for _, p := range s.Pods {
		for _, a := range p.Addrs {
			l.planned[a] = true
		}
	}
	if err := l.build(ctx, s); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

func (l *Lab) build(ctx context.Context, s Spec) error {
	var err error
	if l.wire, err = newPlace(Wire, forwards); err != nil {
		return err
	}
	if err := l.wire.blackhole(); err != nil {
		return err
	}
	if l.cpus, err = startCPUs(l.wire); err != nil {
		return err
	}
	l.starter = newStarter()
	if !slices.ContainsFunc(s.Outside, func(h Host) bool { return h.Name == Internet }) {
		s.Outside = append(slices.Clone(s.Outside), Host{Name: Internet})
	}
	if err := each(ctx, s.Nodes, l.addNode); err != nil {
		return err
	}
	if err := each(ctx, s.Outside, l.addHost); err != nil {
		return err
	}
	return each(ctx, s.Pods, l.addPod)
}

// each calls a function for each item, some at a time, and stops at an error.
func each[T any](ctx context.Context, items []T, f func(T) error) error {
	var (
		wg    sync.WaitGroup
		mu    sync.Mutex
		first error
	)
	slots := make(chan struct{}, 8)
	for _, item := range items {
		slots <- struct{}{}
		mu.Lock()
		if first == nil {
			first = ctx.Err()
		}
		stop := first != nil
		mu.Unlock()
		if stop {
			break
		}
		wg.Go(func() {
			defer func() { <-slots }()
			if err := f(item); err != nil {
				mu.Lock()
				first = errors.Join(first, err)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return first
}

// Close takes everything down: streams, children that still run, namespaces. It
// may be called more than once. The kernel frees the namespaces a moment later.
func (l *Lab) Close() error {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return nil
	}
	l.closed = true
	streams := l.streams
	l.streams = nil
	l.mu.Unlock()
	for s := range streams {
		s.stop()
	}
	if l.starter != nil {
		l.starter.close()
	}
	if l.cpus != nil {
		l.cpus.close()
	}
	l.changes.Lock()
	defer l.changes.Unlock()
	for _, p := range l.places() {
		p.close()
	}
	if l.wire != nil {
		l.wire.close()
	}
	return nil
}

// places lists all namespaces but the wire.
func (l *Lab) places() []*place {
	l.mu.RLock()
	defer l.mu.RUnlock()
	var out []*place
	for _, n := range l.nodes {
		out = append(out, n.place)
	}
	for _, h := range l.hosts {
		out = append(out, h.place)
	}
	for _, p := range l.pods {
		if !p.spec.HostNetwork {
			out = append(out, p.place)
		}
	}
	return out
}

// at returns the namespace of a node, pod (namespace/name) or host.
func (l *Lab) at(where string) (*place, error) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if l.closed {
		return nil, errClosed
	}
	if where == Wire {
		return l.wire, nil
	}
	if n, ok := l.nodes[where]; ok {
		return n.place, nil
	}
	if p, ok := l.pods[where]; ok {
		return p.place, nil
	}
	if h, ok := l.hosts[where]; ok {
		return h.place, nil
	}
	return nil, fmt.Errorf("lab: there is no node, pod or host %q", where)
}

// Do runs a function on a thread inside the namespace of a node, a pod
// (namespace/name) or a host. What the function opens (sockets, netlink) stays
// in that namespace. Goroutines that it starts do not run there.
func (l *Lab) Do(where string, f func() error) error {
	p, err := l.at(where)
	if err != nil {
		return err
	}
	return p.ns.do(f)
}

// Netns is the namespace of a node, pod or host as a file, for callers that
// enter it themselves. It belongs to the lab: do not close it. It keeps the
// namespace alive in a child that inherits it.
func (l *Lab) Netns(where string) (*os.File, error) {
	p, err := l.at(where)
	if err != nil {
		return nil, err
	}
	return p.ns.file, nil
}

// Path names a namespace for people and tools while this process runs, as in
// nsenter --net=PATH. In a user namespace, nsenter needs that of this process
// too (nsenter --user --target PID).
func (l *Lab) Path(where string) (string, error) {
	f, err := l.Netns(where)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), f.Fd()), nil
}

// Owner returns the name of the node, pod (namespace/name) or host that has an address.
// For a node's address that is the node, never a host-network pod.
func (l *Lab) Owner(a netip.Addr) (where string, ok bool) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	p, ok := l.owners[a.Unmap()]
	if !ok {
		return "", false
	}
	return p.name, true
}

// setOwner records the place that has an address; nil: none.
func (l *Lab) setOwner(a netip.Addr, p *place) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if p == nil {
		delete(l.owners, a)
	} else {
		l.owners[a] = p
	}
}

// Wheres lists the names of all nodes, hosts and pods, sorted in each group.
func (l *Lab) Wheres() (nodes, hosts, pods []string) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	for n := range l.nodes {
		nodes = append(nodes, n)
	}
	for h := range l.hosts {
		hosts = append(hosts, h)
	}
	for p := range l.pods {
		pods = append(pods, p)
	}
	slices.Sort(nodes)
	slices.Sort(hosts)
	slices.Sort(pods)
	return nodes, hosts, pods
}

// numbers hands out what must be unique in a lab.
type numbers struct {
	mu   sync.Mutex
	link uint32
	port map[portsOf]uint16
}

type portsOf struct {
	src      netip.Addr
	protocol model.Protocol
}

// nextLink numbers veth pairs: for link addresses and interface names.
func (n *numbers) nextLink() uint32 {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.link++
	return n.link
}

// The source ports of probes that name none. Ephemeral ports of the kernel and
// ports of streams are elsewhere.
const firstPort, lastPort = 10000, 32000

func (n *numbers) nextPort(src netip.Addr, p model.Protocol) uint16 {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.port == nil {
		n.port = map[portsOf]uint16{}
	}
	k := portsOf{src, p}
	if n.port[k] < firstPort || n.port[k] >= lastPort {
		n.port[k] = firstPort
	}
	n.port[k]++
	return n.port[k]
}
