//go:build linux

package lab

import (
	"errors"
	"net/netip"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/tierwall/tierwall/policy/model"
)

// socketKey is what a raw socket receives.
type socketKey struct {
	is4      bool
	protocol model.Protocol
}

// rawSocket receives copies of all packets of a protocol that the IP stack of a
// namespace hands up: what came through its input hook.
type rawSocket struct {
	key socketKey

	mu sync.Mutex
	fd int // -1: closed
}

// receiver returns the socket of a place, which stays open from then on.
func (p *place) receiver(k socketKey) (*rawSocket, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, p.wrap(errGone, "probe")
	}
	if s, ok := p.sockets[k]; ok {
		return s, nil
	}
	s := &rawSocket{key: k}
	domain := unix.AF_INET6
	if k.is4 {
		domain = unix.AF_INET
	}
	err := p.ns.do(func() (err error) {
		s.fd, err = unix.Socket(domain, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, int(k.protocol))
		return err
	})
	if err != nil {
		return nil, p.wrap(err, "raw socket for %s", k.protocol)
	}
	if !k.is4 {
		err = unix.SetsockoptInt(s.fd, unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1)
	}
	if f := k.filter(); err == nil && f != nil {
		prog := unix.SockFprog{Len: uint16(len(f)), Filter: &f[0]}
		err = unix.SetsockoptSockFprog(s.fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &prog)
	}
	if err != nil {
		shut(s.fd)
		return nil, p.wrap(err, "raw socket for %s", k.protocol)
	}
	p.sockets[k] = s
	return s, nil
}

// filter keeps traffic that is not the lab's out of the socket, so that it can
// neither fill it nor wake anyone: TCP without SYN, RST or the lab's window, other datagrams
// without the magic.
func (k socketKey) filter() []unix.SockFilter {
	const (
		loadByte, loadWord = unix.BPF_LD | unix.BPF_B | unix.BPF_IND, unix.BPF_LD | unix.BPF_W | unix.BPF_IND
		loadHalf           = unix.BPF_LD | unix.BPF_H | unix.BPF_IND
		headerLen, zero    = unix.BPF_LDX | unix.BPF_B | unix.BPF_MSH, unix.BPF_LDX | unix.BPF_IMM
		ret                = unix.BPF_RET | unix.BPF_K
	)
	// X is where the transport header starts: an IPv6 socket sees no IP header.
	start := unix.SockFilter{Code: zero}
	if k.is4 {
		start = unix.SockFilter{Code: headerLen}
	}
	pass, drop := unix.SockFilter{Code: ret, K: 1 << 16}, unix.SockFilter{Code: ret}
	switch k.protocol {
	case model.TCP:
		return []unix.SockFilter{
			start,
			{Code: loadByte, K: 13},
			{Code: unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K, K: tcpSYN | tcpRST, Jt: 2},
			{Code: loadHalf, K: 14},
			{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: window, Jf: 1},
			pass, drop,
		}
	case model.UDP, model.UDPLite:
		return []unix.SockFilter{
			start,
			{Code: loadWord, K: 8},
			{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: uint32(magic[0])<<24 | uint32(magic[1])<<16 | uint32(magic[2])<<8 | uint32(magic[3]), Jf: 1},
			pass, drop,
		}
	}
	return nil
}

func (s *rawSocket) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fd >= 0 {
		shut(s.fd)
	}
	s.fd = -1
}

// drain reads all that is there and passes on what has to do with probes.
func (s *rawSocket) drain(each func(seen)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fd < 0 {
		return errGone
	}
	var buf [2048]byte
	var oob [128]byte
	for {
		n, oobn, _, from, err := unix.Recvmsg(s.fd, buf[:], oob[:], unix.MSG_DONTWAIT)
		switch {
		case errors.Is(err, unix.EAGAIN):
			return nil
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return err
		}
		if p, ok := s.parse(buf[:n], oob[:oobn], from); ok {
			each(p)
		}
	}
}

func (s *rawSocket) parse(b, oob []byte, from unix.Sockaddr) (seen, bool) {
	if s.key.is4 {
		src, dst, p, body, ok := readIP(b)
		if !ok {
			return seen{}, false
		}
		return read(src, dst, p, body)
	}
	a, ok := from.(*unix.SockaddrInet6)
	if !ok {
		return seen{}, false
	}
	dst, ok := packetInfo(oob)
	if !ok {
		return seen{}, false
	}
	return read(netip.AddrFrom16(a.Addr), dst, s.key.protocol, b)
}

// packetInfo finds the destination address among a message's control data.
func packetInfo(oob []byte) (netip.Addr, bool) {
	for len(oob) >= unix.CmsgLen(0) {
		h, data, rest, err := unix.ParseOneSocketControlMessage(oob)
		if err != nil {
			return netip.Addr{}, false
		}
		if h.Level == unix.IPPROTO_IPV6 && h.Type == unix.IPV6_PKTINFO && len(data) >= 16 {
			return netip.AddrFrom16([16]byte(data)), true
		}
		oob = rest
	}
	return netip.Addr{}, false
}

// send sends a packet with its IP header out of the namespace, by its output
// hook, as a packet of the host itself. A packet that the hook drops counts as
// sent. An interface, if there is one, is where it leaves, whatever the routes are.
func (p *place) send(packet []byte, src, dst netip.Addr, iface string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return p.wrap(errGone, "probe")
	}
	i, domain := 0, unix.AF_INET
	if dst.Is6() {
		i, domain = 1, unix.AF_INET6
	}
	if p.senders[i] == 0 {
		err := p.ns.do(func() (err error) {
			p.senders[i], err = unix.Socket(domain, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
			if err == nil {
				err = unix.SetsockoptInt(p.senders[i], unix.SOL_SOCKET, unix.SO_BROADCAST, 1)
			}
			return err
		})
		if err != nil {
			return p.wrap(err, "raw socket")
		}
	}
	out, err := p.index(iface)
	if err != nil {
		return err
	}
	var to unix.Sockaddr
	var info []byte // the source address, for routing rules that ask for it
	if dst.Is4() {
		to = &unix.SockaddrInet4{Addr: dst.As4()}
		if out != 0 {
			info = control(unix.IPPROTO_IP, unix.IP_PKTINFO, &unix.Inet4Pktinfo{Ifindex: int32(out)})
		} else if src.IsValid() {
			info = control(unix.IPPROTO_IP, unix.IP_PKTINFO, &unix.Inet4Pktinfo{Spec_dst: src.As4()})
		}
	} else {
		to = &unix.SockaddrInet6{Addr: dst.As16()}
		if out != 0 {
			info = control(unix.IPPROTO_IPV6, unix.IPV6_PKTINFO, &unix.Inet6Pktinfo{Ifindex: uint32(out)})
		} else if src.IsValid() {
			info = control(unix.IPPROTO_IPV6, unix.IPV6_PKTINFO, &unix.Inet6Pktinfo{Addr: src.As16()})
		}
	}
	_, err = unix.SendmsgN(p.senders[i], packet, info, to, 0)
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOBUFS) {
		return nil
	}
	return p.wrap(err, "send to %s", dst)
}

// control makes one control message.
func control[T any](level, typ int, v *T) []byte {
	size := int(unsafe.Sizeof(*v))
	b := make([]byte, unix.CmsgSpace(size))
	h := (*unix.Cmsghdr)(unsafe.Pointer(&b[0]))
	h.Level, h.Type = int32(level), int32(typ)
	h.SetLen(unix.CmsgLen(size))
	copy(b[unix.CmsgLen(0):], unsafe.Slice((*byte)(unsafe.Pointer(v)), size))
	return b
}
