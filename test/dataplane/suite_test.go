package dataplane

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	k8s "k8s.io/apimachinery/pkg/runtime"

	"github.com/tierwall/tierwall/cmd"
	"github.com/tierwall/tierwall/controllers/manifests"
	"github.com/tierwall/tierwall/lab"
	"github.com/tierwall/tierwall/policy/model"
)

// asTierwall, set in the environment, makes the test program the program
// tierwall, so that agents can be processes of their own.
const asTierwall = "TIERWALL_TEST_MAIN"

// asOnePlane, set in the environment, has the test program run the specs itself.
const asOnePlane = "TIERWALL_TEST_PLANE"

// noLab is why there can be no lab on this machine; nil if there can.
var noLab error

// realNft is the program nft.
var realNft string

func TestMain(m *testing.M) {
	if os.Getenv(asTierwall) != "" {
		os.Exit(cmd.Main(append([]string{"tierwall"}, os.Args[1:]...), os.Stdin, os.Stdout, os.Stderr))
	}
	noLab = lab.Reexec()
	var err error
	if realNft, err = exec.LookPath("nft"); noLab == nil && err != nil {
		noLab = fmt.Errorf("the command nft is needed (package nftables): %w", err)
	}
	for command, pkg := range map[string]string{"iptables-legacy": "iptables", "iptables-nft": "iptables", "ipset": "ipset"} {
		if _, err := exec.LookPath(command); noLab == nil && err != nil {
			noLab = fmt.Errorf("the command %s is needed (package %s): %w", command, pkg, err)
		}
	}
	status := m.Run()
	if noLab != nil {
		fmt.Fprintf(os.Stderr, "\n*** test/dataplane: NOTHING RAN: %v\n\n", noLab)
	}
	os.Exit(status)
}

// TestDataplane fails where tests decide about a change and there can be no lab;
// elsewhere it counts as not run, never as passed.
//
// The specs of each data plane run in a process of their own, all at once: most
// of what they take is waiting. Those of no certain one run with nftables'.
func TestDataplane(t *testing.T) {
	switch {
	case noLab == nil:
	case os.Getenv("CI") != "":
		t.Fatal(noLab)
	default:
		t.Skip("NOT RUN: ", noLab)
	}
	if os.Getenv(asOnePlane) != "" {
		RegisterFailHandler(Fail)
		SetDefaultEventuallyTimeout(30 * time.Second)
		SetDefaultEventuallyPollingInterval(time.Millisecond)
		RunSpecs(t, "dataplane")
		return
	}
	for _, p := range planes {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			filter := p.name
			if p == byNFTables {
				filter = "!" + byLegacy.name + " && !" + byNFT.name
			}
			args := []string{"-test.run=^TestDataplane$", "-ginkgo.label-filter=" + filter}
			for i, a := range os.Args[1:] {
				value := i > 0 && strings.Contains(os.Args[i], "-ginkgo.") && !strings.HasPrefix(a, "-")
				if value || strings.Contains(a, "-ginkgo.") || strings.HasPrefix(a, "-test.timeout") {
					args = append(args, a)
				}
			}
			c := exec.Command(os.Args[0], args...)
			c.Env = append(os.Environ(), asOnePlane+"=1")
			c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
			runtime.LockOSThread() // Pdeathsig is sent when this thread ends
			defer runtime.UnlockOSThread()
			out, err := c.CombinedOutput()
			t.Logf("%s", out)
			if err != nil {
				t.Error(err)
			}
		})
	}
}

// total is all that the suite's traffic came to.
var total struct{ streams, records, lost, probes, through uint64 }

var _ = AfterSuite(func() {
	fmt.Printf("\n%d streams with %d records, %d of them lost; %d probes of denied flows, %d of them through\n",
		total.streams, total.records, total.lost, total.probes, total.through)
})

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

func tcp(src, dst string, port uint16) model.Flow {
	return model.Flow{Src: addr(src), Dst: addr(dst), Protocol: model.TCP, DstPort: port}
}

func udp(src, dst string, port uint16) model.Flow {
	return model.Flow{Src: addr(src), Dst: addr(dst), Protocol: model.UDP, DstPort: port}
}

// objects reads manifests.
func objects(yaml string) []k8s.Object {
	GinkgoHelper()
	r, err := manifests.LoadBytes("test.yaml", []byte(yaml))
	Expect(err).NotTo(HaveOccurred())
	var out []k8s.Object
	for _, o := range r.Objects {
		out = append(out, o.Object)
	}
	return out
}

// bring builds the lab of objects; it goes with the spec.
func bring(world []k8s.Object) *lab.Lab {
	GinkgoHelper()
	spec, _, err := lab.FromObjects(world)
	Expect(err).NotTo(HaveOccurred())
	l, err := lab.New(context.Background(), spec)
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(func() { Expect(l.Close()).To(Succeed()) })
	return l
}

// delivered sends a probe and says whether it arrived.
func delivered(l *lab.Lab, f model.Flow) bool {
	GinkgoHelper()
	r, err := l.Probe(context.Background(), f, lab.Options{})
	Expect(err).NotTo(HaveOccurred())
	return r.Delivered
}

// becomes waits until probes of a flow fare as wanted.
func becomes(l *lab.Lab, f model.Flow, arrives bool) {
	GinkgoHelper()
	Eventually(func() bool { return delivered(l, f) }).Should(Equal(arrives), "%+v", f)
}
