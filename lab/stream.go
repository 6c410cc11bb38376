//go:build linux

package lab

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tierwall/tierwall/policy/model"
)

// StreamOptions say what a stream is.
type StreamOptions struct {
	Protocol model.Protocol // TCP or UDP
	// Src and Dst. The source port 0 means one that the kernel chooses. Dst may be a
	// service of the lab. Addresses that nobody has are taken on as for probes.
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

// Cut says that the connection is over or that its last three records in turn
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

// recordLen is the length of a record: its number from 1, and filling.
const recordLen = 16

// OpenStream opens a connection and starts to send. A TCP connection that is not
// established within three seconds is an error; UDP needs no answer.
func (l *Lab) OpenStream(ctx context.Context, o StreamOptions) (*Stream, error) {
	if o.Protocol != model.TCP && o.Protocol != model.UDP {
		return nil, fmt.Errorf("lab: stream: protocol %s: want TCP or UDP", o.Protocol)
	}
	if o.Rate == 0 {
		o.Rate = 100
	}
	p := &probe{flow: model.Flow{Src: o.Src.Addr().Unmap(), Dst: o.Dst.Addr().Unmap(), Protocol: o.Protocol, SrcPort: o.Src.Port(), DstPort: o.Dst.Port()}}
	err := checkFlow(p.flow)
	if err == nil {
		p.from, err = l.carry(p.flow.Src)
	}
	if err == nil {
		err = l.findTargets(p, Options{At: o.At})
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

// serve sends records at the stream's rate until it is stopped.
func (s *Stream) serve() {
	defer close(s.done)
	defer s.closeSockets()
	tick := time.NewTicker(time.Second / time.Duration(s.o.Rate))
	defer tick.Stop()
	for {
		select {
		case <-s.quit:
			// What is late may still come.
			time.Sleep(5 * time.Millisecond)
			s.finish(s.lab.onCPU(func(w *witness) error { return s.echo(w) }))
			return
		case <-tick.C:
			s.finish(s.lab.onCPU(s.record))
		}
	}
}

// finish ends the handling of a record.
func (s *Stream) finish(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil && s.stats.Err == nil {
		s.stats.Err = err
	}
	s.whole = s.stats
	close(s.changed)
	s.changed = make(chan struct{})
}

// record sends one record and follows it to the server and back.
func (s *Stream) record(w *witness) error {
	s.mu.Lock()
	over, number := s.stats.Err != nil, s.stats.Sent+1
	s.mu.Unlock()
	if over {
		return nil
	}
	var b [recordLen]byte
	binary.BigEndian.PutUint64(b[:], number)
	sent, err := s.send(b[:])
	if err != nil {
		return err
	}
	if sent {
		s.mu.Lock()
		s.stats.Sent = number
		s.echoed[number] = false
		s.mu.Unlock()
	}
	if err := w.settle(hops); err != nil {
		return err
	}
	if err := s.echo(w); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !sent || s.echoed[number] {
		return nil
	}
	s.stats.Silent++
	s.stats.MostSilent = max(s.stats.MostSilent, s.stats.Silent)
	return nil
}

// send writes a record. False: the socket takes no more at the moment.
func (s *Stream) send(b []byte) (bool, error) {
	for range 3 {
		_, err := unix.Write(s.client, b)
		switch {
		case errors.Is(err, unix.EAGAIN):
			return false, nil
		case errors.Is(err, unix.EINTR):
			continue
		case s.o.Protocol == model.UDP && errors.Is(err, unix.EPERM):
			return true, nil // the output hook dropped it
		case s.o.Protocol == model.UDP && icmpError(err):
			// It tells of an earlier record; this one was not sent.
			s.mu.Lock()
			s.stats.Refused++
			s.mu.Unlock()
			continue
		}
		return err == nil, err
	}
	return false, nil
}

func icmpError(err error) bool {
	return errors.Is(err, unix.ECONNREFUSED) || errors.Is(err, unix.EHOSTUNREACH) || errors.Is(err, unix.ENETUNREACH) || errors.Is(err, unix.EACCES)
}

// echo has the server send back what has arrived, and the client read it.
func (s *Stream) echo(w *witness) error {
	var buf [1 << 16]byte
	if s.o.Protocol == model.TCP {
		if err := s.echoTCP(buf[:]); err != nil {
			return err
		}
	} else {
		for _, fd := range s.servers {
			for {
				n, from, err := unix.Recvfrom(fd, buf[:], unix.MSG_DONTWAIT)
				if errors.Is(err, unix.EINTR) || icmpError(err) {
					continue
				}
				if err != nil {
					break
				}
				s.arrived(1)
				_ = unix.Sendto(fd, buf[:n], unix.MSG_DONTWAIT, from)
			}
		}
	}
	if err := w.settle(hops); err != nil {
		return err
	}
	for {
		n, err := unix.Read(s.client, buf[:])
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.EAGAIN):
			return nil
		case s.o.Protocol == model.UDP && icmpError(err):
			s.mu.Lock()
			s.stats.Refused++
			s.mu.Unlock()
			continue
		case err != nil:
			return err
		case n == 0 && s.o.Protocol == model.TCP:
			return unix.ECONNRESET
		}
		s.received(buf[:n])
	}
}

// echoTCP sends back what has arrived.
func (s *Stream) echoTCP(buf []byte) error {
	for {
		n, err := unix.Read(s.conn, buf)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.EAGAIN):
			return nil
		case err != nil:
			return err
		case n == 0:
			return unix.ECONNRESET
		}
		s.arrived(n / recordLen)
		for b := buf[:n]; len(b) > 0; {
			n, err := unix.Write(s.conn, b)
			if err != nil {
				return err // of some hundred bytes: the buffer is never full
			}
			b = b[n:]
		}
	}
}

func (s *Stream) arrived(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stats.Arrived += uint64(n)
}

// received counts echoes.
func (s *Stream) received(b []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b = append(s.partial, b...)
	for ; len(b) >= recordLen; b = b[recordLen:] {
		number := binary.BigEndian.Uint64(b)
		echoed, known := s.echoed[number]
		switch {
		case !known || echoed:
			s.stats.Duplicated++
			continue
		case number < s.stats.Sent:
			s.stats.Late++
		}
		s.echoed[number] = true
		delete(s.echoed, number-10000)
		s.stats.Received++
		s.stats.Silent = 0
	}
	s.partial = append([]byte(nil), b...)
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
