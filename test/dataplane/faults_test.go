package dataplane

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http/httptest"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/sys/unix"

	"github.com/tierwall/tierwall/controllers/agent"
	"github.com/tierwall/tierwall/dataplane"
	"github.com/tierwall/tierwall/dataplane/conntrack"
	"github.com/tierwall/tierwall/dataplane/links"
	"github.com/tierwall/tierwall/lab"
	"github.com/tierwall/tierwall/lab/fleet"
	"github.com/tierwall/tierwall/policy/model"
)

// trouble is what a backend that can be made to fail does.
type trouble int

const (
	none trouble = iota
	fails
	hasNoBuffers
	isSlow
	refusesPoison
	refusesLargeSets
)

// largest is how many members a set may have for a backend that refuses large sets.
const largest = 5000

// troubled stands between the agent and its backend.
type troubled struct {
	fleet.Kernel
	mu   sync.Mutex
	mode trouble
	// gate is what a slow backend waits for; waiting is closed when it does.
	gate, waiting chan struct{}
}

var _ dataplane.Backend = (*troubled)(nil)

// set changes the trouble. A slow backend that waits goes on.
func (t *troubled) set(m trouble) (waiting <-chan struct{}) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.gate != nil {
		close(t.gate)
		t.gate = nil
	}
	if t.mode = m; m == isSlow {
		t.gate, t.waiting = make(chan struct{}), make(chan struct{})
	}
	return t.waiting
}

func (t *troubled) before(s *dataplane.State) error {
	t.mu.Lock()
	mode, gate, waiting := t.mode, t.gate, t.waiting
	t.mu.Unlock()
	switch mode {
	case fails:
		return errors.New("made to fail")
	case hasNoBuffers:
		return fmt.Errorf("made up: %w", unix.ENOBUFS)
	case isSlow:
		select {
		case <-waiting:
		default:
			close(waiting)
		}
		<-gate
	case refusesPoison:
		for _, p := range s.Compiled.Programs() {
			if strings.Contains(p.String(), "GlobalNetworkPolicy/poison ingress 0 Allow") && strings.Contains(p.String(), "dport 7999") {
				return errors.New("poison")
			}
		}
	case refusesLargeSets:
		for _, set := range s.Compiled.Sets() {
			if n := len(s.Compiled.Members(set)); n > largest {
				return fmt.Errorf("set %s of %d members: %w", set.ID, n, unix.ENOSPC)
			}
		}
	}
	return nil
}

// Sync implements dataplane.Backend.
func (t *troubled) Sync(ctx context.Context, s *dataplane.State) error {
	if err := t.before(s); err != nil {
		return err
	}
	return t.Kernel.Sync(ctx, s)
}

// Apply implements dataplane.Backend.
func (t *troubled) Apply(ctx context.Context, ch *dataplane.Change, s *dataplane.State) error {
	if err := t.before(s); err != nil {
		return err
	}
	return t.Kernel.Apply(ctx, ch, s)
}

// rig is the agent of node n2 with a backend that can be made to fail.
type rig struct {
	plane   *plane
	lab     *lab.Lab
	agent   *agent.Agent
	to      agent.Sink
	backend *troubled

	mu  sync.Mutex
	log bytes.Buffer
}

// Write implements io.Writer, for the log.
func (r *rig) Write(b []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.log.Write(b)
}

// said returns the lines of the log that hold all the texts.
func (r *rig) said(texts ...string) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []string
lines:
	for line := range strings.Lines(r.log.String()) {
		for _, t := range texts {
			if !strings.Contains(line, t) {
				continue lines
			}
		}
		out = append(out, line)
	}
	return out
}

// Run implements agent.Source.
func (r *rig) Run(ctx context.Context, to agent.Sink) error {
	r.to = to
	r.to.Update(objects(world()), nil)
	r.to.Synced()
	<-ctx.Done()
	return nil
}

// newRig runs an agent until the end of the spec; it returns when it is ready.
func newRig(p *plane) *rig {
	GinkgoHelper()
	r := &rig{plane: p, lab: bring(objects(world()))}
	ctx, cancel := context.WithCancel(context.Background())
	made, over := make(chan error), make(chan error, 1)
	go func() {
		over <- r.lab.Do("n2", func() error {
			err := r.open()
			made <- err
			if err != nil {
				return nil
			}
			return r.agent.Run(ctx)
		})
	}()
	Expect(<-made).To(Succeed())
	DeferCleanup(func() {
		r.backend.set(none)
		cancel()
		Expect(<-over).To(Succeed())
	})
	r.ready()
	return r
}

// open makes the agent; on the thread that is in the node's namespace.
func (r *rig) open() error {
	backend, watcher, err := r.plane.watched()
	if err != nil {
		return err
	}
	r.backend = &troubled{Kernel: backend}
	table, err := conntrack.New()
	if err != nil {
		return err
	}
	own, err := links.New()
	if err != nil {
		return err
	}
	r.agent, err = agent.New(agent.Options{
		Node: "n2", Source: r, Backend: r.backend, Conntrack: table, Links: own, Watcher: watcher,
		Log:        slog.New(slog.NewTextHandler(r, nil)),
		MinBackoff: 20 * time.Millisecond, MaxBackoff: 100 * time.Millisecond,
	})
	return err
}

func (r *rig) apply(manifests string) {
	GinkgoHelper()
	r.to.Update(objects(manifests), nil)
}

func (r *rig) ready() {
	GinkgoHelper()
	Eventually(r.agent.Ready).Should(Succeed(), func() string { return strings.Join(r.said(""), "") })
}

// metric reads a metric as Prometheus would.
func (r *rig) metric(name string) float64 {
	GinkgoHelper()
	registry := prometheus.NewRegistry()
	registry.MustRegister(r.agent)
	w := httptest.NewRecorder()
	promhttp.HandlerFor(registry, promhttp.HandlerOpts{}).ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	m := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(name) + ` (\S+)$`).FindStringSubmatch(w.Body.String())
	Expect(m).NotTo(BeNil(), "%s in\n%s", name, w.Body.String())
	v, err := strconv.ParseFloat(m[1], 64)
	Expect(err).NotTo(HaveOccurred())
	return v
}

// holds says that the policies of the world are in force, and nothing else.
func (r *rig) holds() {
	GinkgoHelper()
	Expect(delivered(r.lab, tcp(client, server, webPort))).To(BeTrue())
	Expect(delivered(r.lab, tcp(intruder, server, webPort))).To(BeFalse())
	Expect(delivered(r.lab, tcp(client, server, closedPort))).To(BeFalse())
}

const applyErrors, syncErrors = `tierwall_agent_errors_total{kind="apply"}`, `tierwall_agent_errors_total{kind="sync"}`

var _ = onEach("When something fails, the agent", func(p *plane) {
	opened := func() string { return serversPolicy("ingress TCP 8888 intruder") }

	for _, fault := range []struct {
		text         string
		what         trouble
		mustBeLogged string
	}{
		{"the kernel refuses", fails, "made to fail"},
		{"the kernel has no buffers", hasNoBuffers, "no buffer space"},
	} {
		It("keeps the rules while "+fault.text+", and recovers by itself", func() {
			r := newRig(p)
			r.holds()
			r.backend.set(fault.what)
			r.apply(opened())
			Eventually(func() int { return len(r.said("level=ERROR", "kernel not up to date", fault.mustBeLogged)) }).Should(BeNumerically(">=", 5))
			Expect(r.agent.Ready()).To(MatchError(ContainSubstring(fault.mustBeLogged)))
			Expect(r.agent.Healthy()).To(Succeed())
			Expect(r.metric(applyErrors)).To(BeNumerically("==", 1))
			Expect(r.metric(syncErrors)).To(BeNumerically(">=", 4))
			r.holds()
			Expect(delivered(r.lab, tcp(intruder, server, extraPort))).To(BeFalse())
			// A change that comes meanwhile is not forgotten.
			r.apply(elsewherePolicy(elsewhereB))
			r.backend.set(none)
			r.ready()
			becomes(r.lab, tcp(intruder, server, extraPort), true)
			becomes(r.lab, tcp(here, there, elsewhereB), true)
			r.holds()
			Expect(r.said("held back:")).To(BeEmpty(), "no object is to blame")
			Expect(r.metric("tierwall_agent_objects_held_back")).To(BeZero())
		})
	}

	It("keeps the rules while the kernel is slow, and then has only the last of all changes", func() {
		r := newRig(p)
		waiting := r.backend.set(isSlow)
		r.apply(opened())
		Eventually(waiting).Should(BeClosed())
		r.holds()
		Expect(delivered(r.lab, tcp(intruder, server, extraPort))).To(BeFalse())
		Expect(r.agent.Healthy()).To(Succeed())
		for range 50 {
			r.apply(elsewherePolicy(elsewhereB))
			r.apply(elsewherePolicy(elsewhereA))
			r.apply(serversPolicy())
			r.apply(opened())
		}
		r.apply(elsewherePolicy(elsewhereB))
		r.backend.set(none)
		becomes(r.lab, tcp(here, there, elsewhereB), true)
		becomes(r.lab, tcp(intruder, server, extraPort), true)
		r.holds()
		Expect(r.metric(applyErrors) + r.metric(syncErrors)).To(BeZero())
	})

	It("enforces a thousand policies beside one that is invalid", func() {
		r := newRig(p)
		var all strings.Builder
		for i := range 1000 {
			role := "elsewhere"
			if i%2 == 0 {
				role = "nobody-" + strconv.Itoa(i)
			}
			all.WriteString(allow(fmt.Sprintf("valid-%d", i), role, "Ingress", fmt.Sprintf("ingress TCP %d elsewhere", 20000+i)))
		}
		broken := strings.Replace(allow("broken", "intruder", "Ingress", "ingress TCP 80 client"), "source: {selector: role == 'client'}", "source: {selector: 'role ==='}", 1)
		r.apply(all.String() + broken)
		for _, port := range []uint16{20001, 20501, 20999} {
			becomes(r.lab, tcp(here, there, port), true)
		}
		Expect(delivered(r.lab, tcp(here, there, 20500))).To(BeFalse())
		Expect(delivered(r.lab, tcp(client, intruder, webPort))).To(BeFalse(), "a rule that cannot be understood allows nothing")
		r.holds()
		Expect(r.said("level=WARN", "GlobalNetworkPolicy/broken", "spec.ingress[0].source.selector")).To(HaveLen(1))
		Expect(r.metric("tierwall_agent_objects_with_problems")).To(BeNumerically("==", 1))
		// Corrected, it counts.
		r.apply(strings.Replace(broken, "role ===", `role == "here"`, 1) + allow("here", "here", "Ingress"))
		Eventually(func() float64 { return r.metric("tierwall_agent_objects_with_problems") }).Should(BeZero())
	})

	It("holds back the one object that the kernel does not take", func() {
		r := newRig(p)
		r.backend.set(refusesPoison)
		var all strings.Builder
		for i := range 20 {
			all.WriteString(allow(fmt.Sprintf("fine-%d", i), "elsewhere", "Ingress", fmt.Sprintf("ingress TCP %d elsewhere", 20000+i)))
		}
		poison := allow("poison", "intruder", "Ingress", "ingress TCP 7999 client")
		r.apply(all.String() + poison)
		becomes(r.lab, tcp(here, there, 20007), true)
		r.ready()
		r.holds()
		Expect(r.said("level=ERROR", "object held back", "GlobalNetworkPolicy/poison")).To(HaveLen(1))
		Expect(r.said("object held back")).To(HaveLen(1))
		Expect(r.metric("tierwall_agent_objects_held_back")).To(BeNumerically("==", 1))
		// It denies what it governs instead.
		Expect(delivered(r.lab, tcp(client, intruder, 7999))).To(BeFalse())
		Expect(delivered(r.lab, tcp(here, intruder, webPort))).To(BeFalse())
		// Changed to what the kernel takes, it counts, without a restart.
		r.apply(allow("poison", "intruder", "Ingress", "ingress TCP 7998 here"))
		Eventually(func() float64 { return r.metric("tierwall_agent_objects_held_back") }).Should(BeZero())
		r.ready()
	})

	It("holds back a set that is too large, and takes it when it is smaller", func() {
		r := newRig(p)
		r.backend.set(refusesLargeSets)
		peers := func(n int) string {
			var b strings.Builder
			b.WriteString("---\napiVersion: tierwall.io/v1alpha1\nkind: GlobalNetworkSet\nmetadata: {name: peers, labels: {role: peers}}\nspec:\n  nets: [10.1.2.11/32")
			for i := range n {
				fmt.Fprintf(&b, ", 100.%d.%d.%d/32", 64+i>>16, i>>8&255, i&255)
			}
			return b.String() + "]\n"
		}
		r.apply(peers(largest) + allow("peers", "server", "Ingress", "ingress TCP 8888 peers") + elsewherePolicy(elsewhereB))
		becomes(r.lab, tcp(here, there, elsewhereB), true)
		Eventually(func() float64 { return r.metric("tierwall_agent_objects_held_back") }).Should(BeNumerically("==", 1))
		r.ready()
		r.holds()
		Expect(r.said("level=ERROR", "object held back", "no space left")).To(HaveLen(1))
		Expect(delivered(r.lab, tcp(intruder, server, extraPort))).To(BeFalse())
		r.apply(peers(largest - 1))
		becomes(r.lab, tcp(intruder, server, extraPort), true)
		Eventually(func() float64 { return r.metric("tierwall_agent_objects_held_back") }).Should(BeZero())
		r.holds()
	})

	if p != byLegacy { // whose tables cannot have an owner: there is a lock instead, of which commands_test.go tells
		It("says that somebody else owns the table, and takes it when he is gone", func() {
			table := map[*plane]string{byNFTables: "inet tierwall", byNFT: "ip filter"}[p]
			r := newRig(p)
			waiting := r.backend.set(isSlow)
			_, err := nft(r.lab, "n2", "delete table "+table)
			Expect(err).NotTo(HaveOccurred())
			Eventually(waiting).Should(BeClosed())
			// A table that has an owner goes with the owner's socket.
			owner := r.lab.Command("n2", realNft, "-i")
			in, err := owner.StdinPipe()
			Expect(err).NotTo(HaveOccurred())
			Expect(owner.Start()).To(Succeed())
			_, err = io.WriteString(in, "add table "+table+" { flags owner; }\n")
			Expect(err).NotTo(HaveOccurred())
			Eventually(func() error { _, err := nft(r.lab, "n2", "list table "+table); return err }).Should(Succeed())
			r.backend.set(none)
			Eventually(func() []string { return r.said("level=ERROR", "kernel not up to date", "peration not permitted") }).ShouldNot(BeEmpty())
			Expect(r.agent.Ready()).NotTo(Succeed())
			Expect(r.metric(syncErrors)).To(BeNumerically(">=", 1))
			Expect(in.Close()).To(Succeed())
			Expect(owner.Wait()).To(Succeed())
			r.ready()
			r.holds()
		})
	}

	It("cuts what got through while the rules were gone", SpecTimeout(2*time.Minute), func(ctx SpecContext) {
		r := newRig(p)
		// Somebody else has connections tracked too, as wherever there is a
		// kube-proxy: without, those of the time without rules would be new after it.
		_, err := nft(r.lab, "n2", "table inet other { chain forward { type filter hook forward priority 10; ct state new counter; }; }")
		Expect(err).NotTo(HaveOccurred())
		r.apply(mute)
		becomes(r.lab, udp(server, outside, dnsPort), false)
		// The sweeps that belong to what was before are over.
		Eventually(func() float64 { return r.metric("tierwall_agent_conntrack_sweep_duration_seconds_count") }).Should(BeNumerically(">=", 3))
		waiting := r.backend.set(isSlow)
		p.erase(r.lab, "n2")
		Eventually(waiting).Should(BeClosed())
		var through []*lab.Stream
		for _, proto := range []model.Protocol{model.TCP, model.UDP} {
			s := openStream(r.lab, proto, intruder, server, webPort)
			flows(ctx, s)
			through = append(through, s)
		}
		r.backend.set(none)
		becomes(r.lab, tcp(intruder, server, webPort), false)
		for _, s := range through {
			_, err := s.WaitCut(ctx)
			Expect(err).NotTo(HaveOccurred())
		}
	})
})
