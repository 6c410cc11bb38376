package links

import (
	"errors"
	"fmt"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/tierwall/tierwall/policy/model"
)

// answerTimeout bounds the wait for one answer of the kernel.
const answerTimeout = 10 * time.Second

// attempts at a listing during which nothing changes.
const attempts = 5

// Kernel is the Reader of a network namespace.
type Kernel struct {
	handle *netlink.Handle
	// strict is a socket of its own: the kernel looks closely at its requests.
	strict *nl.SocketHandle
	// generic reads WireGuard devices.
	generic *nl.SocketHandle
	events  *events
	seats   seats
	// blind: the kernel cannot list addresses of other namespaces.
	blind bool
}

var _ Reader = (*Kernel)(nil)

// New returns the Reader of the network namespace that the calling thread is in; it
// stays with it, whatever threads use it later. Its notifications begin now.
func New() (*Kernel, error) {
	k := &Kernel{}
	var err error
	if k.handle, err = netlink.NewHandle(unix.NETLINK_ROUTE, unix.NETLINK_GENERIC); err != nil {
		return nil, fmt.Errorf("open rtnetlink: %w", err)
	}
	err = errors.Join(k.handle.SetSocketTimeout(answerTimeout), open(&k.strict, unix.NETLINK_ROUTE), open(&k.generic, unix.NETLINK_GENERIC))
	if err != nil {
		k.Close()
		return nil, fmt.Errorf("open rtnetlink: %w", err)
	}
	k.blind = unix.SetsockoptInt(k.strict.Socket.GetFd(), unix.SOL_NETLINK, unix.NETLINK_GET_STRICT_CHK, 1) != nil
	if k.events, err = newEvents(); err != nil {
		k.Close()
		return nil, err
	}
	return k, nil
}

// open opens a socket in the network namespace of the calling thread.
func open(s **nl.SocketHandle, protocol int) error {
	opened, err := nl.GetNetlinkSocketAt(netns.None(), netns.None(), protocol)
	if err != nil {
		return err
	}
	*s = &nl.SocketHandle{Socket: opened}
	tv := unix.NsecToTimeval(answerTimeout.Nanoseconds())
	return errors.Join(opened.SetReceiveTimeout(&tv), opened.SetSendTimeout(&tv))
}

// Close frees the sockets. No other call may follow.
func (k *Kernel) Close() {
	k.handle.Close()
	for _, s := range []*nl.SocketHandle{k.strict, k.generic} {
		if s != nil {
			s.Close()
		}
	}
	if k.events != nil {
		k.events.close()
	}
}

// Read implements Reader.
func (k *Kernel) Read(pods Pods) (*model.Links, error) {
	var err error
	for range attempts {
		var out *model.Links
		if out, err = k.read(pods); !errors.Is(err, netlink.ErrDumpInterrupted) {
			return out, err
		}
	}
	return nil, err
}

func (k *Kernel) read(pods Pods) (*model.Links, error) {
	l, err := k.list()
	if err != nil {
		return nil, err
	}
	n := newNetwork(l)
	if ports := k.seats.wanted(n, pods); len(ports) > 0 {
		for _, p := range ports {
			l.inside = append(l.inside, k.inside(p)...)
		}
		if k.seats.missing(n, pods) {
			if err := k.listNeighbours(l, pods); err != nil {
				return nil, err
			}
		}
	}
	return k.seats.links(n, pods), nil
}
