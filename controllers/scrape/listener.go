package scrape

import (
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"
)

// splitter accepts the connections of a listener, and hands on those of the node
// itself to local and all others, within their limits, to remote.
type splitter struct {
	from          net.Listener
	local, remote *handed
	limits        *limits
	refused       func()
}

func newSplitter(from net.Listener, l *limits, refused func()) *splitter {
	return &splitter{from: from, limits: l, refused: refused, local: newHanded(from), remote: newHanded(from)}
}

// acceptRetry is the pause after a failure to accept: the process has too many files open.
const acceptRetry = 100 * time.Millisecond

// run accepts connections until the listener is closed.
func (s *splitter) run() {
	defer func() { _, _ = s.local.Close(), s.remote.Close() }()
	for {
		c, err := s.from.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil:
			time.Sleep(acceptRetry)
			continue
		}
		addr := addrOf(c.RemoteAddr())
		switch {
		case addr.IsLoopback() && addrOf(c.LocalAddr()).IsLoopback():
			s.local.hand(c)
		case s.limits.connect(addr):
			s.remote.hand(&counted{Conn: c, closed: sync.OnceFunc(func() { s.limits.disconnect(addr) })})
		default:
			s.refused()
			_ = c.Close()
		}
	}
}

// addrOf is the address of a connection's end; invalid if it has none.
func addrOf(a net.Addr) netip.Addr {
	t, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.Addr{}
	}
	return t.AddrPort().Addr().Unmap()
}

// counted is a connection that is counted until it is closed.
type counted struct {
	net.Conn
	closed func()
}

// Close implements net.Conn.
func (c *counted) Close() error {
	defer c.closed()
	return c.Conn.Close()
}

// handed is a listener of connections that another one has accepted.
type handed struct {
	addr  net.Addr
	conns chan net.Conn
	done  chan struct{}
	close func()
}

func newHanded(of net.Listener) *handed {
	done := make(chan struct{})
	return &handed{addr: of.Addr(), conns: make(chan net.Conn), done: done, close: sync.OnceFunc(func() { close(done) })}
}

// hand waits until somebody accepts the connection, or closes it.
func (h *handed) hand(c net.Conn) {
	select {
	case h.conns <- c:
	case <-h.done:
		_ = c.Close()
	}
}

// Accept implements net.Listener.
func (h *handed) Accept() (net.Conn, error) {
	select {
	case c := <-h.conns:
		return c, nil
	case <-h.done:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (h *handed) Close() error {
	h.close()
	return nil
}

// Addr implements net.Listener.
func (h *handed) Addr() net.Addr { return h.addr }
