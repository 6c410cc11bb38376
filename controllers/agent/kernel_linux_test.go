package agent

import (
	"context"
	"os/exec"
	"runtime"
	"slices"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"golang.org/x/sys/unix"
	"k8s.io/utils/clock"

	"github.com/tierwall/tierwall/dataplane/nftables"
	"github.com/tierwall/tierwall/dataplane/watch"
	"github.com/tierwall/tierwall/policy/model"
)

// namespace is a network namespace that lives on a thread of its own.
type namespace struct{ calls chan func() }

func newNamespace() *namespace {
	n := &namespace{calls: make(chan func())}
	made := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		made <- unix.Unshare(unix.CLONE_NEWNET)
		for f := range n.calls {
			f()
		}
	}()
	Expect(<-made).To(Succeed(), "network namespaces need root")
	DeferCleanup(func() { close(n.calls) })
	return n
}

// do runs f in the namespace.
func (n *namespace) do(f func()) {
	done := make(chan struct{})
	n.calls <- func() { defer close(done); f() }
	<-done
}

var _ = Describe("a real kernel", func() {
	It("is taken over by the next agent as it is, and repaired when somebody changes it", func() {
		ns := newNamespace()
		nft := func(args ...string) (out string) {
			ns.do(func() {
				b, _ := exec.Command("nft", args...).CombinedOutput()
				out = string(b)
			})
			return out
		}
		// What is listed where depends on when it came.
		table := func() string {
			lines := strings.Split(nft("list", "table", "inet", nftables.TableName), "\n")
			slices.Sort(lines)
			return strings.Join(lines, "\n")
		}
		// The agent has its thread, in the same namespace as nft's.
		enter := func() (func(), *nftables.Backend, *watch.Watcher) {
			var fd int
			ns.do(func() {
				var err error
				fd, err = unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
				Expect(err).NotTo(HaveOccurred())
			})
			var b *nftables.Backend
			var w *watch.Watcher
			ns.do(func() {
				var err error
				b, err = nftables.New(nftables.Options{})
				Expect(err).NotTo(HaveOccurred())
				w, err = watch.New(nftables.TableName)
				Expect(err).NotTo(HaveOccurred())
			})
			return func() {
				runtime.LockOSThread()
				_ = unix.Setns(fd, unix.CLONE_NEWNET)
				_ = unix.Close(fd)
			}, b, w
		}
		run := func() (r *rig, b *nftables.Backend, stop func()) {
			join, b, w := enter()
			r = newRig(func(o *Options) { o.Backend, o.Watcher, o.Clock = b, w, clock.RealClock{} })
			ctx, cancel := context.WithCancel(context.Background())
			go func() {
				join()
				r.over <- r.Agent.Run(ctx)
			}()
			stop = func() {
				cancel()
				Eventually(r.over).Should(Receive(BeNil()))
			}
			Eventually(r.source.sink).Should(Receive(&r.to))
			r.to.Update(objects(small), nil)
			r.to.Synced()
			Eventually(r.Ready).Should(Succeed())
			return r, b, stop
		}
		r, b, stop := run()
		Expect(table()).To(ContainSubstring("5432"))
		want := table()

		By("changing it by hand")
		for i, script := range []string{
			"flush ruleset",
			"delete table inet " + nftables.TableName,
			"add element inet " + nftables.TableName + " hosts4 { 203.0.113.1 }",
		} {
			nft(strings.Fields(script)...)
			Eventually(table).Should(Equal(want), script)
			Eventually(func() float64 { return testutil.ToFloat64(r.metrics.resyncs) }).Should(Equal(float64(i + 1)))
		}

		By("a change of its own, which it does not take for another's")
		r.to.Update(objects(allowTo("db", "db", 5433)), nil)
		Eventually(table).Should(ContainSubstring("5433"))
		r.to.Update(objects(allowTo("db", "db", 5432)), nil)
		Eventually(table).Should(Equal(want))
		stop()
		Expect(testutil.ToFloat64(r.metrics.resyncs)).To(Equal(3.0))
		Expect(table()).To(Equal(want))
		Expect(b.Stats().Rebuilds).To(BeZero())

		By("another agent")
		r, b, stop = run()
		Expect(table()).To(Equal(want))
		r.to.Update(nil, []model.Ref{ref("GlobalNetworkPolicy/db")})
		Eventually(table).ShouldNot(ContainSubstring("5432"))
		stop()
		Expect(b.Stats().Transactions).To(Equal(uint64(1)), "nothing was to do at the take-over")
	})
})
