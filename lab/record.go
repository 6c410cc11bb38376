//go:build linux

package lab

import (
	"encoding/binary"
	"errors"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tierwall/tierwall/policy/model"
)

// recordLen is the length of a record: its number from 1, and filling.
const recordLen = 16

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
