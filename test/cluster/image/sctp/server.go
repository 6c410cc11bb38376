//go:build linux

package sctp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"strconv"

	"golang.org/x/sys/unix"
)

// Server answers on ports.
type Server struct {
	ports map[uint16][]byte
	holds []int // sockets that tell other processes which ports are served
	wires []*wire
}

// Listen serves each port with its text, on all addresses. It fails if a port
// is served by another Server of this network namespace.
func Listen(ports map[uint16][]byte) (*Server, error) {
	s := &Server{ports: ports}
	for port := range ports {
		fd, err := hold(port)
		if err != nil {
			_ = s.Close()
			return nil, fmt.Errorf("sctp: port %d: %w", port, err)
		}
		s.holds = append(s.holds, fd)
	}
	for _, any := range []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()} {
		w, err := listen(any)
		if err != nil {
			// A kernel without IPv6 is no reason not to serve IPv4.
			if any.Is6() && len(s.wires) > 0 {
				break
			}
			_ = s.Close()
			return nil, fmt.Errorf("sctp: %w", err)
		}
		s.wires = append(s.wires, w)
	}
	return s, nil
}

// Close ends it. Serve returns.
func (s *Server) Close() error {
	var all []error
	for _, w := range s.wires {
		all = append(all, w.close())
	}
	for _, fd := range s.holds {
		all = append(all, unix.Close(fd))
	}
	return errors.Join(all...)
}

// Serve answers until Close.
func (s *Server) Serve() error {
	ended := make(chan error, len(s.wires))
	for _, w := range s.wires {
		go func() { ended <- s.serve(w) }()
	}
	var all []error
	for range s.wires {
		if err := <-ended; !errors.Is(err, net.ErrClosed) {
			all = append(all, err)
		}
	}
	return errors.Join(all...)
}

func (s *Server) serve(w *wire) error {
	for {
		p, from, to, err := w.receive()
		if errors.Is(err, errPacket) {
			continue
		}
		if err != nil {
			return err
		}
		if chunks, tag := s.answer(p); len(chunks) > 0 {
			// A packet that cannot be sent is as good as lost.
			_ = w.send(packet{source: p.destination, destination: p.source, tag: tag, chunks: chunks}, to, from)
		}
	}
}

// answer says what a packet is answered with, and the tag to send it under. It
// keeps no state: the cookie has what is needed of an association, and what
// comes after the text was sent needs no answer that the client waits for.
func (s *Server) answer(p packet) ([]chunk, uint32) {
	text, ours := s.ports[p.destination]
	if first, ok := p.find(chunkInit); ok {
		client, err := parseBeginning(first)
		switch {
		case err != nil:
			return nil, 0
		case ours:
			own := beginning{tag: nonZero(), tsn: rand.Uint32()}
			own.cookie = cookie(client, own)
			return []chunk{own.chunk(chunkInitAck)}, client.tag
		case !served(p.destination):
			return []chunk{{kind: chunkAbort}}, client.tag
		}
		return nil, 0
	}
	echo, ok := p.find(chunkCookieEcho)
	if !ok || !ours {
		return nil, 0
	}
	client, own, err := parseCookie(echo.value)
	if err != nil || p.tag != own.tag {
		return nil, 0
	}
	chunks := []chunk{{kind: chunkCookieAck}}
	if request, ok := p.find(chunkData); ok {
		if tsn, _, err := parseData(request); err == nil {
			chunks = append(chunks, sack(tsn))
		}
	}
	return append(chunks, data(own.tsn, text)), client.tag
}

func cookie(client, own beginning) []byte {
	var out []byte
	for _, n := range []uint32{client.tag, client.tsn, own.tag, own.tsn} {
		out = binary.BigEndian.AppendUint32(out, n)
	}
	return out
}

func parseCookie(in []byte) (client, own beginning, err error) {
	if len(in) != 16 {
		return client, own, errPacket
	}
	n := func(i int) uint32 { return binary.BigEndian.Uint32(in[4*i:]) }
	return beginning{tag: n(0), tsn: n(1)}, beginning{tag: n(2), tsn: n(3)}, nil
}

// nonZero is a tag: zero is for INIT alone.
func nonZero() uint32 {
	for {
		if n := rand.Uint32(); n != 0 {
			return n
		}
	}
}

// hold marks a port as served, by a socket whose abstract name is known in this
// network namespace and which ends with this process.
func hold(port uint16) (int, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: "@tierwall-test-sctp-" + strconv.Itoa(int(port))}); err != nil {
		_ = unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// served tells whether somebody holds the port.
func served(port uint16) bool {
	fd, err := hold(port)
	if err != nil {
		return true
	}
	_ = unix.Close(fd)
	return false
}
