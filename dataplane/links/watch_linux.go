package links

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

const (
	headerSize    = 16      // of a netlink message
	receiveBuffer = 4 << 20 // bytes
)

// events are the kernel's notifications of links, addresses and routes.
type events struct {
	file *os.File
	buf  []byte
}

// newEvents listens in the network namespace of the calling thread.
func newEvents() (*events, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("watch links: %w", err)
	}
	err = unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
	for _, group := range []int{
		unix.RTNLGRP_LINK, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR, unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV6_ROUTE,
	} {
		err = errors.Join(err, unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_ADD_MEMBERSHIP, group))
	}
	if err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("watch links: %w", err)
	}
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receiveBuffer) != nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, receiveBuffer) // as much as there is to be had
	}
	return &events{file: os.NewFile(uintptr(fd), "rtnetlink"), buf: make([]byte, 64<<10)}, nil
}

func (e *events) close() { _ = e.file.Close() }

// Watch implements Reader. It may be called once.
func (k *Kernel) Watch(ctx context.Context, changed func()) error {
	stop := context.AfterFunc(ctx, k.events.close)
	defer stop()
	conn, err := k.events.file.SyscallConn()
	for err == nil {
		news := false
		err = conn.Read(func(fd uintptr) bool {
			var any bool
			any, news = k.events.drain(int(fd))
			return any
		})
		if err == nil && news {
			changed()
		}
	}
	if ctx.Err() != nil {
		return nil
	}
	return fmt.Errorf("watch links: %w", err)
}

// drain reads all that is queued. It reports whether there was anything, and
// whether something of it is news.
func (e *events) drain(fd int) (any, news bool) {
	for {
		n, _, err := unix.Recvfrom(fd, e.buf, unix.MSG_DONTWAIT)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.ENOBUFS):
			any, news = true, true // some are lost
		case err != nil || n == 0:
			return any, news
		default:
			any = true
			news = news || matters(e.buf[:n])
		}
	}
}

// matters reports whether a batch of messages is of something that Links show.
func matters(b []byte) bool {
	for len(b) >= headerSize {
		n := int(binary.NativeEndian.Uint32(b))
		if n < headerSize || n > len(b) {
			return true // cannot be understood
		}
		switch binary.NativeEndian.Uint16(b[4:]) {
		case unix.RTM_NEWLINK, unix.RTM_DELLINK, unix.RTM_NEWADDR, unix.RTM_DELADDR:
			return true
		case unix.RTM_NEWROUTE, unix.RTM_DELROUTE:
			if routeMatters(b[headerSize:n]) {
				return true
			}
		}
		b = b[min((n+3)&^3, len(b)):]
	}
	return false
}

// routeMatters reports whether a route is of a table that is read. Tables above 255
// show as RT_TABLE_UNSPEC or RT_TABLE_COMPAT in the header.
func routeMatters(m []byte) bool {
	if len(m) < unix.SizeofRtMsg {
		return true
	}
	table, kind, flags := m[4], m[7], binary.NativeEndian.Uint32(m[8:])
	if flags&unix.RTM_F_CLONED != 0 {
		return false
	}
	switch table {
	case unix.RT_TABLE_MAIN:
		return kind == unix.RTN_UNICAST
	case unix.RT_TABLE_LOCAL:
		return kind == unix.RTN_LOCAL
	}
	return false
}
