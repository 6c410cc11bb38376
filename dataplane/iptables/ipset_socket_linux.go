package iptables

import (
	"encoding/binary"
	"errors"
	"fmt"
	"syscall"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// setSocket changes elements of sets over one socket that stays open: to open and close one
// for each change takes longer than most changes. It belongs to the network namespace of the
// thread that has used it first. Its zero value is ready. Not safe for concurrent use.
type setSocket struct {
	fd   int
	open bool
	seq  uint32
	buf  [4096]byte // answers are short: with NETLINK_CAP_ACK they do not repeat the request
}

// execute makes a change, of which the kernel's answer is an acknowledgement or an error.
// It opens the socket anew after an error of the socket's.
func (s *setSocket) execute(r *nl.NetlinkRequest) error {
	if !s.open {
		if err := s.connect(); err != nil {
			return fmt.Errorf("netlink socket: %w", err)
		}
	}
	err := s.ask(r)
	if broken := (socketError{}); errors.As(err, &broken) {
		_ = s.close()
	}
	return err
}

func (s *setSocket) connect() error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
	if err != nil {
		return err
	}
	_ = unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_CAP_ACK, 1)
	// The kernel answers before the call that sends returns; this is for a kernel that does not.
	_ = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 30})
	if err := unix.Connect(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return errors.Join(err, unix.Close(fd))
	}
	s.fd, s.open = fd, true
	return nil
}

// socketError is an error after which it is not known what the socket will say next.
type socketError struct{ error }

// Unwrap implements errors.Unwrap.
func (e socketError) Unwrap() error { return e.error }

func (s *setSocket) ask(r *nl.NetlinkRequest) error {
	s.seq++
	r.Seq = s.seq
	if err := retried(func() error { _, err := unix.Write(s.fd, r.Serialize()); return err }); err != nil {
		return socketError{fmt.Errorf("request: %w", err)}
	}
	for {
		var n int
		if err := retried(func() (err error) { n, err = unix.Read(s.fd, s.buf[:]); return err }); err != nil {
			return socketError{fmt.Errorf("answer: %w", err)}
		}
		if n < unix.NLMSG_HDRLEN+4 || binary.NativeEndian.Uint16(s.buf[4:]) != unix.NLMSG_ERROR || binary.NativeEndian.Uint32(s.buf[8:]) != s.seq {
			continue
		}
		code := syscall.Errno(-int32(binary.NativeEndian.Uint32(s.buf[unix.NLMSG_HDRLEN:])))
		switch {
		case code == 0:
			return nil
		case code >= nl.IPSET_ERR_PRIVATE:
			return nl.IPSetError(code)
		}
		return code
	}
}

// retried calls a system call until no signal interrupts it.
func retried(call func() error) error {
	for {
		if err := call(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// close closes the socket. It may be used again.
func (s *setSocket) close() error {
	if !s.open {
		return nil
	}
	s.open = false
	return unix.Close(s.fd)
}
