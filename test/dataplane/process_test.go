package dataplane

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/tierwall/tierwall/lab"
	"github.com/tierwall/tierwall/policy/model"
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
	return launchIn(nil, l, node, dir, more...)
}

// launchIn starts an agent with other environment variables.
func launchIn(env []string, l *lab.Lab, node, dir string, more ...string) *process {
	GinkgoHelper()
	self, err := os.Executable()
	Expect(err).NotTo(HaveOccurred())
	return launchProgram(self, env, l, node, dir, more...)
}

// launchProgram starts an agent that is this test program, or that of another version.
func launchProgram(program string, env []string, l *lab.Lab, node, dir string, more ...string) *process {
	GinkgoHelper()
	args := append([]string{"agent", "--from", dir, "--node", node, "--state-dir", "", "--metrics-addr", "", "--log-level", "debug"}, more...)
	p := &process{Cmd: l.Command(node, program, args...)}
	p.Env = append(append(os.Environ(), env...), asTierwall+"=1")
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

// halted does something while the agent is halted by SIGSTOP.
func (p *process) halted(do func()) {
	GinkgoHelper()
	Expect(p.Process.Signal(syscall.SIGSTOP)).To(Succeed())
	defer func() { Expect(p.Process.Signal(syscall.SIGCONT)).To(Succeed()) }()
	do()
}

// folder is a folder with the manifests of a world.
func folder() string {
	GinkgoHelper()
	dir := GinkgoT().TempDir()
	put(dir, "world.yaml", worldFile())
	put(dir, "servers.yaml", serversPolicy())
	return dir
}

// worldFile is the world without the policy of the servers, which has a file of its own.
func worldFile() string { return strings.Replace(world(), serversPolicy(), "", 1) }

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

var _ = onEach("Agents that are programs of their own", func(p *plane) {
	It("may be killed 30 times under traffic, at any moment", SpecTimeout(2*time.Minute), func(ctx SpecContext) {
		dir := folder()
		l := bring(objects(world()))
		agents := map[string]*process{}
		for _, n := range nodes {
			agents[n] = p.launch(l, n, dir)
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
			agents[n] = p.launch(l, n, dir)
		}
		for _, a := range agents {
			a.ready()
		}
		becomes(l, tcp(intruder, server, extraPort), extra)
		t.goesOn(ctx, 3)
		t.finish()
	})

	It("may be killed and given other policies under traffic", SpecTimeout(2*time.Minute), func(ctx SpecContext) {
		dir := folder()
		l := bring(objects(world()))
		agents := map[string]*process{}
		for _, n := range nodes {
			agents[n] = p.launch(l, n, dir)
		}
		for _, n := range nodes {
			agents[n].ready()
			Expect(ours(l, n)).To(ConsistOf(p.holds()))
		}
		t := start(l)
		for i := range 10 {
			put(dir, "servers.yaml", serversPolicy([]string{"ingress TCP 8888 intruder"}[i%2:]...))
			becomes(l, tcp(intruder, server, extraPort), i%2 == 0)
			put(dir, "more.yaml", pod("more", "client", i%2+1, "10.1.1.77"))
			if n := nodes[i/2%2]; i%3 == 0 {
				agents[n].kill()
				agents[n] = p.launch(l, n, dir)
			}
			t.goesOn(ctx, 1)
		}
		t.finish()
	})

	It("take over what is there, and write nothing", SpecTimeout(2*time.Minute), func(ctx SpecContext) {
		dir := folder()
		l := bring(objects(world()))
		bench := newBench()
		begin := func() map[string]*process {
			agents := map[string]*process{}
			for _, n := range nodes {
				agents[n] = launchIn(bench.env(), l, n, dir, p.flags(l, n)...)
			}
			for _, a := range agents {
				a.ready()
			}
			return agents
		}
		agents := begin()
		t := start(l)
		written := func() string {
			return fmt.Sprint(generation(l, "n1"), generation(l, "n2"), bench.calls(), p.table(l, "n1"), p.table(l, "n2"))
		}
		before := written()
		Expect(bench.calls() > 0).To(Equal(p != byNFTables), "the stand-ins of iptables' commands are run")
		for range 5 {
			for _, a := range agents {
				a.kill()
			}
			agents = begin()
			t.goesOn(ctx, 1)
			Expect(written()).To(Equal(before))
		}
		t.finish()
		// And when there is something to write, it shows.
		put(dir, "servers.yaml", serversPolicy("ingress TCP 8888 intruder"))
		becomes(l, tcp(intruder, server, extraPort), true)
		Expect(written()).NotTo(Equal(before))
	})

	It("cut what got through while there was neither rules nor agent", SpecTimeout(2*time.Minute), func(ctx SpecContext) {
		dir := folder()
		put(dir, "mute.yaml", mute)
		l := bring(objects(world()))
		dead := p.launch(l, "n2", dir)
		dead.ready()
		p.launch(l, "n1", dir).ready()
		Expect(delivered(l, tcp(intruder, server, webPort))).To(BeFalse())
		dead.kill()
		p.erase(l, "n2")
		var through []*lab.Stream
		for _, proto := range []model.Protocol{model.TCP, model.UDP} {
			s := openStream(l, proto, intruder, server, webPort)
			flows(ctx, s)
			through = append(through, s)
		}
		p.launch(l, "n2", dir)
		for _, s := range through {
			_, err := s.WaitCut(ctx)
			Expect(err).NotTo(HaveOccurred())
		}
	})
})
