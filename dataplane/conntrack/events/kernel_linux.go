package events

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"
	"strings"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// receiveBuffer holds the events that wait, in bytes of the kernel's memory: some
	// 15,000, of which each takes about 1 KB there.
	receiveBuffer = 16 << 20
	// batch messages are read by one call; eventSize is room for one. The kernel's
	// messages are a few hundred bytes long.
	batch, eventSize = 128, 2 << 10
	// dumpBuffer is room for one part of a dump.
	dumpBuffer = 64 << 10
	// dumpTimeout bounds the wait for a part of a dump, in seconds.
	dumpTimeout = 30

	groupNew     = 1 // NFNLGRP_CONNTRACK_NEW
	groupDestroy = 3 // NFNLGRP_CONNTRACK_DESTROY

	subsystem = 1 // NFNL_SUBSYS_CTNETLINK
	msgNew    = subsystem << 8
	msgGet    = subsystem<<8 | 1
	msgDelete = subsystem<<8 | 2
)

// Kernel reads the events of a network namespace.
type Kernel struct {
	socket int
	dump   int
	lost   atomic.Uint64
	event  Event // that Read is at
	listed Event // that Dump is at

	headers []mmsghdr
	vectors []unix.Iovec
	buffer  []byte // for batch events
	parts   []byte // of a dump; nil before the first
	sent    uint32 // dumps
}

var _ Reader = (*Kernel)(nil)

// mmsghdr is struct mmsghdr.
type mmsghdr struct {
	header unix.Msghdr
	length uint32
	_      [unsafe.Sizeof(uintptr(0)) - 4]byte
}

// New has the kernel make events for the network namespace that the calling thread is in;
// the Kernel stays with it, whatever threads use it later.
func New() (*Kernel, error) {
	k := &Kernel{socket: -1, dump: -1, headers: make([]mmsghdr, batch), vectors: make([]unix.Iovec, batch), buffer: make([]byte, batch*eventSize)}
	if err := k.open(); err != nil {
		return nil, errors.Join(fmt.Errorf("events of connection tracking: %w", err), k.Close())
	}
	for i := range k.headers {
		k.vectors[i].Base = &k.buffer[i*eventSize]
		k.vectors[i].SetLen(eventSize)
		k.headers[i].header.Iov = &k.vectors[i]
		k.headers[i].header.SetIovlen(1)
	}
	return k, nil
}

func (k *Kernel) open() (err error) {
	// The dump's first: what is opened last is what costs the kernel something.
	if k.dump, err = unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER); err != nil {
		return err
	}
	if err := unix.Bind(k.dump, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	if err := unix.SetsockoptTimeval(k.dump, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: dumpTimeout}); err != nil {
		return err
	}
	if k.socket, err = unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_NETFILTER); err != nil {
		return err
	}
	// A kernel that grants less than requested loses more, and counts it.
	if unix.SetsockoptInt(k.socket, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receiveBuffer) != nil {
		_ = unix.SetsockoptInt(k.socket, unix.SOL_SOCKET, unix.SO_RCVBUF, receiveBuffer)
	}
	return unix.Bind(k.socket, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: 1<<(groupNew-1) | 1<<(groupDestroy-1)})
}

// Close implements Reader.
func (k *Kernel) Close() error {
	var errs []error
	for _, fd := range []*int{&k.socket, &k.dump} {
		if *fd >= 0 {
			errs = append(errs, unix.Close(*fd))
			*fd = -1
		}
	}
	return errors.Join(errs...)
}

// Lost implements Reader.
func (k *Kernel) Lost() uint64 { return k.lost.Load() }

// Read implements Reader.
func (k *Kernel) Read(limit int, each func(*Event)) (drained bool, err error) {
	if limit <= 0 {
		limit = math.MaxInt
	}
	for limit > 0 {
		want := min(limit, batch)
		n, _, errno := unix.Syscall6(unix.SYS_RECVMMSG, uintptr(k.socket), uintptr(unsafe.Pointer(&k.headers[0])), uintptr(want), unix.MSG_DONTWAIT, 0, 0)
		switch {
		case errno == unix.EAGAIN:
			return true, nil
		case errno == unix.ENOBUFS:
			k.lost.Add(1)
			continue
		case errno == unix.EINTR:
			continue
		case errno != 0:
			return true, fmt.Errorf("events of connection tracking: %w", errno)
		}
		for i := range int(n) {
			if k.headers[i].header.Flags&unix.MSG_TRUNC != 0 {
				k.lost.Add(1)
				continue
			}
			k.messages(k.buffer[i*eventSize:i*eventSize+int(k.headers[i].length)], each)
		}
		limit -= int(n)
		if int(n) < want {
			// The socket was empty, or an error waits that the next call shows.
			continue
		}
	}
	return false, nil
}

// messages reads the messages of one datagram of events.
func (k *Kernel) messages(b []byte, each func(*Event)) {
	for len(b) >= unix.SizeofNlMsghdr {
		n := int(binary.NativeEndian.Uint32(b))
		if n < unix.SizeofNlMsghdr || n > len(b) {
			break
		}
		switch binary.NativeEndian.Uint16(b[4:]) {
		case msgNew:
			k.event.Kind = Began
		case msgDelete:
			k.event.Kind = Ended
		default:
			b = b[min((n+3)&^3, len(b)):]
			continue
		}
		if parse(b[unix.SizeofNlMsghdr:n], &k.event) == nil {
			each(&k.event)
		} else {
			k.lost.Add(1)
		}
		b = b[min((n+3)&^3, len(b)):]
	}
}

// Dump implements Reader.
func (k *Kernel) Dump(each func(*Event)) error {
	if err := k.dumpAll(each); err != nil {
		return fmt.Errorf("dump of tracked connections: %w", err)
	}
	return nil
}

func (k *Kernel) dumpAll(each func(*Event)) error {
	if k.parts == nil {
		k.parts = make([]byte, dumpBuffer)
	}
	k.sent++
	request := binary.NativeEndian.AppendUint32(nil, unix.SizeofNlMsghdr+nfgenHeader)
	request = binary.NativeEndian.AppendUint16(request, msgGet)
	request = binary.NativeEndian.AppendUint16(request, unix.NLM_F_REQUEST|unix.NLM_F_DUMP)
	request = binary.NativeEndian.AppendUint32(request, k.sent)
	request = binary.NativeEndian.AppendUint32(request, 0)
	request = append(request, unix.AF_UNSPEC, unix.NFNETLINK_V0, 0, 0)
	if err := unix.Sendto(k.dump, request, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	k.listed.Kind = Listed
	for {
		n, _, err := unix.Recvfrom(k.dump, k.parts, 0)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return err
		}
		done, err := k.part(k.parts[:n], each)
		if done || err != nil {
			return err
		}
	}
}

// part reads a part of a dump, and reports whether it is the last one.
func (k *Kernel) part(b []byte, each func(*Event)) (done bool, err error) {
	for len(b) >= unix.SizeofNlMsghdr {
		n := int(binary.NativeEndian.Uint32(b))
		if n < unix.SizeofNlMsghdr || n > len(b) {
			return false, errShort
		}
		data := b[unix.SizeofNlMsghdr:n]
		ours := binary.NativeEndian.Uint32(b[8:]) == k.sent
		switch kind := binary.NativeEndian.Uint16(b[4:]); {
		case !ours: // of a dump that has failed
		case kind == unix.NLMSG_DONE:
			return true, nil
		case kind == unix.NLMSG_ERROR:
			if len(data) < 4 {
				return false, errShort
			}
			return true, unix.Errno(-int32(binary.NativeEndian.Uint32(data)))
		case kind == msgNew:
			if parse(data, &k.listed) == nil {
				each(&k.listed)
			}
		}
		b = b[min((n+3)&^3, len(b)):]
	}
	return false, nil
}

// Counts reports whether the kernel counts the packets and bytes of new connections in the
// network namespace of the calling thread.
func Counts() (bool, error) {
	b, err := os.ReadFile("/proc/sys/net/netfilter/nf_conntrack_acct")
	if err != nil {
		return false, fmt.Errorf("whether the kernel counts the bytes of connections: %w", err)
	}
	return strings.TrimSpace(string(b)) == "1", nil
}
