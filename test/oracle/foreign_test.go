package oracle_test

import (
	"bytes"
	"encoding/json"
	"testing"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/tierwall/tierwall/controllers/manifests"
	"github.com/tierwall/tierwall/policy/index"
	"github.com/tierwall/tierwall/policy/model"
	"github.com/tierwall/tierwall/policy/translate"
	"github.com/tierwall/tierwall/policy/verdict"
	"github.com/tierwall/tierwall/test/oracle"
)

// foreignWorlds of each kind are tried, at foreignFlows verdicts each, in seconds.
// TIERWALL_FOREIGN_WORLDS and TIERWALL_FIRST_SEED are for longer searches.
const (
	foreignWorlds = 500
	foreignFlows  = 40
)

// TestCilium holds what `tierwall convert` makes of Cilium's policies to an interpreter
// of these: equal verdicts where every field has an equivalent, and never a wider one.
func TestCilium(t *testing.T) {
	worlds := number(t, "TIERWALL_FOREIGN_WORLDS", foreignWorlds)
	first := number(t, "TIERWALL_FIRST_SEED", 1)
	verdicts, exact, allowed := 0, 0, 0
	for seed := first; seed < first+worlds; seed++ {
		f := oracle.NewForeign(seed)
		cluster, yaml := f.Cluster(), f.Cilium(seed%4 != 0)
		naive, err := oracle.NewCilium(cluster, yaml)
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		objects, lossy := converted(t, yaml)
		ix := indexed(t, append(documents(t, cluster), documents(t, objects)...))
		if !lossy {
			exact++
		}
		for _, flow := range f.Flows(foreignFlows) {
			want, d := naive.Allows(flow), verdict.Decide(ix, flow)
			got := d.Action == model.Allow
			verdicts++
			if got {
				allowed++
			}
			if got != want && (got || !lossy) {
				t.Fatalf("seed %d: %+v: allowed %v, want %v\n%s\n%+v", seed, flow, got, want, bytes.Join(yaml, []byte("\n")), d.Stages)
			}
		}
	}
	t.Logf("seeds %d to %d: %d verdicts, %d of them Allow; %d worlds without loss", first, first+worlds-1, verdicts, allowed, exact)
	if worlds >= foreignWorlds && (verdicts < 12_000 || exact < 250 || allowed < 3000 || verdicts-allowed < 3000) {
		t.Error("the worlds have become too plain")
	}
}

// TestCalico holds what the commands read of Calico's objects to an interpreter of these.
// Their verdicts are equal: no object here has a field without an equivalent.
func TestCalico(t *testing.T) {
	worlds := number(t, "TIERWALL_FOREIGN_WORLDS", foreignWorlds)
	first := number(t, "TIERWALL_FIRST_SEED", 1)
	verdicts, allowed := 0, 0
	for seed := first; seed < first+worlds; seed++ {
		f := oracle.NewForeign(seed)
		cluster, manifests := f.Cluster(), f.Calico()
		naive, err := oracle.NewCalico(cluster, manifests)
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		ix := indexed(t, append(documents(t, cluster), manifests...))
		for _, flow := range f.Flows(foreignFlows) {
			want, d := naive.Allows(flow), verdict.Decide(ix, flow)
			got := d.Action == model.Allow
			verdicts++
			if got {
				allowed++
			}
			if got != want {
				t.Fatalf("seed %d: %+v: allowed %v, want %v\n%s\n%+v", seed, flow, got, want, bytes.Join(manifests, []byte("\n")), d.Stages)
			}
		}
	}
	t.Logf("seeds %d to %d: %d verdicts, %d of them Allow", first, first+worlds-1, verdicts, allowed)
	if worlds >= foreignWorlds && (verdicts < 12_000 || allowed < 3000 || verdicts-allowed < 3000) {
		t.Error("the worlds have become too plain")
	}
}

// converted translates manifests as `tierwall convert` does. lossy says that not every
// field has an equivalent.
func converted(t *testing.T, yaml [][]byte) (objects []runtime.Object, lossy bool) {
	t.Helper()
	for _, text := range yaml {
		var m struct{ APIVersion, Kind string }
		if err := json.Unmarshal(text, &m); err != nil {
			t.Fatal(err)
		}
		o := translate.New(schema.FromAPIVersionAndKind(m.APIVersion, m.Kind))
		if err := json.Unmarshal(text, o); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		res, err := translate.Translate(o)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		lossy = lossy || res.Lossy()
		objects = append(objects, res.Objects...)
	}
	objects, _ = translate.Reconcile(objects, nil)
	return objects, lossy
}

func documents(t *testing.T, objects []runtime.Object) [][]byte {
	t.Helper()
	var out [][]byte
	for _, o := range objects {
		text, err := json.Marshal(o)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, text)
	}
	return out
}

// indexed reads documents as the commands do.
func indexed(t *testing.T, documents [][]byte) *index.Index {
	t.Helper()
	res, err := manifests.LoadBytes("world.yaml", bytes.Join(documents, []byte("\n---\n")))
	if err != nil {
		t.Fatal(err)
	}
	res.Complete()
	ix, problems := res.Index()
	for _, p := range problems {
		if !p.Warning {
			t.Fatalf("%+v", p)
		}
	}
	return ix
}
