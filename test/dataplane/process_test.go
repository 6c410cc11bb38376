package dataplane

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/tierwall/tierwall/policy/model"
	"github.com/tierwall/tierwall/test/lab"
)

// process is an agent as a program of its own, `tierwall agent --from DIR`.
type process struct {
	*lab.Cmd
	mu  sync.Mutex
	log bytes.Buffer
}

// Write implements io.Writer, for the log.
func (p *process) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.Write(b)
}

// said counts the lines of the log with a text.
func (p *process) said(text string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Count(p.log.String(), text)
}

// launch starts an agent on a node. It is killed when the spec ends at the latest.
func launch(l *lab.Lab, node, dir string, more ...string) *process {
	GinkgoHelper()
	self, err := os.Executable()
	Expect(err).NotTo(HaveOccurred())
	args := append([]string{"agent", "--from", dir, "--node", node, "--state-dir", "", "--metrics-addr", "", "--log-level", "debug"}, more...)
	p := &process{Cmd: l.Command(node, self, args...)}
	p.Env = append(os.Environ(), asTierwall+"=1")
	p.Stderr, p.Stdout = p, p
	Expect(p.Start()).To(Succeed())
	DeferCleanup(p.kill)
	return p
}

// ready waits until the kernel holds what the folder says.
func (p *process) ready() {
	GinkgoHelper()
	Eventually(func() int { return p.said("kernel up to date") }).Should(BeNumerically(">", 0), func() string { return p.log.String() })
}

// kill ends the agent by SIGKILL.
func (p *process) kill() {
	_ = p.Process.Kill() // it may be over
	_ = p.Wait()
}

// folder is a folder with the manifests of a world.
func folder() string {
	GinkgoHelper()
	dir := GinkgoT().TempDir()
	put(dir, "world.yaml", node(1)+node(2)+namespace+tier+
		pod("client", "client", 1, client, client6)+pod("near", "server", 1, near, near6)+pod("here", "elsewhere", 1, here)+
		pod("server", "server", 2, server, server6)+pod("intruder", "intruder", 2, intruder, intruder6)+pod("there", "elsewhere", 2, there)+
		clientsPolicy()+elsewherePolicy(elsewhereA))
	put(dir, "servers.yaml", serversPolicy())
	return dir
}

// put writes a file of a folder as editors do: whole, or not at all.
func put(dir, name, text string) {
	GinkgoHelper()
	path := filepath.Join(dir, name)
	Expect(os.WriteFile(path+".new", []byte(text), 0o600)).To(Succeed())
	Expect(os.Rename(path+".new", path)).To(Succeed())
}

// nft runs nft in the namespace of a node.
func nft(l *lab.Lab, node string, args ...string) (string, error) {
	out, err := l.Command(node, realNft, args...).Output()
	return string(out), err
}

// table is what the table of a node holds, whatever order nft lists it in.
func table(l *lab.Lab, node string) string {
	out, err := nft(l, node, "-s", "list", "table", "inet", "tierwall")
	if err != nil {
		return err.Error()
	}
	words := strings.Fields(strings.ReplaceAll(out, ",", " "))
	slices.Sort(words)
	return strings.Join(words, " ")
}

// peers returns the name of the set of a node's table that holds the client.
func peers(l *lab.Lab, node string) string {
	GinkgoHelper()
	out, err := nft(l, node, "list", "table", "inet", "tierwall")
	Expect(err).NotTo(HaveOccurred())
	for _, block := range strings.Split(out, "\tset ") {
		if strings.HasPrefix(block, "s-") && strings.Contains(block, client) {
			return strings.Fields(block)[0]
		}
	}
	Fail("no set holds the client:\n" + out)
	return ""
}

var _ = Describe("Agents that are programs of their own", func() {
	It("may be killed 30 times under traffic, at any moment", SpecTimeout(time.Minute), func(ctx SpecContext) {
		dir := folder()
		l := bring(objects(world()))
		agents := map[string]*process{}
		for _, n := range nodes {
			agents[n] = launch(l, n, dir)
		}
		for _, a := range agents {
			a.ready()
		}
		t := start(l)
		extra := false
		for i := range 30 {
			n := nodes[i%2]
			if i%3 == 0 { // a change is being made, or is made while the agent is dead
				extra = !extra
				if extra {
					put(dir, "servers.yaml", serversPolicy("ingress TCP 8888 intruder"))
				} else {
					put(dir, "servers.yaml", serversPolicy())
				}
			}
			if i%5 > 0 { // the time of a few packets later
				_, err := t.streams[0].WaitRecords(ctx, uint64(i%5))
				Expect(err).NotTo(HaveOccurred())
			}
			agents[n].kill()
			agents[n] = launch(l, n, dir)
		}
		for _, a := range agents {
			a.ready()
		}
		becomes(l, tcp(intruder, server, extraPort), extra)
		t.goesOn(ctx, 3)
		t.finish()
	})

	It("repair within a second what somebody else does to the table, 20 times", SpecTimeout(time.Minute), func(ctx SpecContext) {
		dir := folder()
		l := bring(objects(world()))
		agents := map[string]*process{}
		want := map[string]string{}
		for _, n := range nodes {
			agents[n] = launch(l, n, dir)
			agents[n].ready()
			want[n] = table(l, n)
		}
		t := start(l)
		deeds := []func(string) []string{
			func(string) []string { return []string{"flush ruleset"} },
			func(string) []string { return []string{"delete table inet tierwall"} },
			func(string) []string {
				return []string{"flush chain inet tierwall forward; delete chain inet tierwall forward"}
			},
			func(n string) []string {
				return []string{"delete element inet tierwall ingress4 { " + map[string]string{"n1": near, "n2": server}[n] + " }"}
			},
			func(n string) []string {
				return []string{"add element inet tierwall " + peers(l, n) + " { " + intruder + " }"}
			},
			func(string) []string { return []string{"insert rule inet tierwall forward accept"} },
			func(string) []string { return []string{"flush chain inet tierwall forward6"} },
			func(string) []string { return []string{"flush table inet tierwall"} },
			func(n string) []string {
				return []string{"delete element inet tierwall " + peers(l, n) + " { " + client + " }"}
			},
			func(string) []string {
				return []string{"flush map inet tierwall egress4; flush set inet tierwall pods6"}
			},
		}
		var slowest time.Duration
		late := 0
		for i := range 20 {
			n := nodes[i/len(deeds)]
			deed := deeds[i%len(deeds)](n)
			By(n + ": " + deed[0])
			t.openWindow()
			began := time.Now()
			_, err := nft(l, n, deed...)
			Expect(err).NotTo(HaveOccurred())
			Eventually(func() string { return table(l, n) }).Should(Equal(want[n]), deed[0])
			took := time.Since(began)
			t.closeWindow()
			slowest = max(slowest, took)
			if took > time.Second {
				late++
			}
			// Packets go by the repaired table now.
			t.goesOn(ctx, 1)
		}
		t.finish()
		AddReportEntry("slowest repair", slowest.String())
		// One repair of many may meet with a machine that is busy elsewhere.
		Expect(late).To(BeNumerically("<=", 2), "repairs that took more than a second; the slowest %s", slowest)
		for _, n := range nodes {
			Expect(agents[n].said("changed by somebody else")).To(BeNumerically(">=", len(deeds)), n)
		}
	})

	It("cut what got through while there was neither table nor agent", SpecTimeout(time.Minute), func(ctx SpecContext) {
		dir := folder()
		put(dir, "mute.yaml", mute)
		l := bring(objects(world()))
		dead := launch(l, "n2", dir)
		dead.ready()
		launch(l, "n1", dir).ready()
		Expect(delivered(l, tcp(intruder, server, webPort))).To(BeFalse())
		dead.kill()
		_, err := nft(l, "n2", "delete table inet tierwall")
		Expect(err).NotTo(HaveOccurred())
		var through []*lab.Stream
		for _, p := range []model.Protocol{model.TCP, model.UDP} {
			s := openStream(l, p, intruder, server, webPort)
			flows(ctx, s)
			through = append(through, s)
		}
		launch(l, "n2", dir)
		for _, s := range through {
			_, err := s.WaitCut(ctx)
			Expect(err).NotTo(HaveOccurred())
		}
	})
})
