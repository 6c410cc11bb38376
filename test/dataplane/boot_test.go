package dataplane

import (
	"os"
	"path/filepath"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/tierwall/tierwall/controllers/agent/kept"
	"github.com/tierwall/tierwall/lab"
	"github.com/tierwall/tierwall/policy/convert"
	"github.com/tierwall/tierwall/policy/index"
	"github.com/tierwall/tierwall/policy/model"
)

// guardedNode is a host endpoint of n1 that lets one port in, for others than one
// address.
const guardedNode = `---
apiVersion: tierwall.io/v1alpha1
kind: GlobalNetworkSet
metadata: {name: banned, labels: {who: banned}}
spec: {nets: [203.0.113.66/32]}
---
apiVersion: tierwall.io/v1alpha1
kind: HostEndpoint
metadata: {name: n1, labels: {is: host}}
spec: {node: n1, interfaceName: "*"}
---
apiVersion: tierwall.io/v1alpha1
kind: GlobalNetworkPolicy
metadata: {name: hosts}
spec:
  tier: platform
  selector: is == 'host'
  types: [Ingress]
  ingress:
  - {action: Deny, source: {selector: who == 'banned'}}
  - {action: Allow, protocol: TCP, destination: {ports: [80]}}
`

const (
	ownAddr, ownAddr6 = "192.0.2.1", "2001:db8::1"
	banned            = "203.0.113.66"
	// silent is an API server that does not answer.
	silent = "https://127.0.0.1:1"
)

// keepFor puts what n1 keeps of a world into a state folder, as of a boot.
func keepFor(dir, manifests, boot string) {
	GinkgoHelper()
	ix := index.New(index.Options{Local: func(n string) bool { return n == "n1" }})
	var hosts []*model.Endpoint
	for _, o := range objects(manifests) {
		m, problems, _ := convert.Object(o)
		Expect(problems).To(BeEmpty())
		ix.Upsert(m)
		if h, ok := m.(*model.Endpoint); ok && h.Host != nil {
			hosts = append(hosts, h)
		}
	}
	ix.Flush()
	s := &kept.Store{Dir: dir, Cluster: "server " + silent, Node: "n1", Boot: boot}
	small, err := s.Save(kept.Take(ix, "n1", hosts))
	Expect(err).NotTo(HaveOccurred())
	Expect(small).To(BeFalse())
}

// kubeconfig is of the API server that does not answer.
func kubeconfig(dir string) string {
	GinkgoHelper()
	name := filepath.Join(dir, "kubeconfig")
	Expect(os.WriteFile(name, []byte(`
apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: "`+silent+`"}}]
contexts: [{name: c, context: {cluster: c, user: u}}]
users: [{name: u, user: {}}]
current-context: c
`), 0o600)).To(Succeed())
	return name
}

// launchBooted starts the agent of n1 in a cluster whose API server does not answer.
func (p *plane) launchBooted(l *lab.Lab, state string) *process {
	GinkgoHelper()
	return p.launch(l, "n1", "", "--kubeconfig", kubeconfig(GinkgoT().TempDir()), "--state-dir", state, "--nri", "off")
}

// bootedEnforces holds what a node enforces after its boot.
func bootedEnforces(l *lab.Lab) {
	GinkgoHelper()
	for _, c := range []struct {
		flow    model.Flow
		arrives bool
	}{
		{tcp(outside, ownAddr, 81), false},
		{tcp(outside6, ownAddr6, 81), false},
		{udp(outside, ownAddr, 80), false},
		{tcp(banned, ownAddr, 80), false},
		{tcp(outside, ownAddr, 80), true},
		{tcp(outside6, ownAddr6, 80), true},
		{tcp(outside, ownAddr, 22), true}, // failsafe
		{tcp(intruder, near, webPort), false},
		{tcp(intruder6, near6, webPort), false},
		{tcp(client, near, webPort), false}, // no pod is known yet
		{udp(near, outside, dnsPort), false},
		{tcp(ownAddr, near, webPort), true}, // the node reaches its pods
		{tcp(ownAddr, outside, 6443), true}, // failsafe
		{tcp(ownAddr, server, webPort), false},
	} {
		Expect(delivered(l, c.flow)).To(Equal(c.arrives), "%+v", c.flow)
	}
}

var _ = onEach("A node that has booted", func(p *plane) {
	everything := world() + guardedNode

	It("guards itself and closes its pod blocks before the API server answers, and opens them to policy after", SpecTimeout(time.Minute), func(SpecContext) {
		l := bring(objects(everything))
		state := GinkgoT().TempDir()
		keepFor(state, everything, "an earlier boot")
		Expect(delivered(l, tcp(outside, ownAddr, 81))).To(BeTrue(), "nothing holds yet")
		Expect(delivered(l, tcp(intruder, near, webPort))).To(BeTrue(), "nothing holds yet")
		first := p.launchBooted(l, state)
		Eventually(func() int { return first.said("kept state is in force") }).Should(Equal(1), func() string { return first.log.String() })
		bootedEnforces(l)
		Expect(ours(l, "n1")).To(ConsistOf(p.holds()))

		// The agent is restarted before the server has answered: all holds.
		first.kill()
		second := p.launchBooted(l, state)
		Eventually(func() int { return second.said("the kernel keeps the rules that it has") }).Should(Equal(1), func() string { return second.log.String() })
		bootedEnforces(l)

		// A folder stands for the cluster that answers at last.
		second.kill()
		dir := folder()
		put(dir, "guarded.yaml", guardedNode)
		third := p.launch(l, "n1", dir)
		third.ready()
		Expect(delivered(l, tcp(client, near, webPort))).To(BeTrue())
		Expect(delivered(l, tcp(intruder, near, webPort))).To(BeFalse())
		Expect(delivered(l, tcp(outside, ownAddr, 81))).To(BeFalse())
		Expect(delivered(l, tcp(outside, ownAddr, 80))).To(BeTrue())
	})

	It("has the same by a command that runs before the kubelet", SpecTimeout(time.Minute), func(SpecContext) {
		l := bring(objects(everything))
		state := GinkgoT().TempDir()
		keepFor(state, everything, "an earlier boot")
		self, err := os.Executable()
		Expect(err).NotTo(HaveOccurred())
		for _, want := range []string{"kept state is in the kernel\n", ""} { // the second finds it there
			boot := l.Command("n1", self, append([]string{"agent", "--boot", "--state-dir", state}, p.flags(l, "n1")...)...)
			boot.Env = append(os.Environ(), asTierwall+"=1")
			out, err := boot.Output()
			Expect(err).NotTo(HaveOccurred())
			Expect(string(out)).To(Equal(want))
			bootedEnforces(l)
		}
	})

	It("is left alone after a mere restart of the agent, or by another cluster's state", SpecTimeout(time.Minute), func(SpecContext) {
		l := bring(objects(everything))
		this, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
		Expect(err).NotTo(HaveOccurred())
		same := GinkgoT().TempDir()
		keepFor(same, everything, strings.TrimSpace(string(this)))
		a := p.launchBooted(l, same)
		Eventually(func() int { return a.said("the kernel keeps the rules that it has") }).Should(Equal(1), func() string { return a.log.String() })
		a.kill()
		torn := GinkgoT().TempDir()
		keepFor(torn, everything, "an earlier boot")
		Expect(os.Truncate(filepath.Join(torn, kept.FileName), 1000)).To(Succeed())
		b := p.launchBooted(l, torn)
		Eventually(func() int { return b.said("kept state is not used") }).Should(Equal(1), func() string { return b.log.String() })
		Eventually(func() int { return b.said("agent started") }).Should(Equal(1))
		Expect(ours(l, "n1")).To(BeEmpty())
		Expect(delivered(l, tcp(outside, ownAddr, 81))).To(BeTrue())
	})
})
