//go:build linux

package dns

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"time"

	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/sys/unix"
)

// Client asks one server over one socket, with blocking calls on the calling
// thread, as a resolver library does it. It is for one goroutine. Make it with Dial.
type Client struct {
	fd      int
	tcp     bool
	room    uint16
	timeout time.Duration
	random  *rand.Rand
	buf     []byte
	rest    []byte // received over TCP and not read yet
}

// ErrNoAnswer means that no answer has come in time.
var ErrNoAnswer = errors.New("no answer")

// Options of a Client.
type Options struct {
	// TCP: ask over TCP, all questions over one connection.
	TCP bool
	// Room is how large an answer over UDP may be (EDNS); 0: EDNS is not used.
	Room uint16
	// Timeout of each call; 0: 3 s.
	Timeout time.Duration
	// Seed of the IDs of queries, and of the case of names (0x20).
	Seed uint64
	// From is the source; the zero value: the kernel chooses.
	From netip.AddrPort
}

// Dial opens a socket to a server in the network namespace of the calling thread.
func Dial(server netip.AddrPort, o Options) (*Client, error) {
	if o.Timeout == 0 {
		o.Timeout = 3 * time.Second
	}
	kind := unix.SOCK_DGRAM
	if o.TCP {
		kind = unix.SOCK_STREAM
	}
	fd, err := open(server.Addr(), kind, o.Timeout)
	if err != nil {
		return nil, fmt.Errorf("dns client: %w", err)
	}
	if o.From.IsValid() {
		err = unix.Bind(fd, sockaddr(o.From))
	}
	if err == nil {
		err = connect(fd, server, o.Timeout)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("dns client: connect to %s: %w", server, err), unix.Close(fd))
	}
	return &Client{fd: fd, tcp: o.TCP, room: o.Room, timeout: o.Timeout, random: rand.New(rand.NewPCG(o.Seed, 0)), buf: make([]byte, 64<<10)}, nil
}

// Close closes the socket.
func (c *Client) Close() error { return unix.Close(c.fd) }

// MixCase returns a name with its letters in upper or lower case at random (0x20).
func (c *Client) MixCase(name string) string {
	out := []byte(name)
	for i, b := range out {
		if b >= 'a' && b <= 'z' && c.random.IntN(2) == 0 {
			out[i] = b - 'a' + 'A'
		}
	}
	return string(out)
}

// Ask asks for the addresses of a name: those of TypeA or TypeAAAA. It fails with
// ErrNoAnswer where none comes. It does not ask again.
func (c *Client) Ask(name string, t dnsmessage.Type) (Answer, error) {
	id := uint16(c.random.Uint32())
	msg, err := c.query(id, name, t)
	if err != nil {
		return Answer{}, err
	}
	if _, err := unix.Write(c.fd, msg); err != nil {
		return Answer{}, fmt.Errorf("ask for %s: %w", name, err)
	}
	for end := time.Now().Add(c.timeout); time.Now().Before(end); {
		msg, err := c.receive()
		if err != nil {
			return Answer{}, fmt.Errorf("ask for %s: %w", name, err)
		}
		received := time.Now()
		if a, ok, err := parseAnswer(msg, id); ok || err != nil {
			a.received = received
			return a, err
		}
	}
	return Answer{}, fmt.Errorf("ask for %s: %w", name, ErrNoAnswer)
}

// receive returns the next message.
func (c *Client) receive() ([]byte, error) {
	for {
		if c.tcp && len(c.rest) >= 2 {
			if n := 2 + int(binary.BigEndian.Uint16(c.rest)); len(c.rest) >= n {
				msg := c.rest[2:n]
				c.rest = c.rest[n:]
				return msg, nil
			}
		}
		var n int
		err := retried(func() (err error) { n, err = unix.Read(c.fd, c.buf); return err })
		switch {
		case errors.Is(err, unix.EAGAIN):
			return nil, ErrNoAnswer
		case err != nil:
			return nil, err
		case !c.tcp:
			return c.buf[:n], nil
		case n == 0:
			return nil, fmt.Errorf("%w: the server has closed the connection", ErrNoAnswer)
		}
		c.rest = append(c.rest[:len(c.rest):len(c.rest)], c.buf[:n]...)
	}
}

func (c *Client) query(id uint16, name string, t dnsmessage.Type) ([]byte, error) {
	n, err := absolute(name)
	if err != nil {
		return nil, err
	}
	length := 0
	if c.tcp {
		length = 2 // bytes before the message
	}
	b := dnsmessage.NewBuilder(make([]byte, length, 600), dnsmessage.Header{ID: id, RecursionDesired: true})
	if err := errors.Join(b.StartQuestions(), b.Question(dnsmessage.Question{Name: n, Type: t, Class: dnsmessage.ClassINET})); err != nil {
		return nil, err
	}
	if c.room > 0 {
		var h dnsmessage.ResourceHeader
		if err := errors.Join(h.SetEDNS0(int(c.room), 0, false), b.StartAdditionals(), b.OPTResource(h, dnsmessage.OPTResource{})); err != nil {
			return nil, err
		}
	}
	msg, err := b.Finish()
	if c.tcp && err == nil {
		binary.BigEndian.PutUint16(msg, uint16(len(msg)-2))
	}
	return msg, err
}

// Connect opens a TCP connection in the network namespace of the calling thread and
// resets it. It returns how many of its packets the kernel had to send again: the
// first one was lost if any. The error is nil if the connection came about.
func Connect(to netip.AddrPort, timeout time.Duration) (again int, err error) {
	fd, err := open(to.Addr(), unix.SOCK_STREAM, timeout)
	if err != nil {
		return 0, fmt.Errorf("connect to %s: %w", to, err)
	}
	defer func() { _ = unix.Close(fd) }()
	if err := unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}); err != nil {
		return 0, fmt.Errorf("connect to %s: %w", to, err)
	}
	failed := connect(fd, to, timeout)
	info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
	if err := errors.Join(failed, err); err != nil {
		return 0, fmt.Errorf("connect to %s: %w", to, err)
	}
	return int(info.Total_retrans), nil
}

func open(to netip.Addr, kind int, timeout time.Duration) (int, error) {
	family := unix.AF_INET6
	if to.Is4() {
		family = unix.AF_INET
	}
	fd, err := unix.Socket(family, kind|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	tv := unix.NsecToTimeval(timeout.Nanoseconds())
	for _, o := range []int{unix.SO_RCVTIMEO, unix.SO_SNDTIMEO} {
		if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, o, &tv); err != nil {
			return -1, errors.Join(err, unix.Close(fd))
		}
	}
	return fd, nil
}

// connect is the system call, which a signal of the Go runtime may interrupt: it
// cannot be called again then, but goes on.
func connect(fd int, to netip.AddrPort, timeout time.Duration) error {
	err := unix.Connect(fd, sockaddr(to))
	if !errors.Is(err, unix.EINTR) {
		return err
	}
	end := time.Now().Add(timeout)
	var n int
	err = retried(func() (err error) {
		n, err = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}, max(0, int(time.Until(end).Milliseconds())))
		return err
	})
	if err == nil && n == 0 {
		err = unix.ETIMEDOUT
	}
	if err != nil {
		return err
	}
	failed, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err == nil && failed != 0 {
		err = unix.Errno(failed)
	}
	return err
}

func sockaddr(a netip.AddrPort) unix.Sockaddr {
	if a.Addr().Is4() {
		return &unix.SockaddrInet4{Addr: a.Addr().As4(), Port: int(a.Port())}
	}
	return &unix.SockaddrInet6{Addr: a.Addr().As16(), Port: int(a.Port())}
}

// retried calls a system call until no signal interrupts it.
func retried(call func() error) error {
	for {
		if err := call(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
