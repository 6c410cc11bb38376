package nfqueue

import (
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/tierwall/tierwall/dataplane"
)

// Switch keeps answers waiting (dataplane.Answers) from a network namespace. It needs
// CAP_NET_ADMIN, for marks. Safe for concurrent use.
type Switch struct{ fds []int }

// NewSwitch returns a Switch of the network namespace that the calling thread is in.
func NewSwitch() (*Switch, error) {
	s := &Switch{}
	for _, c := range []struct {
		to   netip.Addr
		mark int
	}{
		{netip.AddrFrom4([4]byte{127, 0, 0, 1}), dataplane.HoldMark},
		{netip.AddrFrom4([4]byte{127, 0, 0, 1}), dataplane.ReleaseMark},
		{netip.IPv6Loopback(), dataplane.HoldMark},
		{netip.IPv6Loopback(), dataplane.ReleaseMark},
	} {
		fd, err := marked(c.to, c.mark)
		if err != nil {
			if c.to.Is6() { // a host may have no IPv6
				fd = -1
			} else {
				_ = s.Close()
				return nil, fmt.Errorf("switch of waiting answers: %w", err)
			}
		}
		s.fds = append(s.fds, fd)
	}
	return s, nil
}

// marked opens a socket of which all that is sent bears a mark.
func marked(to netip.Addr, mark int) (int, error) {
	family, at := unix.AF_INET, unix.Sockaddr(&unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}, Port: dataplane.AnswerPort})
	if to.Is6() {
		family, at = unix.AF_INET6, &unix.SockaddrInet6{Addr: to.As16(), Port: dataplane.AnswerPort}
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return -1, err
	}
	err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MARK, mark)
	if err == nil {
		err = unix.Connect(fd, at)
	}
	if err != nil {
		return -1, errors.Join(err, unix.Close(fd))
	}
	return fd, nil
}

// Renew has answers wait for dataplane.HoldTime from now on. It reports whether there are
// rules that do so in each family that the host has: they take the datagram, and the kernel
// says so. While rules come, those of one family may be there before those of the other.
func (s *Switch) Renew() bool { return s.send(0, 2) }

// Release ends it. It reports what Renew does.
func (s *Switch) Release() bool { return s.send(1, 3) }

func (s *Switch) send(which ...int) (taken bool) {
	taken = true
	for _, i := range which {
		if fd := s.fds[i]; fd >= 0 {
			err := unix.Sendto(fd, []byte{0}, unix.MSG_DONTWAIT, nil)
			if errors.Is(err, unix.ECONNREFUSED) { // what came of the datagram before
				err = unix.Sendto(fd, []byte{0}, unix.MSG_DONTWAIT, nil)
			}
			taken = taken && errors.Is(err, unix.EPERM)
		}
	}
	return taken
}

// Close gives up the sockets. Answers go on to wait for as long as the switch says.
func (s *Switch) Close() error {
	var errs []error
	for i, fd := range s.fds {
		if fd >= 0 {
			errs = append(errs, unix.Close(fd))
			s.fds[i] = -1
		}
	}
	return errors.Join(errs...)
}
