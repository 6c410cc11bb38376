package scenarios

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/controllers/manifests"
	"github.com/tierwall/tierwall/policy/budget"
	"github.com/tierwall/tierwall/policy/model"
	"github.com/tierwall/tierwall/policy/policytest"
	"github.com/tierwall/tierwall/test/oracle"
)

// warned are the scenarios whose objects are warned about on purpose, and what
// the one warning says. No other scenario, and no sample, may cause a warning or
// a problem.
var warned = map[string]string{
	"calico-v3":             "becomes default.on-trial-staged with enforcement Audit",
	"implicit-labels":       "Tierwall sets this label itself",
	"k8s-policy-types":      "policyTypes does not have Ingress",
	"tier-end-by-direction": "types does not have Ingress",
}

// TestScenarios runs every folder here. A folder without a test is a mistake.
func TestScenarios(t *testing.T) {
	entries, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	folders := 0
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		folders++
		t.Run(e.Name(), func(t *testing.T) {
			tests := runTests(t, e.Name())
			for _, test := range tests {
				if test.Name != e.Name() {
					t.Errorf("%s: the PolicyTest is called %s: it should bear the folder's name", test.Object.Place(), test.Name)
				}
			}
		})
	}
	// The number guards against a move or a mistaken clean-up that empties the folder.
	if folders < 60 {
		t.Errorf("found %d scenarios, want at least 60", folders)
	}
}

// TestFailClosed runs the worlds with mistakes in them: each has at least one
// problem, and what it comes to never opens anything. They lie beside this folder
// because `tierwall test` refuses such objects unless it is told not to.
func TestFailClosed(t *testing.T) {
	entries, err := os.ReadDir(failClosed)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		t.Run(e.Name(), func(t *testing.T) { runTests(t, filepath.Join(failClosed, e.Name())) })
	}
	if len(entries) < 15 {
		t.Errorf("found %d folders, want at least 15", len(entries))
	}
}

var failClosed = filepath.Join("..", "failclosed")

// TestSamples runs the tests of the samples, which are the first thing that a
// user sees.
func TestSamples(t *testing.T) {
	runTests(t, filepath.Join("..", "..", "config", "samples"))
}

// runTests runs all PolicyTests below a folder and returns them.
func runTests(t *testing.T, dir string) []manifests.Test {
	t.Helper()
	tests, err := manifests.FindTests([]string{dir}, manifests.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if len(tests) == 0 {
		t.Fatalf("%s holds no PolicyTest", dir)
	}
	for i := range tests {
		test := &tests[i]
		t.Run(test.Name, func(t *testing.T) { runTest(t, test) })
	}
	return tests
}

func runTest(t *testing.T, test *manifests.Test) {
	res, err := test.Load()
	if err != nil {
		t.Fatal(err)
	}
	var said []string
	for _, w := range res.Warnings {
		said = append(said, w.String())
	}
	res.Complete()
	ix, problems := res.Index()
	budget.Apply(ix, nil)
	ix.Flush()
	broken := 0
	for _, p := range res.Locate(problems) {
		if !p.Warning {
			broken++
		}
		said = append(said, p.Error.Error())
	}
	want, expected := warned[test.Name]
	switch {
	case strings.HasPrefix(test.Object.File, failClosed):
		if broken == 0 {
			t.Error("no problem is reported")
		}
	case !expected && len(said) > 0:
		t.Errorf("the objects are not sound:\n%s", strings.Join(said, "\n"))
	case expected && (len(said) != 1 || !strings.Contains(said[0], want)):
		t.Errorf("want one warning that says %q, got:\n%s", want, strings.Join(said, "\n"))
	}
	objects := res.All()
	world := policytest.NewWorld(ix, objects, res.Book)
	told := slices.Clone(objects)
	for _, a := range res.Answers {
		told = append(told, a.DNSAnswers)
	}
	naive := oracle.New(told)
	seen := map[string]bool{}
	for i := range test.Spec.Cases {
		c := &test.Spec.Cases[i]
		if seen[c.Name] {
			t.Errorf("two cases are called %q", c.Name)
		}
		seen[c.Name] = true
		t.Run(c.Name, func(t *testing.T) {
			attempt, err := world.Attempt(c)
			if err != nil {
				t.Fatal(err)
			}
			check(t, "engine", c, world.Decide(&attempt))
			check(t, "oracle", c, naively(naive, &attempt))
		})
	}
}

// naively decides an attempt by the oracle, which translates nothing: what policies before
// translation deny of what is sent stays denied, and all else fares as the target.
func naively(naive *oracle.World, a *policytest.Attempt) []*model.Decision {
	sent := naive.Decide(a.Flow)
	switch {
	case len(a.Targets) > 0:
	case a.Service != (model.Ref{}): // a Service without endpoints takes nothing
		return []*model.Decision{{Flow: a.Flow, Action: model.Deny}}
	default:
		return []*model.Decision{&sent}
	}
	if a.Translated() && sent.Action == model.Deny {
		if stage := sent.Stages[len(sent.Stages)-1].Stage; stage == model.StagePreDNAT || stage == model.StageUntracked {
			return []*model.Decision{&sent}
		}
	}
	var out []*model.Decision
	for _, f := range a.Targets {
		d := naive.Decide(f)
		out = append(out, &d)
	}
	return out
}

func check(t *testing.T, who string, c *v1alpha1.PolicyTestCase, decisions []*model.Decision) {
	t.Helper()
	for _, d := range decisions {
		for _, diff := range policytest.Compare(c, d) {
			t.Errorf("%s: %s (%s)", who, diff, policytest.Describe(d))
		}
	}
}
