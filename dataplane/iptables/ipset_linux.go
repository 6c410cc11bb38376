package iptables

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	raw "github.com/mdlayher/netlink"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/tierwall/tierwall/dataplane"
	"github.com/tierwall/tierwall/policy/model"
)

// elemsAtOnce is how many elements one message brings: an attribute holds 64 KB.
const elemsAtOnce = 500

const (
	nested  = unix.NLA_F_NESTED
	network = unix.NLA_F_NET_BYTEORDER
	plainly = nl.NLA_TYPE_MASK
)

// sets lists by its own reading of the answer: the library's writes a line to
// the standard log of each attribute that it does not know.
func (k commandKernel) sets() (map[string]*ipset, error) {
	if _, err := os.Stat("/sys/module/ip_set"); errors.Is(err, fs.ErrNotExist) && sysIsThere() {
		return map[string]*ipset{}, nil // to ask would load it
	}
	messages, err := execute(setRequest(nl.IPSET_CMD_LIST))
	if err != nil {
		return nil, fmt.Errorf("list ipsets: %w", err)
	}
	out := map[string]*ipset{}
	for _, m := range messages {
		s, err := parseSet(m)
		if err != nil {
			return nil, fmt.Errorf("list ipsets: %w", err)
		}
		switch {
		case !strings.HasPrefix(s.name, setPrefix):
		case out[s.name] == nil:
			out[s.name] = s
		default: // a large set comes in parts
			out[s.name].elems = append(out[s.name].elems, s.elems...)
		}
	}
	for _, s := range out {
		s.elems = sortElems(s.elems)
	}
	return out, nil
}

// listSizes asks for the sizes of all sets, by name; -1 where the kernel does not say.
func listSizes(socket *nl.SocketHandle) (map[string]int, error) {
	r := setRequest(nl.IPSET_CMD_LIST)
	r.AddData(&nl.Uint32Attribute{Type: nl.IPSET_ATTR_FLAGS | network, Value: listHeaders})
	r.Sockets = map[int]*nl.SocketHandle{unix.NETLINK_NETFILTER: socket}
	messages, err := execute(r)
	if err != nil {
		return nil, fmt.Errorf("list ipsets: %w", err)
	}
	out := make(map[string]int, len(messages))
	for _, m := range messages {
		name, n, err := parseSize(m)
		if err != nil {
			return nil, fmt.Errorf("list ipsets: %w", err)
		}
		if strings.HasPrefix(name, setPrefix) {
			out[name] = n
		}
	}
	return out, nil
}

// listHeaders asks for a list without members: IPSET_FLAG_LIST_HEADER.
const listHeaders = 1 << 2

// parseSize reads name and size of a set.
func parseSize(message []byte) (name string, n int, err error) {
	attrs, err := attributes(message[min(nl.SizeofNfgenmsg, len(message)):])
	if err != nil {
		return "", 0, err
	}
	n = -1
	for _, a := range attrs {
		switch a.Type & plainly {
		case nl.IPSET_ATTR_SETNAME:
			name = strings.TrimRight(string(a.Data), "\x00")
		case nl.IPSET_ATTR_DATA:
			list, err := attributes(a.Data)
			if err != nil {
				return "", 0, err
			}
			for _, d := range list {
				if d.Type&plainly == nl.IPSET_ATTR_ELEMENTS && len(d.Data) == 4 {
					n = int(binary.BigEndian.Uint32(d.Data))
				}
			}
		}
	}
	return name, n, nil
}

func sysIsThere() bool {
	_, err := os.Stat("/sys/module")
	return err == nil
}

func setRequest(command int) *nl.NetlinkRequest {
	r := nl.NewNetlinkRequest(command|unix.NFNL_SUBSYS_IPSET<<8, nl.GetIpsetFlags(command))
	r.AddData(&nl.Nfgenmsg{NfgenFamily: unix.AF_NETLINK, Version: nl.NFNETLINK_V0})
	r.AddData(nl.NewRtAttr(nl.IPSET_ATTR_PROTOCOL, nl.Uint8Attr(nl.IPSET_PROTOCOL)))
	return r
}

func execute(r *nl.NetlinkRequest) ([][]byte, error) {
	messages, err := r.Execute(unix.NETLINK_NETFILTER, 0)
	var number syscall.Errno
	if errors.As(err, &number) && number >= nl.IPSET_ERR_PRIVATE {
		err = nl.IPSetError(number)
	}
	return messages, err
}

// parseSet reads a message of a list: a set and some of its elements.
func parseSet(message []byte) (*ipset, error) {
	attrs, err := attributes(message[min(nl.SizeofNfgenmsg, len(message)):])
	if err != nil {
		return nil, err
	}
	s := &ipset{family: dataplane.IPv4}
	for _, a := range attrs {
		switch a.Type & plainly {
		case nl.IPSET_ATTR_SETNAME:
			s.name = strings.TrimRight(string(a.Data), "\x00")
		case nl.IPSET_ATTR_TYPENAME:
			s.kind = strings.TrimRight(string(a.Data), "\x00")
		case nl.IPSET_ATTR_FAMILY:
			if len(a.Data) == 1 && a.Data[0] == unix.AF_INET6 {
				s.family = dataplane.IPv6
			}
		case nl.IPSET_ATTR_ADT:
			list, err := attributes(a.Data)
			if err != nil {
				return nil, err
			}
			for _, data := range list {
				e, err := parseElem(data.Data)
				if err != nil {
					return nil, fmt.Errorf("set %s: %w", s.name, err)
				}
				s.elems = append(s.elems, e)
			}
		}
	}
	return s, nil
}

// attributes reads by the other netlink library: this one's panics where a length is not what it should be.
func attributes(b []byte) ([]raw.Attribute, error) {
	list, err := raw.UnmarshalAttributes(b)
	if err != nil {
		return nil, fmt.Errorf("attributes: %w", err)
	}
	return list, nil
}

// parseElem reads an element. One without an address, as others' sets have, is the zero elem.
func parseElem(b []byte) (elem, error) {
	attrs, err := attributes(b)
	if err != nil {
		return elem{}, err
	}
	var e elem
	var addr netip.Addr
	bits := -1
	for _, a := range attrs {
		switch a.Type & plainly {
		case nl.IPSET_ATTR_IP:
			inner, err := attributes(a.Data)
			if err != nil {
				return elem{}, err
			}
			if len(inner) > 0 {
				addr, _ = netip.AddrFromSlice(inner[0].Data)
			}
		case nl.IPSET_ATTR_IP2:
			inner, err := attributes(a.Data)
			if err != nil {
				return elem{}, err
			}
			if len(inner) > 0 {
				e.to, _ = netip.AddrFromSlice(inner[0].Data)
			}
		case nl.IPSET_ATTR_CIDR:
			if len(a.Data) == 1 {
				bits = int(a.Data[0])
			}
		case nl.IPSET_ATTR_PROTO:
			if len(a.Data) == 1 {
				e.protocol = model.Protocol(a.Data[0])
			}
		case nl.IPSET_ATTR_IFACE:
			e.link = strings.TrimRight(string(a.Data), "\x00")
		case nl.IPSET_ATTR_PORT:
			if len(a.Data) == 2 {
				e.port = binary.BigEndian.Uint16(a.Data)
			}
		}
	}
	if !addr.IsValid() {
		return elem{}, nil
	}
	if bits < 0 {
		bits = addr.BitLen()
	}
	e.net = netip.PrefixFrom(addr, bits)
	return e, nil
}

// attribute is the element as a request brings it.
func (e elem) attribute(kind string) *nl.RtAttr {
	data := nl.NewRtAttr(nl.IPSET_ATTR_DATA|nested, nil)
	addr, version := e.net.Addr(), nl.IPSET_ATTR_IPADDR_IPV6
	if addr.Is4() {
		version = nl.IPSET_ATTR_IPADDR_IPV4
	}
	data.AddRtAttr(nl.IPSET_ATTR_IP|nested, nil).AddRtAttr(version|network, addr.AsSlice())
	switch kind {
	case typeNets:
		data.AddRtAttr(nl.IPSET_ATTR_CIDR, nl.Uint8Attr(uint8(e.net.Bits())))
	case typeLinks:
		data.AddRtAttr(nl.IPSET_ATTR_CIDR, nl.Uint8Attr(uint8(e.net.Bits())))
		data.AddRtAttr(nl.IPSET_ATTR_IFACE, nl.ZeroTerminated(e.link))
	case typeFlows:
		data.AddRtAttr(nl.IPSET_ATTR_IP2|nested, nil).AddRtAttr(version|network, e.to.AsSlice())
		data.AddRtAttr(nl.IPSET_ATTR_PROTO, nl.Uint8Attr(uint8(e.protocol)))
		data.AddRtAttr(nl.IPSET_ATTR_PORT|network, binary.BigEndian.AppendUint16(nil, e.port))
	case typePorts:
		data.AddRtAttr(nl.IPSET_ATTR_PROTO, nl.Uint8Attr(uint8(e.protocol)))
		data.AddRtAttr(nl.IPSET_ATTR_PORT|network, binary.BigEndian.AppendUint16(nil, e.port))
	}
	return data
}

func (k commandKernel) createSet(s *ipset) error {
	family := uint8(unix.AF_INET)
	if s.family == dataplane.IPv6 {
		family = unix.AF_INET6
	}
	r := setRequest(nl.IPSET_CMD_CREATE)
	r.Flags |= unix.NLM_F_EXCL
	r.AddData(nl.NewRtAttr(nl.IPSET_ATTR_SETNAME, nl.ZeroTerminated(s.name)))
	r.AddData(nl.NewRtAttr(nl.IPSET_ATTR_TYPENAME, nl.ZeroTerminated(s.kind)))
	r.AddData(nl.NewRtAttr(nl.IPSET_ATTR_REVISION, nl.Uint8Attr(1)))
	r.AddData(nl.NewRtAttr(nl.IPSET_ATTR_FAMILY, nl.Uint8Attr(family)))
	data := nl.NewRtAttr(nl.IPSET_ATTR_DATA|nested, nil)
	most := uint32(maxElems)
	if s.kind == typeFlows {
		most = dataplane.MaxBarred
	}
	if d := timed(s.kind); d > 0 {
		data.AddChild(&nl.Uint32Attribute{Type: nl.IPSET_ATTR_TIMEOUT | network, Value: uint32(d / time.Second)})
	}
	if s.kind == typeHold {
		only := binary.BigEndian.AppendUint16(nil, dataplane.AnswerPort)
		data.AddRtAttr(nl.IPSET_ATTR_PORT_FROM|network, only)
		data.AddRtAttr(nl.IPSET_ATTR_PORT_TO|network, only)
	} else {
		data.AddChild(&nl.Uint32Attribute{Type: nl.IPSET_ATTR_HASHSIZE | network, Value: hashSize(len(s.elems))})
		data.AddChild(&nl.Uint32Attribute{Type: nl.IPSET_ATTR_MAXELEM | network, Value: most})
	}
	r.AddData(data)
	if _, err := execute(r); err != nil {
		return fmt.Errorf("create ipset %s: %w", s.name, err)
	}
	return k.changeSet(s, s.elems, true)
}

// hashSize is how many buckets a set begins with. One that has to grow waits for
// packets that look at it each time it does.
func hashSize(elems int) uint32 {
	n := uint32(64)
	for n < uint32(min(elems, maxElems)) {
		n *= 2
	}
	return n
}

// changeSet is not told of elements that are there, or gone, already.
func (k commandKernel) changeSet(s *ipset, elems []elem, add bool) error {
	command, verb := nl.IPSET_CMD_DEL, "remove from"
	if add {
		command, verb = nl.IPSET_CMD_ADD, "add to"
	}
	for some := range slices.Chunk(elems, elemsAtOnce) {
		r := setRequest(command)
		r.Flags &^= unix.NLM_F_EXCL
		r.AddData(nl.NewRtAttr(nl.IPSET_ATTR_SETNAME, nl.ZeroTerminated(s.name)))
		r.AddData(&nl.Uint32Attribute{Type: nl.IPSET_ATTR_LINENO | network, Value: 0})
		list := nl.NewRtAttr(nl.IPSET_ATTR_ADT|nested, nil)
		for _, e := range some {
			list.AddChild(e.attribute(s.kind))
		}
		r.AddData(list)
		if err := k.change(r); err != nil {
			return fmt.Errorf("%s ipset %s: %d elements from %s: %w", verb, s.name, len(some), some[0].text(), err)
		}
	}
	return nil
}

// change has the kernel do what a request asks for that has no answer.
func (k commandKernel) change(r *nl.NetlinkRequest) error {
	if k.socket != nil {
		return k.socket.execute(r)
	}
	_, err := execute(r)
	return err
}

// settle waits as long as the kernel's readers of what was changed may take: all
// hooks run as such. Where the system call is not to be had there is no wait.
func (commandKernel) settle() {
	const global = 1 << 0 // MEMBARRIER_CMD_GLOBAL
	_, _, _ = unix.Syscall(unix.SYS_MEMBARRIER, global, 0, 0)
}

func (k commandKernel) destroySet(name string) error {
	err := netlink.IpsetDestroy(name)
	switch {
	case err == nil, errors.Is(err, unix.ENOENT):
		return nil
	case errors.Is(err, unix.EBUSY), errors.Is(err, nl.IPSetError(nl.IPSET_ERR_BUSY)):
		return errBusy
	}
	return fmt.Errorf("destroy ipset %s: %w", name, err)
}

// hasNFTables says whether the kernel has nftables. Without the privilege to ask it is taken to.
func hasNFTables() bool {
	r := nl.NewNetlinkRequest(unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_GETTABLE, unix.NLM_F_DUMP)
	r.AddData(&nl.Nfgenmsg{NfgenFamily: unix.NFPROTO_INET, Version: unix.NFNETLINK_V0})
	_, err := r.Execute(unix.NETLINK_NETFILTER, 0)
	return err == nil || errors.Is(err, unix.EPERM)
}
