//go:build linux

package lab

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/tierwall/tierwall/policy/model"
)

// childMode in the environment makes the test's program do another thing.
const childMode = "TIERWALL_LAB_CHILD"

func child(mode string) error {
	l, err := New(context.Background(), world(Routed))
	if err != nil {
		return err
	}
	defer closeQuietly(l)
	switch mode {
	case "probe":
		for _, f := range allProtocols(addr("10.1.1.10"), addr("203.0.113.9")) {
			r, err := l.Probe(context.Background(), f, Options{})
			if err != nil {
				return err
			}
			if err := delivered(f, r); err != nil {
				return fmt.Errorf("%s: %w", describe(f), err)
			}
		}
		c := l.Command("n1", "nft", "-f", "-")
		c.Stdin = strings.NewReader("table inet t {\n chain f { type filter hook forward priority 0; drop; }\n }")
		if out, err := c.CombinedOutput(); err != nil {
			return fmt.Errorf("nft: %w: %s", err, out)
		}
		r, err := l.Probe(context.Background(), flow(model.TCP, "10.1.1.10", "203.0.113.9", 80), Options{})
		if err != nil || r.Delivered {
			return fmt.Errorf("a dropped probe: %+v, %w", r, err)
		}
		fmt.Println("uid", os.Getuid(), "done")
	case "hang":
		// Namespace 3 gets an end of a veth pair with each namespace of the lab.
		n, err := tether(l, 3)
		if err != nil {
			return err
		}
		if err := l.Command("n1", "sleep", "1000").Start(); err != nil {
			return err
		}
		if _, err := l.OpenStream(context.Background(), StreamOptions{Protocol: model.TCP, Src: addrPort("10.1.1.10:0"), Dst: addrPort("10.1.2.10:80")}); err != nil {
			return err
		}
		fmt.Println("tethered", n)
		select {}
	}
	return nil
}

// tether connects each namespace of a lab with another namespace by a veth pair.
// When the kernel has destroyed the one end's namespace, the other end is gone.
func tether(l *Lab, to int) (int, error) {
	all := append(l.places(), l.wire)
	for i, p := range all {
		v := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: fmt.Sprintf("tether%d", i)}, PeerName: fmt.Sprintf("tether%d", i), PeerNamespace: netlink.NsFd(to)}
		if err := p.nl.LinkAdd(v); err != nil {
			return 0, err
		}
	}
	return len(all), nil
}

// ends counts the tethers of a namespace.
func ends(n *namespace) func() int {
	h, err := netlink.NewHandleAt(netns.NsHandle(n.file.Fd()), unix.NETLINK_ROUTE)
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(h.Close)
	return func() int {
		links, err := h.LinkList()
		Expect(err).NotTo(HaveOccurred())
		count := 0
		for _, l := range links {
			if strings.HasPrefix(l.Attrs().Name, "tether") {
				count++
			}
		}
		return count
	}
}

// host describes what a lab could leave in the host's own namespace.
func hostState() []string {
	var out []string
	links, err := netlink.LinkList()
	Expect(err).NotTo(HaveOccurred())
	for _, l := range links {
		out = append(out, fmt.Sprint(l.Attrs().Index, l.Attrs().Name, l.Attrs().Flags))
	}
	named, err := os.ReadDir("/run/netns")
	if !errors.Is(err, os.ErrNotExist) {
		Expect(err).NotTo(HaveOccurred())
	}
	for _, e := range named {
		out = append(out, e.Name())
	}
	for _, name := range []string{"ipv4/ip_forward", "ipv6/conf/all/forwarding", "ipv4/conf/all/rp_filter", "ipv6/conf/all/accept_dad"} {
		value, err := os.ReadFile("/proc/sys/net/" + name)
		Expect(err).NotTo(HaveOccurred())
		out = append(out, name+"="+string(value))
	}
	return out
}

var _ = Describe("what is left behind", func() {
	var other *namespace
	BeforeEach(func() {
		var err error
		other, err = newNamespace(nil)
		Expect(err).NotTo(HaveOccurred())
		DeferCleanup(other.close)
	})

	It("is nothing after Close", func() {
		before := hostState()
		l := bring(world(Bridge))
		count := ends(other)
		n, err := tether(l, int(other.file.Fd()))
		Expect(err).NotTo(HaveOccurred())
		Expect(count()).To(Equal(n))
		c := l.Command("n1", "sleep", "1000")
		Expect(c.Start()).To(Succeed())
		s, err := l.OpenStream(context.Background(), StreamOptions{Protocol: model.TCP, Src: addrPort("10.1.1.10:0"), Dst: addrPort("10.1.2.10:80")})
		Expect(err).NotTo(HaveOccurred())
		_, err = s.WaitRecords(context.Background(), 2)
		Expect(err).NotTo(HaveOccurred())
		Expect(try(l, flow(model.UDP, "10.1.1.10", "10.1.2.10", 53))).To(beDelivered)

		Expect(l.Close()).To(Succeed())
		Expect(l.Close()).To(Succeed())
		Expect(c.Wait()).To(MatchError(ContainSubstring("killed")))
		Eventually(count).WithTimeout(time.Minute).Should(BeZero())
		Expect(hostState()).To(Equal(before))

		_, err = l.Probe(context.Background(), flow(model.UDP, "10.1.1.10", "10.1.2.10", 53), Options{})
		Expect(err).To(HaveOccurred())
		Expect(l.Do("n1", func() error { return nil })).NotTo(Succeed())
		Expect(l.Command("n1", "true").Run()).NotTo(Succeed())
		_, err = l.OpenStream(context.Background(), StreamOptions{Protocol: model.UDP, Src: addrPort("10.1.1.10:0"), Dst: addrPort("10.1.2.10:80")})
		Expect(err).To(HaveOccurred())
		Expect(l.AddPod(Pod{Namespace: "c", Name: "late", Node: "n1", Addrs: addrs("10.1.1.99")})).NotTo(Succeed())
	})

	It("is nothing after SIGKILL", func() {
		before := hostState()
		count := ends(other)
		c := exec.Command("/proc/self/exe")
		c.Env = append(os.Environ(), childMode+"=hang")
		c.ExtraFiles = []*os.File{other.file}
		c.Stderr = GinkgoWriter
		c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		out, err := c.StdoutPipe()
		Expect(err).NotTo(HaveOccurred())
		Expect(c.Start()).To(Succeed())
		line, err := bufio.NewReader(out).ReadString('\n')
		Expect(err).NotTo(HaveOccurred())
		var n int
		_, err = fmt.Sscanf(line, "tethered %d", &n)
		Expect(err).NotTo(HaveOccurred())
		Expect(n).To(Equal(9), "namespaces of the lab")
		Expect(count()).To(Equal(n))

		Expect(c.Process.Kill()).To(Succeed())
		Expect(c.Wait()).NotTo(Succeed())
		Eventually(count).WithTimeout(time.Minute).Should(BeZero())
		Expect(hostState()).To(Equal(before))
	})
})

var _ = Describe("without root", func() {
	It("works in a user namespace, or says what is missing", func() {
		dir, err := os.MkdirTemp("", "lab")
		Expect(err).NotTo(HaveOccurred())
		DeferCleanup(os.RemoveAll, dir)
		Expect(os.Chmod(dir, 0o755)).To(Succeed())
		program := filepath.Join(dir, "lab.test")
		copyFile("/proc/self/exe", program)

		c := exec.Command(program)
		c.Dir = "/"
		for _, e := range os.Environ() {
			if !strings.HasPrefix(e, reexecMark) {
				c.Env = append(c.Env, e)
			}
		}
		c.Env = append(c.Env, childMode+"=probe")
		if os.Getuid() == 0 && os.Getenv(reexecMark) == "" {
			c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		}
		out, err := c.CombinedOutput()
		if err != nil {
			Expect(string(out)).To(ContainSubstring("lab: neither root"), "%v", err)
			return
		}
		Expect(string(out)).To(ContainSubstring("done"))
	})
})

func copyFile(from, to string) {
	GinkgoHelper()
	in, err := os.Open(from)
	Expect(err).NotTo(HaveOccurred())
	defer closeQuietly(in)
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY, 0o755)
	Expect(err).NotTo(HaveOccurred())
	_, err = io.Copy(out, in)
	Expect(err).NotTo(HaveOccurred())
	Expect(out.Close()).To(Succeed())
}
