package dataplane

import (
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/tierwall/tierwall/lab"
)

// bench is a folder with stand-ins of iptables' commands that write: they count
// their calls, do what they are told to, and hand on to the real ones.
type bench struct{ dir string }

// standIn is the stand-in of a command. In DIR, the file `calls` gets a line for
// each call, `fault` says what is wrong, and `waiting` is there once a call waits.
const standIn = `#!/bin/sh
echo "$0" >>DIR/calls
fault() { cat DIR/fault 2>/dev/null; }
case "$(fault) $0" in
"refuse "*|"refuse6 "*/ip6tables-*) echo "line 7 failed (as ordered)" >&2; exit 1 ;;
"busy "*) echo "resource temporarily unavailable (as ordered)" >&2; exit 4 ;;
"wait "*|"wait6 "*/ip6tables-*)
	: >DIR/waiting
	while [ -n "$(fault)" ]; do sleep 0.01; done ;;
esac
exec REAL "$@"
`

func newBench() *bench {
	GinkgoHelper()
	b := &bench{GinkgoT().TempDir()}
	Expect(os.Mkdir(filepath.Join(b.dir, "bin"), 0o700)).To(Succeed())
	for _, p := range []*plane{byLegacy, byNFT} {
		for _, base := range []string{"iptables", "ip6tables"} {
			name := p.command(base, "-restore")
			real, err := exec.LookPath(name)
			Expect(err).NotTo(HaveOccurred())
			text := strings.NewReplacer("DIR", b.dir, "REAL", real).Replace(standIn)
			Expect(os.WriteFile(filepath.Join(b.dir, "bin", name), []byte(text), 0o700)).To(Succeed())
		}
	}
	return b
}

// env is what makes an agent use the stand-ins, and a lock of iptables of its own.
func (b *bench) env() []string {
	return []string{"PATH=" + filepath.Join(b.dir, "bin") + ":" + os.Getenv("PATH"), "XTABLES_LOCKFILE=" + b.lockFile()}
}

func (b *bench) lockFile() string { return filepath.Join(b.dir, "lock") }

// calls is how many commands that write there were.
func (b *bench) calls() int {
	text, err := os.ReadFile(filepath.Join(b.dir, "calls"))
	if err != nil {
		return 0
	}
	return strings.Count(string(text), "\n")
}

// order makes the commands do something wrong from now on; "": nothing.
func (b *bench) order(fault string) {
	GinkgoHelper()
	_ = os.Remove(filepath.Join(b.dir, "waiting"))
	put(b.dir, "fault", fault)
}

// waits returns when a command waits.
func (b *bench) waits() {
	GinkgoHelper()
	Eventually(func() error { _, err := os.Stat(filepath.Join(b.dir, "waiting")); return err }).Should(Succeed())
}

// lock takes the lock that iptables' commands take, and returns what releases it.
func (b *bench) lock() (release func()) {
	GinkgoHelper()
	f, err := os.OpenFile(b.lockFile(), os.O_CREATE|os.O_RDWR, 0o600)
	Expect(err).NotTo(HaveOccurred())
	Expect(unix.Flock(int(f.Fd()), unix.LOCK_EX)).To(Succeed())
	DeferCleanup(func() { _ = f.Close() }) // it may be released
	return func() { _ = f.Close() }
}

// generation counts the transactions of nftables, iptables-nft's included, in a
// node's kernel.
func generation(l *lab.Lab, node string) uint32 {
	GinkgoHelper()
	var out uint32
	Expect(l.Do(node, func() error {
		r := nl.NewNetlinkRequest(unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_GETGEN, 0)
		r.AddData(&nl.Nfgenmsg{Version: unix.NFNETLINK_V0})
		answers, err := r.Execute(unix.NETLINK_NETFILTER, 0)
		if err != nil {
			return err
		}
		for _, a := range answers {
			if len(a) >= 12 { // the first attribute is the number
				out = binary.BigEndian.Uint32(a[8:])
			}
		}
		return nil
	})).To(Succeed())
	return out
}

// wronged is a lab with agents whose commands can be made to fail, and traffic.
type wronged struct {
	plane  *plane
	dir    string
	lab    *lab.Lab
	bench  *bench // of n2
	agents map[string]*process
	port   int // that pods elsewhere reach each other on, once it has changed
	*traffic
}

func newWronged(p *plane) *wronged {
	GinkgoHelper()
	w := &wronged{plane: p, dir: folder(), lab: bring(objects(world())), bench: newBench(), agents: map[string]*process{}}
	w.agents["n1"] = p.launch(w.lab, "n1", w.dir)
	w.launch()
	w.agents["n1"].ready()
	w.agents["n2"].ready()
	w.traffic = start(w.lab)
	return w
}

// launch starts the agent of n2.
func (w *wronged) launch() {
	GinkgoHelper()
	w.agents["n2"] = launchIn(w.bench.env(), w.lab, "n2", w.dir, w.plane.flags(w.lab, "n2")...)
}

// open has the intruder let in, and shut has him kept out again.
func (w *wronged) open() { put(w.dir, "servers.yaml", serversPolicy("ingress TCP 8888 intruder")) }
func (w *wronged) shut() { put(w.dir, "servers.yaml", serversPolicy()) }

// change changes rules elsewhere.
func (w *wronged) change() {
	w.port = elsewhereA + elsewhereB - max(w.port, elsewhereA)
	put(w.dir, "world.yaml", strings.Replace(worldFile(), elsewherePolicy(elsewhereA), elsewherePolicy(w.port), 1))
	becomes(w.lab, tcp(here, there, uint16(w.port)), true)
}

// isIn says whether the intruder gets in.
func (w *wronged) isIn() (v4, v6 bool) {
	GinkgoHelper()
	return delivered(w.lab, tcp(intruder, server, extraPort)), delivered(w.lab, tcp(intruder6, server6, extraPort))
}

// comesIn waits until he does, in both families, or is kept out.
func (w *wronged) comesIn(in bool) {
	GinkgoHelper()
	becomes(w.lab, tcp(intruder, server, extraPort), in)
	becomes(w.lab, tcp(intruder6, server6, extraPort), in)
}

// Agents that program nftables run no commands: what follows is of iptables alone.
var _ = Describe("Agents whose iptables commands do not do what they should", func() {
	for _, p := range []*plane{byLegacy, byNFT} {
		for fault, says := range map[string]string{"refuse": "line 7 failed", "busy": "resource temporarily unavailable"} {
			It(fmt.Sprintf("keep the rules while a restore ends with %q, and recover by themselves (%s)", fault, p.name), Label(p.name), SpecTimeout(2*time.Minute), func(ctx SpecContext) {
				w := newWronged(p)
				w.bench.order(fault)
				w.open()
				Eventually(func() int { return w.agents["n2"].said("kernel not up to date") }).Should(BeNumerically(">=", 2))
				Expect(w.agents["n2"].said(says)).To(BeNumerically(">=", 2))
				v4, v6 := w.isIn()
				Expect([]bool{v4, v6}).To(Equal([]bool{false, false}))
				w.goesOn(ctx, 2)
				w.bench.order("")
				w.comesIn(true)
				Expect(w.agents["n2"].said("held back")).To(BeZero())
				w.finish()
			})
		}

		It("have one family's rules in force where only the other's are refused ("+p.name+")", Label(p.name), SpecTimeout(2*time.Minute), func(ctx SpecContext) {
			w := newWronged(p)
			w.bench.order("refuse6")
			w.open()
			Eventually(func() int { return w.agents["n2"].said("kernel not up to date") }).Should(BeNumerically(">=", 2))
			v4, v6 := w.isIn()
			Expect([]bool{v4, v6}).To(Equal([]bool{true, false}))
			w.goesOn(ctx, 2)
			w.shut() // of which IPv6 has nothing to do
			becomes(w.lab, tcp(intruder, server, extraPort), false)
			w.bench.order("")
			w.open()
			w.comesIn(true)
			w.finish()
		})

		It("may be killed between the families, while a restore goes on ("+p.name+")", Label(p.name), SpecTimeout(2*time.Minute), func(ctx SpecContext) {
			w := newWronged(p)
			for _, fault := range []string{"wait6", "wait"} {
				w.bench.order(fault)
				w.open()
				w.bench.waits()
				v4, v6 := w.isIn()
				Expect([]bool{v4, v6}).To(Equal([]bool{fault == "wait6", false}), fault)
				w.goesOn(ctx, 1)
				w.agents["n2"].kill()
				w.launch() // whose command waits too
				w.goesOn(ctx, 1)
				w.bench.order("")
				w.comesIn(true)
				w.shut()
				w.comesIn(false)
			}
			w.finish()
		})

		It("leave a set that somebody else's rule asks for, until it does no more ("+p.name+")", Label(p.name), SpecTimeout(2*time.Minute), func(ctx SpecContext) {
			w := newWronged(p)
			w.open()
			w.comesIn(true)
			set := p.peersWith(w.lab, "n2", intruder)
			p.must(w.lab, "n2", "IPTABLES -A INPUT -m set --match-set "+set+" src -j RETURN")
			w.shut()
			w.comesIn(false)
			w.goesOn(ctx, 2)
			Expect(p.must(w.lab, "n2", "ipset list -n")).To(ContainSubstring(set))
			p.must(w.lab, "n2", "IPTABLES -D INPUT -m set --match-set "+set+" src -j RETURN")
			// Any other change tries once more.
			Eventually(func() string {
				w.change()
				return p.must(w.lab, "n2", "ipset list -n")
			}).WithPolling(50 * time.Millisecond).ShouldNot(ContainSubstring(set))
			Expect(w.agents["n2"].said("kernel not up to date")).To(BeZero())
			w.finish()
		})
	}

	// Only the legacy variant has a lock: nftables, and so iptables-nft, takes whole
	// transactions of several at a time.
	It("wait for whoever holds iptables' lock, and have the last of all changes then (iptables-legacy)", Label(byLegacy.name), SpecTimeout(2*time.Minute), func(ctx SpecContext) {
		w := newWronged(byLegacy)
		release := w.bench.lock()
		calls := w.bench.calls()
		w.open()
		Eventually(w.bench.calls).Should(BeNumerically(">", calls))
		w.goesOn(ctx, 5)
		v4, v6 := w.isIn()
		Expect([]bool{v4, v6}).To(Equal([]bool{false, false}))
		w.shut()
		put(w.dir, "elsewhere.yaml", elsewherePolicy(elsewhereB))
		put(w.dir, "world.yaml", strings.Replace(worldFile(), elsewherePolicy(elsewhereA), "", 1))
		w.goesOn(ctx, 5)
		Expect(w.agents["n2"].said("kernel not up to date")).To(BeZero())
		release()
		becomes(w.lab, tcp(here, there, elsewhereB), true)
		w.comesIn(false)
		w.finish()
	})
})
