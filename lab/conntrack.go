//go:build linux

package lab

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/tierwall/tierwall/policy/model"
)

// conntrack deletes connections of one namespace by their addresses and ports:
// a probe is to be the first packet of a connection, whatever was sent before.
type conntrack struct {
	fd  int
	seq uint32
}

// Attributes and messages of ctnetlink, which package unix does not name.
const (
	ctSubsystem = 1
	ctDelete    = 2

	ctaTupleOrig = 1

	ctaTupleIP, ctaTupleProto                      = 1, 2
	ctaIPv4Src, ctaIPv4Dst, ctaIPv6Src, ctaIPv6Dst = 1, 2, 3, 4

	ctaProtoNum, ctaProtoSrcPort, ctaProtoDstPort         = 1, 2, 3
	ctaProtoICMPID, ctaProtoICMPType, ctaProtoICMPCode    = 4, 5, 6
	ctaProtoICMP6ID, ctaProtoICMP6Type, ctaProtoICMP6Code = 7, 8, 9

	nested = unix.NLA_F_NESTED
)

// forget deletes the connection that a packet would belong to, in either
// direction, if there is one.
func (p *place) forget(f model.Flow, id uint32) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return p.wrap(errGone, "probe")
	}
	if p.ct == nil {
		c := &conntrack{}
		err := p.ns.do(func() (err error) {
			c.fd, err = unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
			return err
		})
		if err != nil {
			return p.wrap(err, "netlink socket for conntrack")
		}
		p.ct = c
	}
	return p.wrap(p.ct.delete(f, id), "forget connection")
}

func (c *conntrack) close() { shut(c.fd) }

func (c *conntrack) delete(f model.Flow, id uint32) error {
	var ip []byte
	proto := attr(ctaProtoNum, []byte{byte(f.Protocol)})
	if f.Src.Is4() {
		ip = append(attr(ctaIPv4Src, f.Src.AsSlice()), attr(ctaIPv4Dst, f.Dst.AsSlice())...)
	} else {
		ip = append(attr(ctaIPv6Src, f.Src.AsSlice()), attr(ctaIPv6Dst, f.Dst.AsSlice())...)
	}
	switch {
	case f.Protocol.HasPorts() || f.Protocol == gre:
		proto = append(proto, attr(ctaProtoSrcPort, binary.BigEndian.AppendUint16(nil, f.SrcPort))...)
		proto = append(proto, attr(ctaProtoDstPort, binary.BigEndian.AppendUint16(nil, f.DstPort))...)
	case f.Protocol == model.ICMPv4:
		proto = append(proto, icmpAttrs(ctaProtoICMPID, f, id)...)
	case f.Protocol == model.ICMPv6:
		proto = append(proto, icmpAttrs(ctaProtoICMP6ID, f, id)...)
	}
	tuple := attr(ctaTupleOrig|nested, append(attr(ctaTupleIP|nested, ip), attr(ctaTupleProto|nested, proto)...))

	c.seq++
	b := make([]byte, unix.NLMSG_HDRLEN+4, unix.NLMSG_HDRLEN+4+len(tuple))
	binary.NativeEndian.PutUint32(b, uint32(cap(b)))
	binary.NativeEndian.PutUint16(b[4:], ctSubsystem<<8|ctDelete)
	binary.NativeEndian.PutUint16(b[6:], unix.NLM_F_REQUEST|unix.NLM_F_ACK)
	binary.NativeEndian.PutUint32(b[8:], c.seq)
	b[16] = byte(family(f.Src))
	b = append(b, tuple...)
	if err := unix.Sendto(c.fd, b, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	return c.answer()
}

func icmpAttrs(first uint16, f model.Flow, id uint32) []byte {
	out := attr(first, binary.BigEndian.AppendUint16(nil, uint16(id)))
	out = append(out, attr(first+1, []byte{f.ICMPType})...)
	return append(out, attr(first+2, []byte{f.ICMPCode})...)
}

// answer reads the acknowledgement. That there is no such connection, or no
// connection tracking of its protocol, is fine.
func (c *conntrack) answer() error {
	var buf [4096]byte
	for {
		n, _, err := unix.Recvfrom(c.fd, buf[:], 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return err
		}
		b := buf[:n]
		if n < unix.NLMSG_HDRLEN+4 || binary.NativeEndian.Uint32(b[8:]) != c.seq {
			continue
		}
		if t := binary.NativeEndian.Uint16(b[4:]); t != unix.NLMSG_ERROR {
			return fmt.Errorf("unexpected netlink message of type %d", t)
		}
		switch errno := unix.Errno(-int32(binary.NativeEndian.Uint32(b[16:]))); errno {
		case 0, unix.ENOENT, unix.EINVAL, unix.EOPNOTSUPP, unix.EPROTONOSUPPORT:
			return nil
		default:
			return errno
		}
	}
}

// attr encodes a netlink attribute.
func attr(typ uint16, data []byte) []byte {
	b := make([]byte, 4, 4+(len(data)+3)&^3)
	binary.NativeEndian.PutUint16(b, uint16(4+len(data)))
	binary.NativeEndian.PutUint16(b[2:], typ)
	b = append(b, data...)
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}
