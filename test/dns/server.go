package dns

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/net/dns/dnsmessage"
)

// Server answers questions over UDP and TCP at one address. Its methods are safe
// for concurrent use.
type Server struct {
	zone  Zone
	udp   *net.UDPConn
	tcp   *net.TCPListener
	wg    sync.WaitGroup
	asked atomic.Uint64

	mu     sync.Mutex
	counts map[string]int
	conns  map[net.Conn]struct{}
	closed bool
}

// countsMany bounds how many questions are counted for Question.Nth. After that
// all begin at 0 again.
const countsMany = 100_000

// Listen starts a server in the network namespace of the calling thread. With port
// 0 it takes a free one. It ends by Close.
func Listen(at netip.AddrPort, zone Zone) (*Server, error) {
	s := &Server{zone: zone, counts: map[string]int{}, conns: map[net.Conn]struct{}{}}
	var err error
	if s.udp, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(at)); err != nil {
		return nil, fmt.Errorf("dns server: %w", err)
	}
	at = netip.AddrPortFrom(at.Addr(), s.Addr().Port())
	if s.tcp, err = net.ListenTCP("tcp", net.TCPAddrFromAddrPort(at)); err != nil {
		return nil, errors.Join(fmt.Errorf("dns server: %w", err), s.udp.Close())
	}
	s.wg.Go(s.serveUDP)
	s.wg.Go(s.serveTCP)
	return s, nil
}

// Addr is where the server listens.
func (s *Server) Addr() netip.AddrPort {
	a, _ := s.udp.LocalAddr().(*net.UDPAddr)
	return netip.AddrPortFrom(a.AddrPort().Addr().Unmap(), a.AddrPort().Port())
}

// Asked returns how many questions have come.
func (s *Server) Asked() uint64 { return s.asked.Load() }

// Close ends the server and its connections.
func (s *Server) Close() error {
	s.mu.Lock()
	s.closed = true
	for c := range s.conns {
		_ = c.Close()
	}
	s.mu.Unlock()
	err := errors.Join(s.udp.Close(), s.tcp.Close())
	s.wg.Wait()
	return err
}

// answer returns the message that answers one, or nil.
func (s *Server) answer(msg []byte, tcp bool) []byte {
	q, err := parseQuery(msg)
	if err != nil {
		return nil
	}
	s.asked.Add(1)
	name := relative(q.question.Name)
	r := s.zone.find(name)(Question{Name: name, Type: q.question.Type, TCP: tcp, Nth: s.count(name, q.question.Type)})
	if r.Silent {
		return nil
	}
	out, err := build(q, r, tcp)
	if err != nil {
		out, _ = build(q, Reply{RCode: dnsmessage.RCodeServerFailure}, tcp)
	}
	return out
}

// count returns how often a question was asked before.
func (s *Server) count(name string, t dnsmessage.Type) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.counts) >= countsMany {
		clear(s.counts)
	}
	key := strings.ToLower(name) + " " + t.String()
	n := s.counts[key]
	s.counts[key]++
	return n
}

func (s *Server) serveUDP() {
	buf := make([]byte, 64<<10)
	for {
		n, from, err := s.udp.ReadFromUDPAddrPort(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // of an answer that nobody took
		}
		if out := s.answer(buf[:n], false); out != nil {
			_, _ = s.udp.WriteToUDPAddrPort(out, from)
		}
	}
}

func (s *Server) serveTCP() {
	for {
		c, err := s.tcp.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue
		}
		s.mu.Lock()
		if s.closed {
			s.mu.Unlock()
			_ = c.Close()
			return
		}
		s.conns[c] = struct{}{}
		s.mu.Unlock()
		s.wg.Go(func() {
			s.serveConn(c)
			_ = c.Close()
			s.mu.Lock()
			delete(s.conns, c)
			s.mu.Unlock()
		})
	}
}

func (s *Server) serveConn(c net.Conn) {
	for {
		var length [2]byte
		if _, err := io.ReadFull(c, length[:]); err != nil {
			return
		}
		msg := make([]byte, binary.BigEndian.Uint16(length[:]))
		if _, err := io.ReadFull(c, msg); err != nil {
			return
		}
		out := s.answer(msg, true)
		if out == nil {
			continue
		}
		if _, err := c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(out))), out...)); err != nil {
			return
		}
	}
}
