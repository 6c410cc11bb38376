//go:build linux

package lab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tierwall/tierwall/policy/model"
)

// StreamOptions describe a stream.
type StreamOptions struct {
	Protocol model.Protocol // TCP or UDP
	// Src and Dst. The source port 0 means one that the kernel chooses. Dst may be a
	// service of the lab. Addresses that no place has are taken on as for probes.
	Src, Dst netip.AddrPort
	// Rate in records a second; 0 means 100.
	Rate int
	// At are further addresses and ports at which the connection may arrive.
	At []netip.AddrPort
}

// StreamStats count a stream's records since it was opened.
type StreamStats struct {
	// Sent by the client. Arrived at the server. Received: echoes at the client.
	Sent, Arrived, Received uint64
	// Late echoes are part of Received: of TCP, those that came by a retransmission.
	Late uint64
	// Duplicated echoes are not part of Received.
	Duplicated uint64
	// Silent is how many of the last records in turn have no echo; MostSilent the
	// highest that it ever was.
	Silent, MostSilent uint64
	// Refused counts ICMP errors for UDP.
	Refused uint64
	// Err is why the connection is over: a reset, or the place is gone. Nil while it is not.
	Err error
}

// Lost is how many records have no echo.
func (s StreamStats) Lost() uint64 { return s.Sent - s.Received }

// Cut reports whether the connection is over or that its last three records in turn
// were lost.
func (s StreamStats) Cut() bool { return s.Err != nil || s.Silent >= 3 }

// Stream is a connection under traffic: records of the client that the server
// echoes. Each is followed to its end before the next one is sent, in the way
// that a probe is: whether it was lost is known, not guessed from the time that
// has passed.
type Stream struct {
	lab    *Lab
	o      StreamOptions
	from   *place
	client int
	// servers listen; of TCP, conn is the accepted connection. -1: none.
	servers []int
	conn    int
	partial []byte // of a TCP record

	quit, done chan struct{}
	once       sync.Once

	mu      sync.Mutex
	stats   StreamStats
	whole   StreamStats     // stats after the last record that was followed to its end
	echoed  map[uint64]bool // records without echo are false; old ones are forgotten
	changed chan struct{}   // closed and replaced after each record
}

// OpenStream opens a connection and starts to send. A TCP connection that is not
// established within three seconds is an error; UDP needs no answer.
func (l *Lab) OpenStream(ctx context.Context, o StreamOptions) (*Stream, error) {
	if o.Protocol != model.TCP && o.Protocol != model.UDP {
		return nil, fmt.Errorf("lab: stream: protocol %s: want TCP or UDP", o.Protocol)
	}
	if o.Rate == 0 {
		o.Rate = 100
	}
	p := &probe{lab: l, flow: model.Flow{Src: o.Src.Addr().Unmap(), Dst: o.Dst.Addr().Unmap(), Protocol: o.Protocol, SrcPort: o.Src.Port(), DstPort: o.Dst.Port()}}
	err := checkFlow(p.flow)
	if err == nil {
		p.from, err = l.carry(p.flow.Src)
	}
	if err == nil {
		err = p.findTargets(Options{At: o.At})
	}
	if err != nil {
		return nil, fmt.Errorf("lab: stream %s: %w", describe(p.flow), err)
	}
	s := &Stream{lab: l, o: o, from: p.from, client: -1, conn: -1,
		quit: make(chan struct{}), done: make(chan struct{}), echoed: map[uint64]bool{}, changed: make(chan struct{})}
	if err := s.open(ctx, p); err != nil {
		s.closeSockets()
		return nil, fmt.Errorf("lab: stream %s: %w", describe(p.flow), err)
	}
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		s.closeSockets()
		return nil, errClosed
	}
	l.streams[s] = struct{}{}
	l.mu.Unlock()
	go s.serve()
	return s, nil
}

func (s *Stream) kind() int {
	if s.o.Protocol == model.TCP {
		return unix.SOCK_STREAM
	}
	return unix.SOCK_DGRAM
}

func (s *Stream) open(ctx context.Context, p *probe) error {
	for _, t := range p.at {
		fd, err := t.place.bind(s.kind(), 0, t.addr)
		if err == nil && fd < 0 {
			err = fmt.Errorf("%s is in use", t.addr)
		}
		if err != nil {
			return err
		}
		s.servers = append(s.servers, fd)
	}
	err := s.from.ns.do(func() (err error) {
		s.client, err = unix.Socket(family(p.flow.Src), s.kind()|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		return err
	})
	if err != nil {
		return err
	}
	_ = unix.SetsockoptInt(s.client, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
	if err := unix.Bind(s.client, sockaddr(netip.AddrPortFrom(p.flow.Src, p.flow.SrcPort))); err != nil {
		return err
	}
	if s.o.Protocol == model.UDP {
		return unix.Connect(s.client, sockaddr(netip.AddrPortFrom(p.flow.Dst, p.flow.DstPort)))
	}
	_ = unix.SetsockoptInt(s.client, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	return s.connect(ctx, sockaddr(netip.AddrPortFrom(p.flow.Dst, p.flow.DstPort)))
}

// connect establishes a TCP connection, both ends of it.
func (s *Stream) connect(ctx context.Context, to unix.Sockaddr) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	err := s.lab.onCPU(func(w *witness) error {
		if err := unix.Connect(s.client, to); err != nil && !errors.Is(err, unix.EINPROGRESS) {
			return err
		}
		return w.settle(3 * hops)
	})
	for err == nil {
		for _, fd := range s.servers {
			if s.conn, _, err = unix.Accept4(fd, unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK); err == nil {
				_ = unix.SetsockoptInt(s.conn, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
				return nil
			}
			s.conn = -1
		}
		if errno, e := unix.GetsockoptInt(s.client, unix.SOL_SOCKET, unix.SO_ERROR); e == nil && errno != 0 {
			return unix.Errno(errno)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("no connection: %w", ctx.Err())
		case <-time.After(5 * time.Millisecond):
			err = nil
		}
	}
	return err
}

func (s *Stream) closeSockets() {
	for _, fd := range append([]int{s.client, s.conn}, s.servers...) {
		if fd >= 0 {
			shut(fd)
		}
	}
}

// Stats returns the counts so far, without a record that is under way.
func (s *Stream) Stats() StreamStats {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.whole
}

// Wait returns when the counts satisfy a condition, asked after each record.
func (s *Stream) Wait(ctx context.Context, until func(StreamStats) bool) (StreamStats, error) {
	for {
		s.mu.Lock()
		stats, changed := s.whole, s.changed
		s.mu.Unlock()
		if until(stats) {
			return stats, nil
		}
		select {
		case <-ctx.Done():
			return stats, ctx.Err()
		case <-s.done:
			return stats, errors.New("lab: the stream is closed")
		case <-changed:
		}
	}
}

// WaitCut returns when the connection is cut.
func (s *Stream) WaitCut(ctx context.Context) (StreamStats, error) {
	return s.Wait(ctx, StreamStats.Cut)
}

// WaitRecords returns when n more records have been sent and followed.
func (s *Stream) WaitRecords(ctx context.Context, n uint64) (StreamStats, error) {
	from := s.Stats().Sent
	return s.Wait(ctx, func(t StreamStats) bool { return t.Err != nil || t.Sent >= from+n })
}

// Close ends the stream and returns the final counts.
func (s *Stream) Close() StreamStats {
	s.lab.mu.Lock()
	delete(s.lab.streams, s)
	s.lab.mu.Unlock()
	s.stop()
	return s.Stats()
}

func (s *Stream) stop() {
	s.once.Do(func() { close(s.quit) })
	<-s.done
}
