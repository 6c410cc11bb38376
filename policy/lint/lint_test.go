package lint

import (
	"math/rand/v2"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/runtime"

	"github.com/tierwall/tierwall/policy/convert"
	"github.com/tierwall/tierwall/policy/index"
	"github.com/tierwall/tierwall/policy/model"
	"github.com/tierwall/tierwall/policy/verdict"
	"github.com/tierwall/tierwall/test/oracle"
)

func indexOf(objects []runtime.Object) (*index.Index, []model.Problem, []model.Ref) {
	ix := index.New(index.Options{})
	var problems []model.Problem
	var known []model.Ref
	for _, o := range objects {
		m, found, ok := convert.Object(o)
		problems = append(problems, found...)
		if ok && m != nil {
			ix.Upsert(m)
		}
		if r, ok := convert.RefOf(o); ok {
			known = append(known, r)
		}
	}
	ix.Flush()
	oracle.Teach(ix, objects)
	ix.Flush()
	return ix, problems, known
}

// ruleAt is a rule as findings and explanations both name it.
type ruleAt struct {
	policy model.Ref
	field  string
}

// effects are the rules that did something to any of the flows.
func effects(ix *index.Index, flows []model.Flow) map[ruleAt]model.Flow {
	out := map[ruleAt]model.Flow{}
	for _, f := range flows {
		e := verdict.Explain(ix, f)
		for _, t := range e.Traces {
			for _, s := range t.Steps {
				if s.Rule >= 0 && s.Outcome != verdict.PassedOver {
					out[ruleAt{s.Policy, ruleField(t.Verdict.Direction, int(s.Rule))}] = f
				}
			}
		}
	}
	return out
}

// silent are the rules that findings say do nothing, with the message.
func silent(ix *index.Index, findings []Finding) map[ruleAt]string {
	out := map[ruleAt]string{}
	for _, f := range findings {
		switch f.Code {
		case CodeShadowedRule, CodeNeverMatches:
			out[ruleAt{f.Object, f.Field}] = f.Message
		case CodeShadowedPolicy, CodeSelectsNothing:
			if p := ix.Policy(f.Object); p != nil {
				for _, dir := range directions {
					for _, r := range p.Rules(dir) {
						out[ruleAt{f.Object, ruleField(dir, r.Index)}] = f.Message
					}
				}
			}
		}
	}
	return out
}

// A rule that the linter calls hidden, or that never matches, has no effect on
// any packet; one that it calls hidden for good has none with other endpoints either.
func TestHiddenRulesHaveNoEffect(t *testing.T) {
	worlds := 150
	if testing.Short() {
		worlds = 40
	}
	claims, lasting := 0, 0
	for seed := range uint64(worlds) {
		stream := oracle.Random(rand.New(rand.NewPCG(seed, 11)), oracle.Config{Policies: 5})
		for range 160 {
			stream.Next()
		}
		objects := stream.Objects()
		ix, problems, known := indexOf(objects)
		findings := Run(ix, problems, known, nil)
		said := silent(ix, findings)
		did := effects(ix, stream.Flows(400))
		for r, message := range said {
			claims++
			if f, ok := did[r]; ok {
				t.Fatalf("seed %d: %v %s: said to be %q, but acts on %+v", seed, r.policy, r.field, message, f)
			}
		}
		// Other endpoints, the same policies.
		for range 200 {
			stream.Next()
		}
		var next []runtime.Object
		for _, o := range objects {
			if isPolicy(o) {
				next = append(next, o)
			}
		}
		for _, o := range stream.Objects() {
			if !isPolicy(o) {
				next = append(next, o)
			}
		}
		later, _, _ := indexOf(next)
		did = effects(later, stream.Flows(400))
		for r, message := range said {
			if strings.HasSuffix(message, "that exist now") || !strings.Contains(message, "hidden by") {
				continue
			}
			lasting++
			if f, ok := did[r]; ok {
				t.Fatalf("seed %d: %v %s: said to be %q, but with other endpoints acts on %+v", seed, r.policy, r.field, message, f)
			}
		}
	}
	if claims < 100 || lasting < 10 {
		t.Errorf("%d claims, %d lasting: the test tests nothing", claims, lasting)
	}
	t.Log(claims, lasting)
}

// Whatever flow is denied because host endpoints "*" guard pods' interfaces, the
// linter names the policy that denies it.
func TestPoliciesThatMeetPodsAreNamed(t *testing.T) {
	worlds := 150
	if testing.Short() {
		worlds = 40
	}
	changed := 0
	for seed := range uint64(worlds) {
		stream := oracle.Random(rand.New(rand.NewPCG(seed, 14)), oracle.Config{Policies: 6})
		for range 160 {
			stream.Next()
		}
		with, problems, known := indexOf(stream.Objects())
		without, _, _ := indexOf(stream.Objects())
		enforce, off := *with.Settings(), *with.Settings()
		enforce.Guards.Wildcard, off.Guards.Wildcard = model.GuardEnforce, model.GuardOff
		with.Upsert(&enforce)
		without.Upsert(&off)
		with.Flush()
		without.Flush()
		named := map[model.Ref]bool{}
		for _, f := range Run(with, problems, known, nil) {
			if f.Code == CodeWildcardMeetsPods {
				named[f.Object] = true
			}
		}
		for _, f := range stream.Flows(400) {
			after := verdict.Decide(with, f)
			if after.Action != model.Deny || verdict.Decide(without, f).Action != model.Allow {
				continue
			}
			changed++
			if by := after.Stages[len(after.Stages)-1]; by.Policy != (model.Ref{}) && !named[by.Policy] {
				t.Fatalf("seed %d: %+v is denied by %s at %s in stage %s, which no finding names", seed, f, by.Policy, by.Endpoint, by.Stage)
			}
		}
	}
	if changed < worlds/2 {
		t.Errorf("%d flows are denied: the test tests nothing", changed)
	}
	t.Log(changed)
}

func isPolicy(o runtime.Object) bool {
	r, ok := convert.RefOf(o)
	if !ok {
		return false
	}
	switch r.Kind {
	case model.KindTier, model.KindGlobalNetworkPolicy, model.KindNetworkPolicy, model.KindTierwallNetworkPolicy, model.KindClusterNetworkPolicy:
		return true
	}
	return false
}

// Findings come in one order, whatever the order of the objects, and each once.
func TestRunIsDeterministic(t *testing.T) {
	for seed := range uint64(20) {
		stream := oracle.Random(rand.New(rand.NewPCG(seed, 12)), oracle.Config{Invalid: 0.5})
		for range 160 {
			stream.Next()
		}
		objects := stream.Objects()
		text := func() string {
			ix, problems, known := indexOf(objects)
			var b strings.Builder
			for _, f := range Run(ix, problems, known, nil) {
				b.WriteString(string(f.Severity) + f.Code + f.Object.String() + f.Field + f.Message + "\n")
			}
			return b.String()
		}
		first := text()
		rand.New(rand.NewPCG(seed, 13)).Shuffle(len(objects), func(i, j int) { objects[i], objects[j] = objects[j], objects[i] })
		if again := text(); again != first {
			t.Fatalf("seed %d:\n%s\nand\n%s", seed, first, again)
		}
		for i, line := range strings.Split(first, "\n") {
			if line != "" && strings.Count(first, line+"\n") > 1 {
				t.Fatalf("seed %d: line duplicate value %d: %s", seed, i, line)
			}
		}
	}
}

func TestCompareFields(t *testing.T) {
	sorted := []string{"", "spec.egress[0]", "spec.ingress[0]", "spec.ingress[0].source", "spec.ingress[2]", "spec.ingress[10]", "spec.order"}
	for i, a := range sorted {
		for j, b := range sorted {
			if got := compareFields(a, b); (got < 0) != (i < j) || (got > 0) != (i > j) {
				t.Errorf("compareFields(%q, %q) = %d", a, b, got)
			}
		}
	}
}
