//go:build linux

package lab

import (
	"errors"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/tierwall/tierwall/policy/model"
)

// listenerKey is what a listener answers.
type listenerKey struct {
	protocol model.Protocol
	addr     netip.AddrPort
}

type listener struct {
	fd    int // -1: another socket listens there, or the kernel cannot
	users int
}

// listen has the kernel of a place answer at an address and port while probes
// last: TCP by a SYN-ACK, UDP by not sending an ICMP error (the probe answers).
// The result stops it. Where something listens already, that answers.
func (p *place) listen(protocol model.Protocol, at netip.AddrPort) (stop func(), err error) {
	kind := unix.SOCK_DGRAM
	number := 0
	switch protocol {
	case model.TCP:
		kind = unix.SOCK_STREAM
	case model.UDP:
	case model.UDPLite:
		number = int(protocol)
	default:
		return func() {}, nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, p.wrap(errGone, "probe")
	}
	k := listenerKey{protocol, at}
	l := p.listeners[k]
	if l == nil {
		l = &listener{}
		if l.fd, err = p.bind(kind, number, at); err != nil {
			return nil, p.wrap(err, "listen on %s %s", protocol, at)
		}
		p.listeners[k] = l
	}
	l.users++
	return func() { p.unlisten(k, l) }, nil
}

// bind opens a listening socket, or none where that is not ours to do.
func (p *place) bind(kind, number int, at netip.AddrPort) (fd int, err error) {
	err = p.ns.do(func() (err error) {
		fd, err = unix.Socket(family(at.Addr()), kind|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, number)
		return err
	})
	if errors.Is(err, unix.EPROTONOSUPPORT) {
		return -1, nil
	}
	if err != nil {
		return -1, err
	}
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
	if at.Addr().Is6() {
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1)
	}
	err = unix.Bind(fd, sockaddr(at))
	if err == nil && kind == unix.SOCK_STREAM {
		err = unix.Listen(fd, 128)
	}
	if err != nil {
		shut(fd)
		if errors.Is(err, unix.EADDRINUSE) {
			return -1, nil
		}
		return -1, err
	}
	return fd, nil
}

func (p *place) unlisten(k listenerKey, l *listener) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if l.users--; l.users > 0 || p.closed {
		return
	}
	if l.fd >= 0 {
		shut(l.fd)
	}
	delete(p.listeners, k)
}

func sockaddr(a netip.AddrPort) unix.Sockaddr {
	if a.Addr().Is4() {
		return &unix.SockaddrInet4{Addr: a.Addr().As4(), Port: int(a.Port())}
	}
	return &unix.SockaddrInet6{Addr: a.Addr().As16(), Port: int(a.Port())}
}
