package dataplane

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sys/unix"

	"github.com/tierwall/tierwall/controllers/agent"
	"github.com/tierwall/tierwall/dataplane/conntrack"
	"github.com/tierwall/tierwall/dataplane/nftables"
	"github.com/tierwall/tierwall/dataplane/watch"
	"github.com/tierwall/tierwall/policy/model"
	"github.com/tierwall/tierwall/test/lab"
)

// wrapper stands in the place of nft and does what the file mode says. What nft
// is given to run by itself (files by -f) is what can fail; questions are not
// touched.
const wrapper = `#!/bin/sh
dir=%s nft=%s
case " $* " in *" -f "*) ;; *) exec $nft "$@";; esac
case "$(cat $dir/mode)" in
fail)   echo "Error: made to fail" >&2; exit 1;;
slow)   cat $dir/gate >/dev/null; exec $nft "$@";;
refuse) cat >$dir/input.$$
        if grep -q "dport 7999 .*GlobalNetworkPolicy/poison" $dir/input.$$; then rm $dir/input.$$; echo "Error: poison" >&2; exit 1; fi
        $nft "$@" <$dir/input.$$; status=$?; rm $dir/input.$$; exit $status;;
*)      exec $nft "$@";;
esac
`

// rig is the agent of node n2 with an nft that can be made to fail.
type rig struct {
	lab   *lab.Lab
	dir   string
	agent *agent.Agent
	to    agent.Sink

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
func newRig() *rig {
	GinkgoHelper()
	r := &rig{lab: bring(objects(world())), dir: GinkgoT().TempDir()}
	r.install()
	r.mode("ok")
	Expect(unix.Mkfifo(filepath.Join(r.dir, "gate"), 0o600)).To(Succeed())
	path := os.Getenv("PATH")
	Expect(os.Setenv("PATH", r.dir+":"+path)).To(Succeed())
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
	err := <-made
	Expect(os.Setenv("PATH", path)).To(Succeed())
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(func() {
		cancel()
		Expect(<-over).To(Succeed())
	})
	r.ready()
	return r
}

// open makes the agent; on the thread that is in the node's namespace.
func (r *rig) open() error {
	backend, err := nftables.New(nftables.Options{})
	if err != nil {
		return err
	}
	table, err := conntrack.New()
	if err != nil {
		return err
	}
	watcher, err := watch.New(nftables.TableName)
	if err != nil {
		return err
	}
	r.agent, err = agent.New(agent.Options{
		Node: "n2", Source: r, Backend: backend, Conntrack: table, Watcher: watcher,
		Log:        slog.New(slog.NewTextHandler(r, nil)),
		MinBackoff: 20 * time.Millisecond, MaxBackoff: 100 * time.Millisecond,
	})
	return err
}

func (r *rig) install() {
	GinkgoHelper()
	text := fmt.Sprintf(wrapper, r.dir, realNft)
	Expect(os.WriteFile(filepath.Join(r.dir, "nft"), []byte(text), 0o700)).To(Succeed())
}

func (r *rig) mode(m string) {
	GinkgoHelper()
	put(r.dir, "mode", m)
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
	r.agent.Handler(registry).ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
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

var _ = Describe("When something fails, the agent", func() {
	opened := func() string { return serversPolicy("ingress TCP 8888 intruder") }

	It("says that nft is not there", func() {
		path := os.Getenv("PATH")
		Expect(os.Setenv("PATH", GinkgoT().TempDir())).To(Succeed())
		_, err := nftables.New(nftables.Options{})
		Expect(os.Setenv("PATH", path)).To(Succeed())
		Expect(err).To(MatchError(ContainSubstring("nft")))
	})

	for _, fault := range []struct {
		text         string
		begin, end   func(*rig)
		mustBeLogged string
	}{
		{"nft fails", func(r *rig) { r.mode("fail") }, func(r *rig) { r.mode("ok") }, "made to fail"},
		{"nft is gone",
			func(r *rig) { Expect(os.Remove(filepath.Join(r.dir, "nft"))).To(Succeed()) },
			func(r *rig) { r.install() }, "no such file"},
	} {
		It("keeps the rules while "+fault.text+", and recovers by itself", func() {
			r := newRig()
			r.holds()
			fault.begin(r)
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
			fault.end(r)
			r.ready()
			becomes(r.lab, tcp(intruder, server, extraPort), true)
			becomes(r.lab, tcp(here, there, elsewhereB), true)
			r.holds()
			Expect(r.said("held back:")).To(BeEmpty(), "no object is to blame")
			Expect(r.metric("tierwall_agent_objects_held_back")).To(BeZero())
		})
	}

	It("keeps the rules while nft is slow, and then has only the last of all changes", func() {
		r := newRig()
		r.mode("slow")
		r.apply(opened())
		// The agent hangs in nft as soon as the gate can be opened for writing.
		gate, err := os.OpenFile(filepath.Join(r.dir, "gate"), os.O_WRONLY, 0)
		Expect(err).NotTo(HaveOccurred())
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
		r.mode("ok")
		Expect(gate.Close()).To(Succeed())
		becomes(r.lab, tcp(here, there, elsewhereB), true)
		becomes(r.lab, tcp(intruder, server, extraPort), true)
		r.holds()
		Expect(r.metric(applyErrors) + r.metric(syncErrors)).To(BeZero())
	})

	It("enforces a thousand policies beside one that is invalid", func() {
		r := newRig()
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
		r := newRig()
		r.mode("refuse")
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

	It("cuts what got through while the table was gone", SpecTimeout(time.Minute), func(ctx SpecContext) {
		r := newRig()
		// Somebody else has connections tracked too, as wherever there is a
		// kube-proxy: without, those of the time without a table would be new after it.
		_, err := nft(r.lab, "n2", "table inet other { chain forward { type filter hook forward priority 10; ct state new counter; }; }")
		Expect(err).NotTo(HaveOccurred())
		r.apply(mute)
		becomes(r.lab, udp(server, outside, dnsPort), false)
		// The sweeps that belong to what was before are over.
		Eventually(func() float64 { return r.metric("tierwall_agent_conntrack_sweep_duration_seconds_count") }).Should(BeNumerically(">=", 3))
		r.mode("slow")
		_, err = nft(r.lab, "n2", "delete table inet tierwall")
		Expect(err).NotTo(HaveOccurred())
		gate, err := os.OpenFile(filepath.Join(r.dir, "gate"), os.O_WRONLY, 0)
		Expect(err).NotTo(HaveOccurred())
		var through []*lab.Stream
		for _, p := range []model.Protocol{model.TCP, model.UDP} {
			s := openStream(r.lab, p, intruder, server, webPort)
			flows(ctx, s)
			through = append(through, s)
		}
		r.mode("ok")
		Expect(gate.Close()).To(Succeed())
		becomes(r.lab, tcp(intruder, server, webPort), false)
		for _, s := range through {
			_, err := s.WaitCut(ctx)
			Expect(err).NotTo(HaveOccurred())
		}
	})
})
