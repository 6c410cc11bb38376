package dataplane

import (
	"slices"
	"testing"

	"k8s.io/apimachinery/pkg/runtime"

	"github.com/tierwall/tierwall/policy/convert"
	"github.com/tierwall/tierwall/policy/index"
	corpus "github.com/tierwall/tierwall/test/adversaries"
)

// tieredWorld is the corpus's world of tiers that ask for pods' labels, and pods that have
// labels of their own choice of these.
type tieredWorld struct {
	ix   *index.Index
	c    *Compiler
	pods []runtime.Object
	// turns is how often each table has been written anew in another form.
	turns map[string]int
}

func newTieredWorld(t *testing.T) *tieredWorld {
	worlds := corpus.Corpus(here, 1)
	at := slices.IndexFunc(worlds, func(w corpus.World) bool { return w.Name == "Pass through 24 tiers" })
	w := &tieredWorld{ix: localIndex(), c: NewCompiler(Options{}), turns: map[string]int{}}
	var owned []runtime.Object
	for _, o := range worlds[at].Owned {
		owned = append(owned, o)
	}
	feed(t, w.ix, owned)
	for _, o := range worlds[at].Objects {
		w.pods = append(w.pods, o)
	}
	w.step()
	return w
}

func (w *tieredWorld) come(o runtime.Object) {
	m, _, _ := convert.Object(o)
	w.ix.Upsert(m)
}

func (w *tieredWorld) leave(o runtime.Object) {
	r, _ := convert.RefOf(o)
	w.ix.Delete(r)
}

// step returns how many tables have another form now.
func (w *tieredWorld) step() (reformed int) {
	for _, tc := range w.c.Apply(w.ix.Flush()).Tables {
		if tc.Reformed {
			w.turns[tc.State.Table.ID]++
			reformed++
		}
	}
	return reformed
}

// TestTablesTurnOnce has pods come one after the other, and every tenth go and come again: a
// table turns linear once, and no pod more or less has one written anew again.
func TestTablesTurnOnce(t *testing.T) {
	w := newTieredWorld(t)
	most := 0
	for i, o := range w.pods {
		w.come(o)
		w.step()
		if i%10 > 0 {
			continue
		}
		w.leave(o)
		w.step()
		w.come(o)
		w.step()
		most = max(most, w.c.heldSize().rules)
	}
	for id, n := range w.turns {
		if n > 1 {
			t.Errorf("table %s was written anew %d times", id, n)
		}
	}
	if len(w.turns) != 24 || most > 20_000 {
		t.Errorf("%d tables have turned linear, want 24, and %d rules were held at once, want no more than 20,000", len(w.turns), most)
	}
}

// TestTablesTurnBack takes nearly all pods away at once: tables cease to be linear a few at a
// time, with the changes that follow.
func TestTablesTurnBack(t *testing.T) {
	w := newTieredWorld(t)
	for _, o := range w.pods {
		w.come(o)
	}
	w.step()
	clear(w.turns)
	for _, o := range w.pods[30:] {
		w.leave(o)
	}
	if n := w.step(); n == 0 || n > 8 {
		t.Errorf("%d tables were written anew at once, want 1 to 8", n)
	}
	for range 24 {
		w.step()
	}
	if len(w.turns) != 24 || w.c.heldSize().linear > 0 {
		t.Errorf("%d of 24 tables have turned back, %d are linear", len(w.turns), w.c.heldSize().linear)
	}
}
