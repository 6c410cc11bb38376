package nft

import (
	"encoding/binary"
	"errors"
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"
)

// socket speaks nfnetlink with the kernel: transactions and lists.
//
// It stays open: whenever a socket of this kind is closed the kernel waits for
// all that was deleted to be freed, which takes it some milliseconds.
type socket struct {
	fd  int
	buf []byte
	seq uint32
	// room is how large a transaction may be, in bytes.
	room int
}

// wantedRoom is enough for a node of several hundred thousand elements at once.
const wantedRoom = 256 << 20

// openSocket opens a socket in the calling thread's network namespace.
func openSocket() (*socket, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
	if err != nil {
		return nil, fmt.Errorf("netlink socket: %w", err)
	}
	s := &socket{fd: fd, buf: make([]byte, 256<<10)}
	// Short error messages, with the kernel's own words where it has some.
	_ = unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_CAP_ACK, 1)
	_ = unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_EXT_ACK, 1)
	// Without the privilege to go beyond it the limit of the system holds.
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, wantedRoom) != nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, wantedRoom)
	}
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 8<<20) != nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 8<<20)
	}
	// The kernel answers before the call that sends returns; this is for a kernel that does not.
	_ = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 30})
	if s.room, err = unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF); err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("netlink socket: %w", err)
	}
	s.room -= 1 << 10 // the kernel's own part
	return s, nil
}

func (s *socket) Close() error { return unix.Close(s.fd) }

// errTooLarge is a transaction that the socket has no room for.
var errTooLarge = errors.New("the transaction is larger than the socket takes")

// commit sends a transaction and returns the kernel's first objection, in which
// case nothing of it has happened.
func (s *socket) commit(b *batch) error {
	if len(b.buf) > s.room {
		return fmt.Errorf("%w: %d bytes of %d", errTooLarge, len(b.buf), s.room)
	}
	base := s.number(b)
	if err := s.send(b.buf); err != nil {
		return err
	}
	last := uint32(b.messages() - 1) // of messages that change something
	var first error
	for {
		n, err := s.receive()
		if err != nil {
			return errors.Join(first, fmt.Errorf("the kernel's answer: %w", err))
		}
		answers, err := syscall.ParseNetlinkMessage(s.buf[:n])
		if err != nil {
			return errors.Join(first, err)
		}
		for _, a := range answers {
			at := a.Header.Seq - base
			if a.Header.Type != unix.NLMSG_ERROR || len(a.Data) < 4 || int(at) >= len(b.said) {
				continue // of what was given up
			}
			code := -int32(binary.NativeEndian.Uint32(a.Data))
			if code != 0 && first == nil {
				first = refusal(b.said[at], unix.Errno(code), a.Header.Flags, a.Data)
			}
			if at == last {
				return first
			}
		}
	}
}

// number gives a batch's messages numbers that no earlier one had, and returns the first.
func (s *socket) number(b *batch) uint32 {
	base := s.seq + 1
	for at := 0; at < len(b.buf); {
		head := b.buf[at:]
		binary.NativeEndian.PutUint32(head[8:], binary.NativeEndian.Uint32(head[8:])+base)
		at += int(binary.NativeEndian.Uint32(head))
	}
	s.seq += b.seq
	return base
}

// refusal names what the kernel has refused, with its own words if it has any.
func refusal(what saying, code unix.Errno, flags uint16, data []byte) error {
	err := fmt.Errorf("%s %s: %w", what.what, what.name, code)
	if what.what == "begin" {
		err = fmt.Errorf("the transaction as a whole: %w", code)
	}
	const ackTLVs, text = 0x200, 1 // NLM_F_ACK_TLVS, NLMSGERR_ATTR_MSG
	if flags&ackTLVs == 0 || len(data) < 4+unix.NLMSG_HDRLEN {
		return err
	}
	words := ""
	_ = nested(data[4+unix.NLMSG_HDRLEN:], func(kind uint16, v []byte) error {
		if kind == text && len(v) > 1 {
			words = string(v[:len(v)-1])
		}
		return nil
	})
	if words == "" {
		return err
	}
	return fmt.Errorf("%w (%s)", err, words)
}

func (s *socket) send(b []byte) error {
	for {
		err := unix.Sendto(s.fd, b, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

func (s *socket) receive() (int, error) {
	for {
		n, _, err := unix.Recvfrom(s.fd, s.buf, 0)
		if !errors.Is(err, unix.EINTR) {
			return n, err
		}
	}
}

// errInterrupted is a list that changed while it was read.
var ErrInterrupted = errors.New("the list changed while it was read")

// list asks for a list and hands each answer's attributes to f. The kernel
// begins a list from the front again for each piece that it hands out, and makes
// the pieces as large as what the reader has room for. A list that has changed while
// it was read is read to its end all the same: the kernel takes no other request before.
func (s *socket) list(t *Table, request uint16, ask func(*batch), f func(attrs []byte) error) error {
	b := &batch{table: t}
	b.message(request, unix.NLM_F_DUMP, saying{})
	ask(b)
	b.finish()
	seq := s.number(b)
	if err := s.send(b.buf); err != nil {
		return err
	}
	interrupted := error(nil)
	for {
		n, err := s.receive()
		if err != nil {
			return err
		}
		for rest := s.buf[:n]; len(rest) >= unix.NLMSG_HDRLEN; {
			size := int(binary.NativeEndian.Uint32(rest))
			if size < unix.NLMSG_HDRLEN || size > len(rest) {
				return unix.EBADMSG
			}
			done, err := answer(rest[:size], seq, f)
			if errors.Is(err, ErrInterrupted) {
				interrupted, err = err, nil
			}
			if err != nil {
				return err
			}
			if done {
				return interrupted
			}
			rest = rest[min((size+3)&^3, len(rest)):]
		}
	}
}

// answer takes one message of a list.
func answer(msg []byte, seq uint32, f func(attrs []byte) error) (done bool, err error) {
	kind, flags := binary.NativeEndian.Uint16(msg[4:]), binary.NativeEndian.Uint16(msg[6:])
	data := msg[unix.NLMSG_HDRLEN:]
	if binary.NativeEndian.Uint32(msg[8:]) != seq { // of a list that was given up
		return false, nil
	}
	if flags&unix.NLM_F_DUMP_INTR != 0 {
		defer func() {
			if err == nil {
				err = ErrInterrupted
			}
		}()
	}
	switch {
	case kind == unix.NLMSG_DONE:
		return true, nil
	case kind == unix.NLMSG_ERROR:
		if len(data) < 4 {
			return true, unix.EBADMSG
		}
		if code := int32(binary.NativeEndian.Uint32(data)); code != 0 {
			return true, unix.Errno(-code)
		}
		return true, nil
	case len(data) >= 4:
		return false, f(data[4:])
	}
	return false, nil
}

// nested hands over the attributes in b.
func nested(b []byte, f func(kind uint16, data []byte) error) error {
	const mask = ^uint16(unix.NLA_F_NESTED | unix.NLA_F_NET_BYTEORDER)
	for len(b) >= unix.NLA_HDRLEN {
		n := int(binary.NativeEndian.Uint16(b))
		if n < unix.NLA_HDRLEN || n > len(b) {
			return unix.EBADMSG
		}
		if err := f(binary.NativeEndian.Uint16(b[2:])&mask, b[unix.NLA_HDRLEN:n]); err != nil {
			return err
		}
		b = b[min((n+3)&^3, len(b)):]
	}
	return nil
}
