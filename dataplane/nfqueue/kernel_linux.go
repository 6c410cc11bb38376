package nfqueue

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// maxLength is how many packets may wait, receiveBuffer how many bytes of them may wait
	// to be read; of what has no room more, packets go on at once.
	maxLength     = 16 << 10
	receiveBuffer = 16 << 20
	// atOnce is how many packets are handed over at a time at most, batchBuffer how many
	// bytes there are for them. A message is no larger than messageRoom.
	atOnce      = 64
	batchBuffer = 512 << 10
	messageRoom = copyRange + 512
)

func errno(code int32) error { return unix.Errno(code) }

// Kernel reads a queue of a network namespace. Only one reader in the namespace can
// have it. It needs CAP_NET_ADMIN.
type Kernel struct {
	queue  uint16
	file   *os.File
	conn   syscall.RawConn
	missed atomic.Uint64

	mu  sync.Mutex // of out
	out []byte
}

var _ Reader = (*Kernel)(nil)

// New returns a reader of a queue in the network namespace that the calling thread is
// in; it stays with it, whatever threads use it later. Nothing is bound before Run.
func New(queue uint16) (*Kernel, error) {
	k := &Kernel{queue: queue}
	if err := k.open(); err != nil {
		return nil, fmt.Errorf("nfqueue %d: %w", queue, err)
	}
	return k, nil
}

func (k *Kernel) open() error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_NETFILTER)
	if err != nil {
		return err
	}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		_ = unix.Close(fd)
		return err
	}
	_ = unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_CAP_ACK, 1)
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receiveBuffer) != nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, receiveBuffer) // as much as there is to be had
	}
	k.file = os.NewFile(uintptr(fd), "nfqueue")
	k.conn, err = k.file.SyscallConn()
	return err
}

// Close implements Reader. What waits still is lost.
func (k *Kernel) Close() error { return k.file.Close() }

// Missed implements Reader.
func (k *Kernel) Missed() uint64 { return k.missed.Load() }

// Run implements Reader. It fails with ErrTaken or ErrMissing if the queue cannot be had.
// After the context has ended the queue is the Reader's until Close.
func (k *Kernel) Run(ctx context.Context, bound func(), each func([]Packet)) error {
	if err := k.run(ctx, bound, each); err != nil && ctx.Err() == nil {
		_ = k.send(unbind(k.queue)) // so that it can be bound again
		return fmt.Errorf("nfqueue %d: %w", k.queue, err)
	}
	return nil
}

func (k *Kernel) run(ctx context.Context, bound func(), each func([]Packet)) error {
	if err := k.file.SetReadDeadline(time.Time{}); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = k.file.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	const firstSeq, asked = 1, 2
	if err := k.send(bind(k.queue, firstSeq, maxLength)); err != nil {
		return err
	}
	r := round{buf: make([]byte, batchBuffer)}
	for acked := 0; ; {
		if err := r.read(k.conn); err != nil {
			return err
		}
		if r.overrun {
			k.missed.Add(1)
		}
		for _, a := range r.acks {
			if a.seq < firstSeq || a.seq >= firstSeq+asked {
				continue // of a packet that does not wait any more
			}
			if a.err != nil {
				return explain(a.err)
			}
			if acked++; acked == asked && bound != nil {
				bound()
			}
		}
		if len(r.packets) > 0 {
			k.missed.Add(r.gaps())
			each(r.packets)
		}
	}
}

// round is what has come at a time.
type round struct {
	buf     []byte
	packets []Packet
	acks    []answer
	// overrun: the kernel has had no room for something.
	overrun bool
	last    uint32
	begun   bool
}

// read waits for messages, and takes those that are there.
func (r *round) read(conn syscall.RawConn) error {
	r.packets, r.acks, r.overrun = r.packets[:0], r.acks[:0], false
	at := 0
	var failed error
	err := conn.Read(func(fd uintptr) bool {
		for len(r.packets) < atOnce && len(r.buf)-at >= messageRoom {
			n, err := unix.Read(int(fd), r.buf[at:])
			switch {
			case errors.Is(err, unix.EINTR):
				continue
			case errors.Is(err, unix.ENOBUFS):
				r.overrun = true
				continue
			case errors.Is(err, unix.EAGAIN):
				return at > 0 || r.overrun
			case err != nil:
				failed = err
				return true
			}
			err = each(r.buf[at:at+n], func(a answer) {
				if a.isPacket {
					r.packets = append(r.packets, a.packet)
				} else {
					r.acks = append(r.acks, a)
				}
			})
			if err != nil {
				failed = err
				return true
			}
			at += aligned(n)
		}
		return true
	})
	return errors.Join(err, failed)
}

// gaps is how many numbers are missing before and between the packets. Numbers wrap around.
func (r *round) gaps() (missing uint64) {
	for i := range r.packets {
		id := r.packets[i].ID
		if gap := id - r.last - 1; r.begun && gap < 1<<31 {
			missing += uint64(gap)
		}
		r.last, r.begun = id, true
	}
	return missing
}

// Accept implements Reader.
func (k *Kernel) Accept(ids []uint32) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.out = accept(k.out[:0], k.queue, ids)
	if len(k.out) == 0 {
		return nil
	}
	if err := k.send(k.out); err != nil {
		return fmt.Errorf("nfqueue %d: accept: %w", k.queue, err)
	}
	return nil
}

func (k *Kernel) send(b []byte) error {
	var failed error
	err := k.conn.Write(func(fd uintptr) bool {
		_, failed = unix.Write(int(fd), b) // to the kernel, as the socket is connected to nobody
		return !errors.Is(failed, unix.EINTR) && !errors.Is(failed, unix.EAGAIN)
	})
	return errors.Join(err, failed)
}

// explain says what an error of binding means.
func explain(err error) error {
	switch {
	case errors.Is(err, os.ErrPermission) || errors.Is(err, unix.EBUSY):
		return fmt.Errorf("%w (%w)", ErrTaken, err)
	case errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EPROTONOSUPPORT):
		return fmt.Errorf("%w (%w)", ErrMissing, err)
	}
	return err
}
