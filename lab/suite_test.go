//go:build linux

package lab

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/tierwall/tierwall/policy/model"
)

func TestMain(m *testing.M) {
	if err := Reexec(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if mode := os.Getenv(childMode); mode != "" {
		if err := child(mode); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if _, err := exec.LookPath("nft"); err != nil {
		fmt.Fprintln(os.Stderr, "the lab's tests need the command nft: install the package nftables:", err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func TestLab(t *testing.T) {
	RegisterFailHandler(Fail)
	RunSpecs(t, "lab")
}

func addr(s string) netip.Addr         { return netip.MustParseAddr(s) }
func addrPort(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

func addrs(s ...string) []netip.Addr {
	var out []netip.Addr
	for _, a := range s {
		out = append(out, addr(a))
	}
	return out
}

// world has two nodes with pod blocks, pods in and outside of them, and a host.
func world(network Network) Spec {
	return Spec{
		Network: network,
		Nodes: []Node{
			{Name: "n1", Addrs: addrs("192.0.2.1", "2001:db8::1"), PodCIDRs: []netip.Prefix{netip.MustParsePrefix("10.1.1.0/24"), netip.MustParsePrefix("fd00:1:1::/64")}},
			{Name: "n2", Addrs: addrs("192.0.2.2", "2001:db8::2"), PodCIDRs: []netip.Prefix{netip.MustParsePrefix("10.1.2.0/24"), netip.MustParsePrefix("fd00:1:2::/64")},
				Links: []Link{{Name: "eth1", Addrs: addrs("198.18.0.2", "2001:db8:1::2")}}},
		},
		Pods: []Pod{
			{Namespace: "a", Name: "web", Node: "n1", Addrs: addrs("10.1.1.10", "fd00:1:1::10")},
			{Namespace: "a", Name: "db", Node: "n1", Addrs: addrs("10.1.1.11", "fd00:1:1::11")},
			{Namespace: "b", Name: "web", Node: "n2", Addrs: addrs("10.1.2.10", "fd00:1:2::10")},
			{Namespace: "b", Name: "odd", Node: "n2", Addrs: addrs("172.20.7.7", "fd00:77::7")},
			{Namespace: "b", Name: "host", Node: "n2", HostNetwork: true},
		},
		Outside: []Host{{Name: "out", Addrs: addrs("203.0.113.9", "2001:db8:ffff::9")}},
	}
}

// bring builds a lab that goes with the spec.
func bring(s Spec) *Lab {
	GinkgoHelper()
	l, err := New(context.Background(), s)
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(func() { Expect(l.Close()).To(Succeed()) })
	return l
}

// nft loads rules into the namespace of a node.
func nft(l *Lab, where, text string) {
	GinkgoHelper()
	c := l.Command(where, "nft", "-f", "-")
	c.Stdin = strings.NewReader(text)
	out, err := c.CombinedOutput()
	Expect(err).NotTo(HaveOccurred(), string(out))
}

func try(l *Lab, f model.Flow) Result {
	GinkgoHelper()
	return tryWith(l, f, Options{})
}

func tryWith(l *Lab, f model.Flow, o Options) Result {
	GinkgoHelper()
	r, err := l.Probe(context.Background(), f, o)
	Expect(err).NotTo(HaveOccurred())
	return r
}

func flow(p model.Protocol, src, dst string, port uint16) model.Flow {
	return model.Flow{Src: addr(src), Dst: addr(dst), Protocol: p, DstPort: port}
}

func ping(src, dst string) model.Flow {
	f := model.Flow{Src: addr(src), Dst: addr(dst), Protocol: model.ICMPv4, ICMPType: 8}
	if f.Src.Is6() {
		f.Protocol, f.ICMPType = model.ICMPv6, 128
	}
	return f
}

// all lists a flow of each protocol between two addresses.
func allProtocols(src, dst netip.Addr) []model.Flow {
	out := []model.Flow{ping(src.String(), dst.String())}
	for _, p := range []model.Protocol{model.TCP, model.UDP, model.SCTP} {
		out = append(out, flow(p, src.String(), dst.String(), 8080))
	}
	return append(out, model.Flow{Src: src, Dst: dst, Protocol: gre}, model.Flow{Src: src, Dst: dst, Protocol: 253})
}

var (
	beDelivered = And(HaveField("Delivered", true), HaveField("Answered", true), HaveField("Rejected", false))
	beDropped   = And(HaveField("Delivered", false), HaveField("Answered", false), HaveField("Rejected", false))
)

func addrPorts(s ...string) []netip.AddrPort {
	var out []netip.AddrPort
	for _, a := range s {
		out = append(out, addrPort(a))
	}
	return out
}
