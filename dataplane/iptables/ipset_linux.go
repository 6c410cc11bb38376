package iptables

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/tierwall/tierwall/dataplane"
	"github.com/tierwall/tierwall/policy/model"
)

func (k commandKernel) sets() (map[string]*ipset, error) {
	results, err := netlink.IpsetListAll()
	if err != nil {
		return nil, fmt.Errorf("list ipsets: %w", err)
	}
	out := map[string]*ipset{}
	for i := range results {
		r := &results[i]
		if !strings.HasPrefix(r.SetName, setPrefix) {
			continue
		}
		s := out[r.SetName]
		if s == nil { // a large set comes in parts
			s = &ipset{name: r.SetName, kind: r.TypeName, family: dataplane.IPv4}
			if r.Family == unix.AF_INET6 {
				s.family = dataplane.IPv6
			}
			out[r.SetName] = s
		}
		for j := range r.Entries {
			if e, ok := elemOf(&r.Entries[j]); ok {
				s.elems = append(s.elems, e)
			}
		}
	}
	for _, s := range out {
		s.elems = sortElems(s.elems)
	}
	return out, nil
}

func elemOf(e *netlink.IPSetEntry) (elem, bool) {
	a, ok := netip.AddrFromSlice(e.IP)
	if !ok {
		return elem{}, false
	}
	a = a.Unmap()
	bits := int(e.CIDR)
	if bits == 0 {
		bits = a.BitLen()
	}
	out := elem{net: netip.PrefixFrom(a, bits)}
	if e.Protocol != nil {
		out.protocol = model.Protocol(*e.Protocol)
	}
	if e.Port != nil {
		out.port = *e.Port
	}
	return out, true
}

func (e elem) entry(kind string) *netlink.IPSetEntry {
	out := &netlink.IPSetEntry{IP: net.IP(e.net.Addr().AsSlice())}
	switch kind {
	case typeNets:
		out.CIDR = uint8(e.net.Bits())
	case typePorts:
		protocol, port := uint8(e.protocol), e.port
		out.Protocol, out.Port = &protocol, &port
	}
	return out
}

func (k commandKernel) createSet(s *ipset) error {
	family := uint8(unix.AF_INET)
	if s.family == dataplane.IPv6 {
		family = unix.AF_INET6
	}
	if err := netlink.IpsetCreate(s.name, s.kind, netlink.IpsetCreateOptions{Family: family, MaxElements: maxElems}); err != nil {
		return fmt.Errorf("create ipset %s: %w", s.name, err)
	}
	for _, e := range s.elems {
		if err := k.changeElem(setElem{s, e}, true); err != nil {
			return err
		}
	}
	return nil
}

func (k commandKernel) changeElem(e setElem, add bool) error {
	change, verb := netlink.IpsetDel, "remove from"
	if add {
		change, verb = netlink.IpsetAdd, "add to"
	}
	entry := e.elem.entry(e.set.kind)
	entry.Replace = true // what is there already, or gone already, is no error
	if err := change(e.set.name, entry); err != nil {
		return fmt.Errorf("%s ipset %s: %s: %w", verb, e.set.name, e.elem.text(), err)
	}
	return nil
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
