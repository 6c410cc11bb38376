package scenarios

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/tierwall/tierwall/controllers/manifests"
	"github.com/tierwall/tierwall/lab"
	"github.com/tierwall/tierwall/lab/fleet"
	"github.com/tierwall/tierwall/policy/budget"
	"github.com/tierwall/tierwall/policy/index"
	"github.com/tierwall/tierwall/policy/model"
	"github.com/tierwall/tierwall/policy/policytest"
	"github.com/tierwall/tierwall/test/oracle"
)

// noLab is why there can be no lab on this machine; nil if there can.
var noLab error

// TestMain gets the privileges that a lab needs, if this machine gives them away.
// Without, all that needs no kernel runs all the same.
func TestMain(m *testing.M) {
	noLab = lab.Reexec()
	if _, err := exec.LookPath("nft"); noLab == nil && err != nil {
		noLab = fmt.Errorf("the command nft is needed (package nftables): %w", err)
	}
	status := m.Run()
	if noLab != nil {
		fmt.Fprintf(os.Stderr, "\n*** test/scenarios: NO PACKET WAS SENT and no ruleset was shown to nft: %v\n\n", noLab)
	}
	os.Exit(status)
}

// needLab ends a test that cannot run: as a failure where tests decide about a
// change, and as not run, never as passed, elsewhere.
func needLab(t *testing.T) {
	t.Helper()
	switch {
	case noLab == nil:
	case os.Getenv("CI") != "":
		t.Fatal(noLab)
	default:
		t.Skip("NOT RUN: ", noLab)
	}
}

// folders are where the policy tests are that must hold in the kernel.
var folders = []string{".", failClosed, filepath.Join("..", "..", "config", "samples")}

// world is the objects of a policy test, and who decides about them.
type world struct {
	objects []runtime.Object
	core    *index.Index
	names   *policytest.World
	naive   *oracle.World
	read    *manifests.Result
}

// readWorld reads the objects of a test. What is wrong with them is a matter of
// TestScenarios and TestFailClosed.
func readWorld(t *testing.T, test *manifests.Test) *world {
	t.Helper()
	res, err := test.Load()
	if err != nil {
		t.Fatal(err)
	}
	res.Complete()
	ix, _ := res.Index()
	budget.Apply(ix, nil)
	ix.Flush()
	w := &world{core: ix, read: res}
	for _, o := range res.Objects {
		w.objects = append(w.objects, o.Object)
	}
	told := slices.Clone(w.objects)
	for _, a := range res.Answers {
		told = append(told, a.DNSAnswers)
	}
	w.names, w.naive = policytest.NewWorld(ix, w.objects, res.Book), oracle.New(told)
	return w
}

// placed returns the objects with every pod on a node: the one where the lab puts
// those that name none.
func (w *world) placed() []runtime.Object {
	out := slices.Clone(w.objects)
	for i, o := range out {
		if p, ok := o.(*corev1.Pod); ok && p.Spec.NodeName == "" {
			p = p.DeepCopy()
			p.Spec.NodeName = lab.DefaultNode
			out[i] = p
		}
	}
	return out
}

// TestPackets runs every policy test with packets: each node of a lab runs the
// agent, and each case is a probe. What becomes of it, what the core decides and
// what the interpreter says must all be what the file expects.
func TestPackets(t *testing.T) {
	needLab(t)
	tests, err := manifests.FindTests(folders, manifests.Options{})
	if err != nil {
		t.Fatal(err)
	}
	runAll(t, tests, nil)
}

// runAll runs policy tests with a backend; nil: nftables.
func runAll(t *testing.T, tests []manifests.Test, backend func() (fleet.Kernel, error)) {
	sum := tally{backend: backend}
	t.Run("all", func(t *testing.T) {
		for i := range tests {
			t.Run(tests[i].Name, func(t *testing.T) {
				t.Parallel() // making and unmaking namespaces is waiting, mostly
				sum.run(t, &tests[i])
			})
		}
	})
	delivered, dropped := sum.delivered.Load(), sum.dropped.Load()
	t.Logf("%d tests, %d probes: %d delivered, %d dropped", len(tests), delivered+dropped, delivered, dropped)
	// The numbers guard against tests that are found no more, and against a kernel
	// that lets all through, or nothing.
	if delivered < 200 || dropped < 200 {
		t.Errorf("want at least 200 probes delivered and 200 dropped")
	}
}

// tally counts probes.
type tally struct {
	delivered, dropped atomic.Int64
	backend            func() (fleet.Kernel, error)
}

func (s *tally) run(t *testing.T, test *manifests.Test) {
	w := readWorld(t, test)
	spec, services, err := lab.FromObjects(w.objects)
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	l, err := lab.New(ctx, spec)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}()
	if len(services) > 0 {
		if err := l.SetServices(services...); err != nil {
			t.Fatal(err)
		}
	}
	agents, err := fleet.Start(ctx, l, nodesOf(&spec), w.objects, fleet.Options{Backend: s.backend, Answers: w.read.DNS()})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := agents.Stop(); err != nil {
			t.Error(err)
		}
	}()
	for i := range test.Spec.Cases {
		c := &test.Spec.Cases[i]
		attempt, err := w.names.Attempt(c)
		if err != nil {
			t.Fatal(err)
		}
		arrived, err := fleet.Send(ctx, l, w.names, &attempt)
		if err != nil {
			t.Fatal(err)
		}
		core, naive := w.names.Decide(&attempt), naively(w.naive, &attempt)
		for i, d := range core {
			who := map[string]model.Action{"core": d.Action, "oracle": naive[i].Action}
			if len(arrived) > 0 {
				who["packet"] = s.count(arrived[i])
			}
			for name, got := range who {
				if got.String() != string(c.Expect) {
					t.Errorf("%s: %s: %s, want %s (core: %s)", c.Name, name, got, c.Expect, policytest.Describe(d))
				}
			}
		}
	}
}

// count counts a probe and returns what became of it.
func (s *tally) count(arrived bool) model.Action {
	if arrived {
		s.delivered.Add(1)
		return model.Allow
	}
	s.dropped.Add(1)
	return model.Deny
}

func nodesOf(s *lab.Spec) []string {
	var out []string
	for _, n := range s.Nodes {
		out = append(out, n.Name)
	}
	return out
}

// errorText joins an error and what a command has said.
func errorText(err error, out []byte) error {
	if err == nil {
		return nil
	}
	return errors.Join(err, errors.New(string(out)))
}
