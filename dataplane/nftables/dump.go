package nftables

import (
	"encoding/binary"
	"errors"
	"fmt"
	"syscall"

	gn "github.com/google/nftables"
	"github.com/google/nftables/userdata"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// dumper lists what the kernel holds through a socket of its own with a large
// buffer. The kernel begins a list from the front again for each piece that it
// hands out, and makes the pieces as large as what the reader has room for: with
// the small ones of the library long lists take a time that grows with the square.
type dumper struct {
	fd  int
	buf []byte
	seq uint32
}

func newDumper() (*dumper, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
	if err != nil {
		return nil, fmt.Errorf("netlink socket: %w", err)
	}
	return &dumper{fd: fd, buf: make([]byte, 256<<10)}, nil
}

func (d *dumper) close() error { return unix.Close(d.fd) }

var errInterrupted = errors.New("the list changed while it was read")

// dump lists with a request and hands each answer's attributes to f.
func (d *dumper) dump(request uint16, attrs []netlink.Attribute, f func(attrs []byte) error) error {
	body, err := netlink.MarshalAttributes(attrs)
	if err != nil {
		return err
	}
	d.seq++
	msg := make([]byte, unix.NLMSG_HDRLEN+4, unix.NLMSG_HDRLEN+4+len(body))
	msg[unix.NLMSG_HDRLEN] = unix.NFPROTO_INET
	msg = append(msg, body...)
	binary.NativeEndian.PutUint32(msg[0:], uint32(len(msg)))
	binary.NativeEndian.PutUint16(msg[4:], unix.NFNL_SUBSYS_NFTABLES<<8|request)
	binary.NativeEndian.PutUint16(msg[6:], unix.NLM_F_REQUEST|unix.NLM_F_DUMP)
	binary.NativeEndian.PutUint32(msg[8:], d.seq)
	if err := unix.Sendto(d.fd, msg, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	for {
		n, _, err := unix.Recvfrom(d.fd, d.buf, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return err
		}
		answers, err := syscall.ParseNetlinkMessage(d.buf[:n])
		if err != nil {
			return err
		}
		for _, a := range answers {
			switch {
			case a.Header.Seq != d.seq: // of a list that was given up
				continue
			case a.Header.Flags&unix.NLM_F_DUMP_INTR != 0:
				return errInterrupted
			case a.Header.Type == unix.NLMSG_DONE:
				return nil
			case a.Header.Type == unix.NLMSG_ERROR:
				if len(a.Data) < 4 {
					return unix.EBADMSG
				}
				if code := int32(binary.NativeEndian.Uint32(a.Data)); code != 0 {
					return unix.Errno(-code)
				}
				return nil
			case len(a.Data) >= 4:
				if err := f(a.Data[4:]); err != nil {
					return err
				}
			}
		}
	}
}

// userdataComment is the kind of a rule's user data that holds its comment.
const userdataComment userdata.Type = 0

// rules lists the comments of all rules of the table, by chain, in order.
func (d *dumper) rules(chains map[string][]string) error {
	table := []netlink.Attribute{{Type: unix.NFTA_RULE_TABLE, Data: []byte(TableName + "\x00")}}
	return d.dump(unix.NFT_MSG_GETRULE, table, func(attrs []byte) error {
		ad, err := netlink.NewAttributeDecoder(attrs)
		if err != nil {
			return err
		}
		var table, chain, comment string
		for ad.Next() {
			switch ad.Type() {
			case unix.NFTA_RULE_TABLE:
				table = ad.String()
			case unix.NFTA_RULE_CHAIN:
				chain = ad.String()
			case unix.NFTA_RULE_USERDATA:
				comment, _ = userdata.GetString(ad.Bytes(), userdataComment)
			}
		}
		if table == TableName {
			chains[chain] = append(chains[chain], comment)
		}
		return ad.Err()
	})
}

// elements lists a set's elements: keys, ends of intervals, and in Val the
// verdict's attributes.
func (d *dumper) elements(set string) ([]gn.SetElement, error) {
	var out []gn.SetElement
	names := []netlink.Attribute{
		{Type: unix.NFTA_SET_ELEM_LIST_TABLE, Data: []byte(TableName + "\x00")},
		{Type: unix.NFTA_SET_ELEM_LIST_SET, Data: []byte(set + "\x00")},
	}
	err := d.dump(unix.NFT_MSG_GETSETELEM, names, func(attrs []byte) error {
		return nested(attrs, func(kind uint16, list []byte) error {
			if kind != unix.NFTA_SET_ELEM_LIST_ELEMENTS {
				return nil
			}
			return nested(list, func(_ uint16, item []byte) error {
				var e gn.SetElement
				err := nested(item, func(kind uint16, b []byte) error {
					switch kind {
					case unix.NFTA_SET_ELEM_KEY:
						return nested(b, func(_ uint16, key []byte) error { e.Key = append([]byte(nil), key...); return nil })
					case unix.NFTA_SET_ELEM_DATA:
						return nested(b, func(_ uint16, v []byte) error { e.Val = append([]byte(nil), v...); return nil })
					case unix.NFTA_SET_ELEM_FLAGS:
						e.IntervalEnd = len(b) == 4 && binary.BigEndian.Uint32(b)&unix.NFT_SET_ELEM_INTERVAL_END != 0
					}
					return nil
				})
				out = append(out, e)
				return err
			})
		})
	})
	return out, err
}

// nested hands over the attributes in b.
func nested(b []byte, f func(kind uint16, data []byte) error) error {
	const mask = ^uint16(unix.NLA_F_NESTED | unix.NLA_F_NET_BYTEORDER)
	for len(b) >= unix.NLA_HDRLEN {
		n := int(binary.NativeEndian.Uint16(b))
		if n < unix.NLA_HDRLEN || n > len(b) {
			return unix.EBADMSG
		}
		if err := f(binary.NativeEndian.Uint16(b[2:])&mask, b[unix.NLA_HDRLEN:n]); err != nil {
			return err
		}
		b = b[min((n+3)&^3, len(b)):]
	}
	return nil
}
