package links

import (
	"encoding/binary"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// From linux/wireguard.h.
const (
	wireguardGetDevice  = 0
	wireguardVersion    = 1
	wireguardIfindex    = 1
	wireguardListenPort = 6
)

// readWireGuard fills in the ports of WireGuard devices, as far as the kernel reports
// them; rtnetlink does not.
func (k *Kernel) readWireGuard(l *listing) {
	var family *netlink.GenlFamily
	l.fillWireGuard(func(index int) (answers [][]byte, err error) {
		if family == nil {
			if family, err = k.handle.GenlFamilyGet("wireguard"); err != nil {
				return nil, err
			}
		}
		req := nl.NewNetlinkRequest(int(family.ID), unix.NLM_F_DUMP)
		req.Sockets = map[int]*nl.SocketHandle{unix.NETLINK_GENERIC: k.generic}
		req.AddData(&nl.Genlmsg{Command: wireguardGetDevice, Version: wireguardVersion})
		req.AddData(nl.NewRtAttr(wireguardIfindex, nl.Uint32Attr(uint32(index))))
		return req.Execute(unix.NETLINK_GENERIC, 0)
	})
}

// fillWireGuard fills in the ports of WireGuard devices by what ask returns for the
// index of one. A device that cannot be read has none.
func (l *listing) fillWireGuard(ask func(index int) ([][]byte, error)) {
	for i := range l.links {
		x := &l.links[i]
		if x.kind != "wireguard" || !x.up {
			continue
		}
		answers, err := ask(x.index)
		if err != nil {
			continue
		}
		for _, m := range answers {
			if port, ok := parseWireGuard(m); ok {
				x.encapsulation.port = port
			}
		}
	}
}

// parseWireGuard reads the port that a device listens at.
func parseWireGuard(m []byte) (port uint16, ok bool) {
	if len(m) < nl.SizeofGenlmsg {
		return 0, false
	}
	attributes(m[nl.SizeofGenlmsg:], func(kind uint16, value []byte) {
		if kind == wireguardListenPort && len(value) == 2 {
			port, ok = binary.NativeEndian.Uint16(value), true
		}
	})
	return port, ok
}
