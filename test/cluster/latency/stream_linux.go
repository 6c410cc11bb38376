package latency

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Interval between the flows of a Stream.
const Interval = 500 * time.Microsecond

// Protocol of a Stream.
type Protocol string

// UDP sends a packet a flow, TCP makes a connection.
const (
	UDP Protocol = "UDP"
	TCP Protocol = "TCP"
)

// End is where a Stream begins or ends.
type End struct {
	// Netns is the path of the network namespace, such as /proc/17/ns/net.
	Netns string
	Addr  netip.Addr
}

// flow is one attempt. Times are those of now; zero: it has not got through.
type flow struct{ sent, through time.Duration }

// Stream opens new flows from one end to the other while it is on. See Open.
type Stream struct {
	protocol Protocol
	to       netip.AddrPort
	on       atomic.Bool
	over     chan struct{} // closed by Close
	work     sync.WaitGroup
	closers  []func()
	// limit of a wait; zero: roundLimit. polled is called before each look, for
	// tests; nil: nothing is.
	limit  time.Duration
	polled func()

	mu    sync.Mutex
	base  uint64 // number of flows[0]
	flows []flow
	err   error // of the sender, the first
}

// Open makes a Stream, which is off. The caller closes it.
func Open(p Protocol, from, to End, port uint16) (*Stream, error) {
	s := &Stream{protocol: p, to: netip.AddrPortFrom(to.Addr, port), over: make(chan struct{})}
	if err := in(to.Netns, func() error { return s.listen() }); err != nil {
		s.Close()
		return nil, err
	}
	ready := make(chan error, 1)
	s.work.Go(func() {
		err := in(from.Netns, func() error {
			ready <- nil
			if p == TCP {
				s.connect()
			} else {
				s.send()
			}
			return nil
		})
		if err != nil {
			ready <- err
		}
	})
	if err := <-ready; err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// Close ends the stream.
func (s *Stream) Close() {
	close(s.over)
	for _, c := range s.closers {
		c()
	}
	s.work.Wait()
}

// listen opens the receiver, on a thread in its namespace.
func (s *Stream) listen() error {
	var lc net.ListenConfig
	if s.protocol == TCP {
		l, err := lc.Listen(context.Background(), "tcp", s.to.String())
		if err != nil {
			return fmt.Errorf("receiver: %w", err)
		}
		s.closers = append(s.closers, func() { _ = l.Close() })
		s.work.Go(func() { accept(l) })
		return nil
	}
	p, err := lc.ListenPacket(context.Background(), "udp", s.to.String())
	if err != nil {
		return fmt.Errorf("receiver: %w", err)
	}
	u, ok := p.(*net.UDPConn)
	if !ok {
		return errors.New("receiver: no UDP socket")
	}
	_ = u.SetReadBuffer(1 << 20) // a default that is smaller does too
	s.closers = append(s.closers, func() { _ = u.Close() })
	s.work.Go(func() { s.receive(u) })
	return nil
}

// accept takes connections, and leaves it to the sender to end them, by a reset.
// Of a connection that the receiver has reset the kernel keeps its entry for
// some seconds, and would take a new connection from the same source port for a
// part of it, which no policy is asked about.
func accept(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			_ = c.SetReadDeadline(time.Now().Add(10 * patience))
			_, _ = c.Read(make([]byte, 1))
			_ = c.Close()
		}()
	}
}

// receive notes which packets arrive.
func (s *Stream) receive(u *net.UDPConn) {
	b := make([]byte, 64)
	for {
		n, _, err := u.ReadFromUDPAddrPort(b)
		if err != nil {
			return
		}
		if n == 8 {
			s.arrived(binary.BigEndian.Uint64(b), now())
		}
	}
}

func (s *Stream) arrived(number uint64, at time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := number - s.base; number >= s.base && i < uint64(len(s.flows)) && s.flows[i].through == 0 {
		s.flows[i].through = at
	}
}

// begin notes a flow that is about to be sent.
func (s *Stream) begin() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.flows = append(s.flows, flow{sent: now()})
	return s.base + uint64(len(s.flows)) - 1
}

func (s *Stream) failed(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		s.err = err
	}
}

// ticks calls f each Interval while the stream is on, and idle while it is not,
// until the stream is closed.
func (s *Stream) ticks(f, idle func()) {
	next := now()
	for {
		select {
		case <-s.over:
			idle()
			return
		default:
		}
		if s.on.Load() {
			f()
		} else {
			idle()
		}
		// What was missed is not made up for.
		next = max(next+Interval, now())
		pause(next - now())
	}
}

// send sends packets, on a thread in the sender's namespace: each from a socket
// of its own, so that the kernel gives each a source port and takes each for new.
func (s *Stream) send() {
	to, family := sockaddr(s.to)
	b := make([]byte, 8)
	s.ticks(func() {
		fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			s.failed(err)
			return
		}
		defer func() { _ = unix.Close(fd) }()
		binary.BigEndian.PutUint64(b, s.begin())
		// A packet that a rule drops on its way out is an error of no interest.
		if err := unix.Sendto(fd, b, 0, to); err != nil && !errors.Is(err, unix.EPERM) && !errors.Is(err, unix.ECONNREFUSED) {
			s.failed(err)
		}
	}, func() {})
}

// patience is how long a connection may take. The kernel's second SYN would come
// after a second, and say nothing about the first.
const patience = 20 * time.Millisecond

// pending is a connection that is being made.
type pending struct {
	fd     int
	number uint64
	until  time.Duration
}

// connect makes connections, on a thread in the sender's namespace.
func (s *Stream) connect() {
	to, family := sockaddr(s.to)
	var open []pending
	s.ticks(func() {
		open = s.settle(open)
		fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		if err != nil {
			s.failed(err)
			return
		}
		// No connection lingers: a source port is free again at once.
		_ = unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
		n := s.begin()
		switch err := unix.Connect(fd, to); {
		case err == nil:
			s.arrived(n, now())
			_ = unix.Close(fd)
		case errors.Is(err, unix.EINPROGRESS):
			open = append(open, pending{fd, n, now() + patience})
		default:
			s.failed(err)
			_ = unix.Close(fd)
		}
	}, func() {
		for _, p := range open {
			_ = unix.Close(p.fd)
		}
		open = nil
	})
}

// settle notes which connections are made, and returns those that still wait.
func (s *Stream) settle(open []pending) []pending {
	if len(open) == 0 {
		return open
	}
	fds := make([]unix.PollFd, len(open))
	for i, p := range open {
		fds[i] = unix.PollFd{Fd: int32(p.fd), Events: unix.POLLOUT}
	}
	if _, err := unix.Poll(fds, 0); err != nil {
		return open
	}
	at := now()
	wait := open[:0]
	for i, p := range open {
		if fds[i].Revents != 0 {
			if fds[i].Revents&unix.POLLOUT != 0 {
				if e, err := unix.GetsockoptInt(p.fd, unix.SOL_SOCKET, unix.SO_ERROR); err == nil && e == 0 {
					s.arrived(p.number, at)
				}
			}
			_ = unix.Close(p.fd)
			continue
		}
		if at > p.until {
			_ = unix.Close(p.fd)
			continue
		}
		wait = append(wait, p)
	}
	return wait
}

func sockaddr(a netip.AddrPort) (unix.Sockaddr, int) {
	if a.Addr().Is4() {
		return &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}, unix.AF_INET
	}
	return &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()}, unix.AF_INET6
}
