//go:build linux

package lab

import (
	"fmt"
	"net/netip"
	"os/exec"
	"slices"
	"strings"

	"github.com/tierwall/tierwall/policy/model"
)

// servicesTable is the nftables table that holds the services of the lab.
const servicesTable = "lab-services"

// masqueradeMark marks packets that are to get an address of the node, as
// kube-proxy does it.
const masqueradeMark = 0x4000

// SetServices replaces the services of the lab. Every node translates their
// addresses by a table of its own, at prerouting and output with the priority of
// destination NAT (-100), and masquerades at postrouting (100), as kube-proxy
// does. An address of a node is translated by that node alone: it is a node port.
// Established connections keep their backend. It needs the nft command.
func (l *Lab) SetServices(services ...Service) error {
	if _, err := exec.LookPath("nft"); err != nil {
		return fmt.Errorf("lab: services need the command nft (package nftables): %w", err)
	}
	for _, s := range services {
		if err := s.check(); err != nil {
			return fmt.Errorf("lab: service %s %s: %w", s.Protocol, s.Addr, err)
		}
	}
	done, err := l.change()
	if err != nil {
		return err
	}
	defer done()
	l.mu.RLock()
	old := l.services
	nodes := make(map[string]*node, len(l.nodes))
	for name, n := range l.nodes {
		nodes[name] = n
	}
	l.mu.RUnlock()
	for _, s := range old {
		if n := nodes[s.Via]; n != nil {
			_ = n.wires[0].far.removeRoute(single(s.Addr.Addr())) // of two services with one address
		}
	}
	for _, s := range services {
		if s.Via == "" {
			continue
		}
		n := nodes[s.Via]
		if n == nil {
			return fmt.Errorf("lab: service %s: there is no node %q", s.Addr, s.Via)
		}
		if err := n.wires[0].via(s.Addr.Addr()); err != nil {
			return err
		}
	}
	for name := range nodes {
		c := l.Command(name, "nft", "-f", "-")
		c.Stdin = strings.NewReader(renderServices(l.translatedBy(name, nodes, services)))
		if out, err := c.CombinedOutput(); err != nil {
			return fmt.Errorf("lab: node %s: services: nft: %w: %s", name, err, out)
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.services = slices.Clone(services)
	return nil
}

// translatedBy returns the services that a node translates: all but those at an address
// of another node.
func (l *Lab) translatedBy(name string, nodes map[string]*node, services []Service) []Service {
	return slices.DeleteFunc(slices.Clone(services), func(s Service) bool {
		owner, ok := l.Owner(s.Addr.Addr())
		return ok && owner != name && nodes[owner] != nil
	})
}

func (s *Service) check() error {
	if !slices.Contains([]model.Protocol{model.TCP, model.UDP, model.SCTP}, s.Protocol) {
		return fmt.Errorf("protocol %s has no services", s.Protocol)
	}
	for _, a := range append([]netip.AddrPort{s.Addr}, s.Backends...) {
		if err := checkAddr(a.Addr()); err != nil {
			return err
		}
		if a.Port() == 0 || a.Addr().Is4() != s.Addr.Addr().Is4() {
			return fmt.Errorf("%s: a port and one family are needed", a)
		}
	}
	return nil
}

// renderServices writes the table as input of nft.
func renderServices(services []Service) string {
	var b strings.Builder
	fmt.Fprintf(&b, "table inet %s\ndelete table inet %s\ntable inet %s {\n\tchain services {\n", servicesTable, servicesTable, servicesTable)
	for _, s := range services {
		if len(s.Backends) == 0 {
			continue
		}
		ip := "ip"
		if s.Addr.Addr().Is6() {
			ip = "ip6"
		}
		match := fmt.Sprintf("\t\t%s daddr %s %s dport %d ", ip, s.Addr.Addr(), strings.ToLower(s.Protocol.String()), s.Addr.Port())
		if s.Masquerade {
			fmt.Fprintf(&b, "%smeta mark set meta mark or %#x\n", match, masqueradeMark)
		}
		if len(s.Backends) == 1 {
			fmt.Fprintf(&b, "%sdnat %s to %s\n", match, ip, s.Backends[0])
			continue
		}
		fmt.Fprintf(&b, "%sdnat %s to numgen random mod %d map { ", match, ip, len(s.Backends))
		for i, a := range s.Backends {
			fmt.Fprintf(&b, "%d : %s . %d, ", i, a.Addr(), a.Port())
		}
		b.WriteString("}\n")
	}
	b.WriteString("\t}\n")
	b.WriteString("\tchain prerouting {\n\t\ttype nat hook prerouting priority -100\n\t\tjump services\n\t}\n")
	b.WriteString("\tchain output {\n\t\ttype nat hook output priority -100\n\t\tjump services\n\t}\n")
	fmt.Fprintf(&b, "\tchain postrouting {\n\t\ttype nat hook postrouting priority 100\n\t\tmeta mark and %#x == 0 return\n\t\tmeta mark set meta mark and 0xffffbfff\n\t\tmasquerade\n\t}\n}\n", masqueradeMark)
	return b.String()
}
