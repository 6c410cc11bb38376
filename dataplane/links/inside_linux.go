package links

import (
	"encoding/binary"
	"net/netip"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// inside lists the addresses of a port's peer, which is in a pod's namespace. After
// an error nothing is known of it: the pod ends just now.
func (k *Kernel) inside(port *link) []insideAddr {
	if k.blind {
		return nil
	}
	req := nl.NewNetlinkRequest(unix.RTM_GETADDR, unix.NLM_F_DUMP)
	req.Sockets = map[int]*nl.SocketHandle{unix.NETLINK_ROUTE: k.strict}
	req.AddData(nl.NewIfAddrmsg(unix.AF_UNSPEC))
	req.AddData(nl.NewRtAttr(unix.IFA_TARGET_NETNSID, nl.Uint32Attr(uint32(port.namespace))))
	answers, err := req.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWADDR)
	if err != nil {
		return nil
	}
	var out []insideAddr
	for _, m := range answers {
		if a, index, ok := parseInside(m, uint32(port.namespace)); ok && index == port.peer {
			out = append(out, insideAddr{port: port.index, addr: a})
		}
	}
	return out
}

// parseInside reads an address of another namespace, and the interface that it is
// on. A kernel that does not know of the request answers with its own namespace's
// addresses, which do not name the other one.
func parseInside(m []byte, namespace uint32) (addr netip.Addr, index int, ok bool) {
	if len(m) < unix.SizeofIfAddrmsg {
		return netip.Addr{}, 0, false
	}
	var local, peer []byte
	named := false
	attributes(m[unix.SizeofIfAddrmsg:], func(kind uint16, value []byte) {
		switch kind {
		case unix.IFA_LOCAL:
			local = value
		case unix.IFA_ADDRESS:
			peer = value
		case unix.IFA_TARGET_NETNSID:
			named = len(value) == 4 && binary.NativeEndian.Uint32(value) == namespace
		}
	})
	if local == nil {
		local = peer
	}
	addr, ok = netip.AddrFromSlice(local)
	return addr, int(binary.NativeEndian.Uint32(m[4:])), ok && named
}
