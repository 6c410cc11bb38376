package oracle_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	k8s "k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"

	"github.com/tierwall/tierwall/policy/convert"
	"github.com/tierwall/tierwall/policy/model"
	"github.com/tierwall/tierwall/test/oracle"
)

// report runs a world again, makes the failure small and prints all that it takes to understand it.
func report(t *testing.T, seed uint64) {
	t.Helper()
	fails := func(sc script) *failure {
		var s stats
		var f *failure
		errors.As(sc.run(rand.New(rand.NewPCG(seed, 0x636865636b)), &s), &f)
		return f
	}
	sc := makeScript(seed)
	f := fails(sc)
	if f == nil {
		t.Logf("seed %d holds", seed)
		return
	}
	sc = shrink(sc, f, fails)
	if small := fails(sc); small != nil {
		f = small
	}
	var b strings.Builder
	fmt.Fprintf(&b, "seed %d (TIERWALL_SEED=%d go test ./test/oracle -run TestWorlds): %v\n", seed, seed, f.err)
	if f.flow != nil {
		fmt.Fprintf(&b, "flow: %s\n", asJSON(f.flow))
	}
	for i, st := range sc.steps {
		verb := "upsert"
		if st.event.Delete {
			verb = "delete"
		}
		fmt.Fprintf(&b, "# event %d: %s %T flush %v check %v\n%s---\n", i, verb, st.event.Object, st.flush, st.check, asYAML(st.event.Object))
	}
	t.Error(b.String())
}

// shrink greedily leaves out events, as long as the world still fails at the moment
// of the last of them.
func shrink(sc script, f *failure, fails func(script) *failure) script {
	last := f.step
	steps := slices.Clone(sc.steps[:last+1])
	for i := range steps {
		steps[i].check = false
	}
	flows := sc.steps[last].flows
	if f.flow != nil {
		flows = []model.Flow{*f.flow}
	}
	build := func(steps []step) script {
		steps = slices.Clone(steps)
		if len(steps) > 0 {
			end := &steps[len(steps)-1]
			end.check, end.flush, end.flows, end.objects = true, true, flows, objectsAfter(steps)
		}
		return script{steps: steps}
	}
	if fails(build(steps)) == nil {
		return sc
	}
	for again := true; again; {
		again = false
		for i := len(steps) - 1; i >= 0; i-- {
			if shorter := slices.Delete(slices.Clone(steps), i, i+1); fails(build(shorter)) != nil {
				steps, again = shorter, true
			}
		}
	}
	for i := range steps {
		if steps[i].flush {
			steps[i].flush = false
			if fails(build(steps)) == nil {
				steps[i].flush = true
			}
		}
	}
	return build(steps)
}

func objectsAfter(steps []step) []k8s.Object {
	byRef := map[string]k8s.Object{}
	for _, st := range steps {
		ref, _ := convert.RefOf(st.event.Object)
		if l, ok := st.event.Object.(*oracle.NodeLinks); ok {
			ref = l.Links.Key()
		}
		key := fmt.Sprintf("%T %s", st.event.Object, ref)
		if st.event.Delete {
			delete(byRef, key)
		} else {
			byRef[key] = st.event.Object
		}
	}
	var objects []k8s.Object
	for _, k := range slices.Sorted(mapKeys(byRef)) {
		objects = append(objects, byRef[k])
	}
	return objects
}

func asJSON(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

func asYAML(v any) string {
	b, err := yaml.Marshal(v)
	if err != nil {
		return err.Error() + "\n"
	}
	// The parts of a Node's status that are empty and long.
	text := string(b)
	for _, key := range []string{"  daemonEndpoints:\n", "  nodeInfo:\n"} {
		if i := strings.Index(text, key); i >= 0 {
			end := i + len(key)
			for strings.HasPrefix(text[end:], "    ") {
				end += strings.IndexByte(text[end:], '\n') + 1
			}
			text = text[:i] + text[end:]
		}
	}
	return text
}
