package logging

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	dto "github.com/prometheus/client_model/go"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/tierwall/tierwall/controllers/manifests"
	"github.com/tierwall/tierwall/dataplane/iptables"
	"github.com/tierwall/tierwall/dataplane/nftables"
	"github.com/tierwall/tierwall/lab"
	"github.com/tierwall/tierwall/lab/fleet"
	"github.com/tierwall/tierwall/policy/model"
	"github.com/tierwall/tierwall/test/goroutines"
)

// noLab is why there can be no lab on this machine; nil if there can.
var noLab error

func TestMain(m *testing.M) {
	noLab = lab.Reexec()
	for command, pkg := range map[string]string{"nft": "nftables", "iptables-legacy": "iptables", "iptables-nft": "iptables"} {
		if _, err := exec.LookPath(command); noLab == nil && err != nil {
			noLab = fmt.Errorf("the command %s is needed (package %s): %w", command, pkg, err)
		}
	}
	status := m.Run()
	if noLab != nil {
		fmt.Fprintf(os.Stderr, "\n*** test/logging: NOTHING RAN: %v\n\n", noLab)
	}
	os.Exit(status)
}

// TestLogging fails where tests decide about a change and there can be no lab;
// elsewhere it counts as not run, never as passed.
func TestLogging(t *testing.T) {
	goroutines.MustEnd(t)
	switch {
	case noLab == nil:
	case os.Getenv("CI") != "":
		t.Fatal(noLab)
	default:
		t.Skip("NOT RUN: ", noLab)
	}
	RegisterFailHandler(Fail)
	SetDefaultEventuallyTimeout(30 * time.Second)
	SetDefaultEventuallyPollingInterval(5 * time.Millisecond)
	RunSpecs(t, "logging")
}

// line is a line of a packet, or of suppressed ones.
type line struct {
	Msg, Node, Tier, Policy, Direction, Rule, Action string
	Protocol, Source, Destination, Hook, In, Out     string
	SourceName, DestinationName                      string
	SourcePort, DestinationPort                      uint16
	ICMPType                                         *int
	Length, Suppressed                               int
}

// paper is where the lines go.
type paper struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (p *paper) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, _ = GinkgoWriter.Write(b)
	return p.buf.Write(b)
}

// lines returns what is on it.
func (p *paper) lines() []line {
	GinkgoHelper()
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []line
	for _, text := range bytes.Split(bytes.TrimSpace(p.buf.Bytes()), []byte("\n")) {
		if len(text) == 0 {
			continue
		}
		var l line
		Expect(json.Unmarshal(text, &l)).To(Succeed(), string(text))
		out = append(out, l)
	}
	return out
}

func (p *paper) clear() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.buf.Reset()
}

// plane is a data plane that the specs run on.
type plane struct {
	name    string
	backend func() (fleet.Kernel, error)
}

var planes = []plane{
	{"nftables", func() (fleet.Kernel, error) { return nftables.New(nftables.Options{}) }},
	{"iptables-legacy", func() (fleet.Kernel, error) { return iptables.New(iptables.Options{Variant: iptables.Legacy}) }},
	{"iptables-nft", func() (fleet.Kernel, error) { return iptables.New(iptables.Options{Variant: iptables.NFT}) }},
}

// onEach describes what holds on each of the data planes.
func onEach(text string, body func(p plane)) bool {
	for _, p := range planes {
		Describe(text+" ("+p.name+")", Label(p.name), func() { body(p) })
	}
	return true
}

// setup is a lab with an agent on each node.
type setup struct {
	lab   *lab.Lab
	fleet *fleet.Fleet
	paper *paper
}

// start brings up what the manifests say. It goes with the spec.
func start(p plane, yaml string, network lab.Network) *setup {
	GinkgoHelper()
	r, err := manifests.LoadBytes("test.yaml", []byte(yaml))
	Expect(err).NotTo(HaveOccurred())
	r.Complete()
	var objects []runtime.Object
	for _, o := range r.Objects {
		objects = append(objects, o.Object)
	}
	spec, _, err := lab.FromObjects(objects)
	Expect(err).NotTo(HaveOccurred())
	spec.Network = network
	s := &setup{paper: &paper{}}
	s.lab, err = lab.New(context.Background(), spec)
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(func() { Expect(s.lab.Close()).To(Succeed()) })
	var nodes []string
	for _, n := range spec.Nodes {
		nodes = append(nodes, n.Name)
	}
	s.fleet, err = fleet.Start(context.Background(), s.lab, nodes, objects, fleet.Options{Lines: s.paper, Backend: p.backend})
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(func() { Expect(s.fleet.Stop()).To(Succeed()) })
	return s
}

// probe sends the first packet of a flow, and says whether it arrived.
func (s *setup) probe(f model.Flow) bool {
	GinkgoHelper()
	r, err := s.lab.Probe(context.Background(), f, lab.Options{})
	Expect(err).NotTo(HaveOccurred())
	return r.Delivered
}

// metric sums the samples of an agent's metric that have a label's value; an
// empty label counts all.
func (s *setup) metric(node, name, label, value string) float64 {
	GinkgoHelper()
	g, err := s.fleet.Collect(node)
	Expect(err).NotTo(HaveOccurred())
	families, err := g.Gather()
	Expect(err).NotTo(HaveOccurred())
	sum := 0.0
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.Metric {
			if label == "" || has(m, label, value) {
				sum += m.Counter.GetValue()
			}
		}
	}
	return sum
}

func has(m *dto.Metric, label, value string) bool {
	for _, l := range m.Label {
		if l.GetName() == label && l.GetValue() == value {
			return true
		}
	}
	return false
}

func flow(p model.Protocol, src, dst string, port uint16) model.Flow {
	f := model.Flow{Src: netip.MustParseAddr(src), Dst: netip.MustParseAddr(dst), Protocol: p, DstPort: port}
	if p == model.ICMPv4 {
		f.ICMPType = 8
	}
	if p == model.ICMPv6 {
		f.ICMPType = 128
	}
	return f
}
