package conntrack

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Kernel is the table of a network namespace. Safe for concurrent use, one call
// after the other.
type Kernel struct {
	socket *nl.NetlinkSocket
	handle map[int]*nl.SocketHandle
}

// answerTimeout bounds the wait for one answer of the kernel.
const answerTimeout = 30 * time.Second

// New opens the table of the network namespace that the calling thread is in;
// the Table stays with it, whatever threads use it later.
func New() (*Kernel, error) {
	s, err := nl.GetNetlinkSocketAt(netns.None(), netns.None(), unix.NETLINK_NETFILTER)
	if err != nil {
		return nil, fmt.Errorf("open connection tracking: %w", err)
	}
	tv := unix.NsecToTimeval(answerTimeout.Nanoseconds())
	if err := errors.Join(s.SetSendTimeout(&tv), s.SetReceiveTimeout(&tv)); err != nil {
		s.Close()
		return nil, fmt.Errorf("open connection tracking: %w", err)
	}
	return &Kernel{socket: s, handle: map[int]*nl.SocketHandle{unix.NETLINK_NETFILTER: {Socket: s}}}, nil
}

// Close frees the socket. No other call may follow.
func (k *Kernel) Close() { k.socket.Close() }

func (k *Kernel) request(family, op, flags int) *nl.NetlinkRequest {
	req := nl.NewNetlinkRequest(unix.NFNL_SUBSYS_CTNETLINK<<8|op, flags)
	req.Sockets = k.handle
	req.AddData(&nl.Nfgenmsg{NfgenFamily: uint8(family), Version: nl.NFNETLINK_V0})
	return req
}

// List implements Table. Both families come in one walk: the kernel looks at
// every bucket of its table in each, which on a node of few connections is most
// of the work.
func (k *Kernel) List(ctx context.Context, visit func(*Entry) bool) error {
	var bad error
	on := true
	err := k.request(unix.AF_UNSPEC, nl.IPCTNL_MSG_CT_GET, unix.NLM_F_DUMP).ExecuteIter(unix.NETLINK_NETFILTER, 0, func(msg []byte) bool {
		if !on || ctx.Err() != nil {
			return false
		}
		e, err := parseEntry(msg)
		if err != nil {
			bad = err
			return true
		}
		on = visit(e)
		return on
	})
	return errors.Join(err, bad, ctx.Err())
}

// Delete implements Table.
func (k *Kernel) Delete(_ context.Context, e *Entry) (bool, error) {
	if len(e.key) == 0 {
		return false, errors.New("entry is not from this table")
	}
	family := unix.AF_INET
	if e.Original.Src.Is6() {
		family = unix.AF_INET6
	}
	req := k.request(family, nl.IPCTNL_MSG_CT_DELETE, unix.NLM_F_ACK)
	req.AddRawData(e.key)
	_, err := req.Execute(unix.NETLINK_NETFILTER, 0)
	if errors.Is(err, unix.ENOENT) {
		return false, nil
	}
	return err == nil, err
}

// Usage implements Meter. It waits for a List that is under way.
func (k *Kernel) Usage() (Usage, error) {
	var u Usage
	for _, q := range []struct {
		op, flags int
		ofCPU     bool
	}{
		{ctGetStats, unix.NLM_F_ACK, false}, // the answer claims that more follows, and only this does
		{ctGetStatsCPU, unix.NLM_F_DUMP, true},
	} {
		messages, err := k.request(unix.AF_UNSPEC, q.op, q.flags).Execute(unix.NETLINK_NETFILTER, 0)
		if err != nil {
			return Usage{}, fmt.Errorf("statistics of connection tracking: %w", err)
		}
		for _, m := range messages {
			if err := u.add(m, q.ofCPU); err != nil {
				return Usage{}, fmt.Errorf("statistics of connection tracking: %w", err)
			}
		}
	}
	return u, nil
}

// Requests of nfnetlink_conntrack that the netlink package has no names for.
const (
	ctGetStatsCPU = 4
	ctGetStats    = 5
)
