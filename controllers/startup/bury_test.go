package startup

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/tierwall/tierwall/controllers/startup/ghosts"
)

type ghostsOf = map[string]string

// A pod of this node ends with its sandbox, and not with its object.
func TestGhosts(t *testing.T) {
	const (
		one    = "api a/p u1 n1 10.0.0.1; "
		gone   = one + "gone a/p; "
		seen   = one + "links a/p 10.0.0.1 veth1; gone a/p; "
		early  = "api a/p u1 n1; start s1 a/p u1 10.0.0.1; "
		run    = early + "api a/p u1 n1 10.0.0.1; gone a/p; "
		hour   = "grace 86400 a/p u1 n1 10.0.0.1; gone a/p; "
		stayed = "10.0.0.1"
	)
	ghost, none := ghostsOf{"a/p@u1": stayed}, ghostsOf{}
	tests := []struct {
		name  string
		steps string
		want  ghostsOf
	}{
		{"a pod that is there is none", one, none},
		{"a pod whose object is gone", gone, ghost},
		{"of both families", "api a/p u1 n1 10.0.0.1 fd00::1; gone a/p", ghostsOf{"a/p@u1": "10.0.0.1 fd00::1"}},
		{"not one of another node", "api a/p u1 n2 10.0.2.1; gone a/p", none},
		{"nor one without an address", "api a/p u1 n1; gone a/p", none},
		{"nor one that was never there", "gone a/p", none},
		{"an address that was held back", "blocks n1 10.0.0.0/24; synced; api a/p u1 n1 10.0.0.1; gone a/p", ghost},
		{"an address that only the runtime has told", early + "gone a/p", ghost},
		{"a pod of its name in its place, not seen to go", one + "api a/p u2 n1 10.0.0.2", ghost},
		{"a pod of its name that follows", gone + "api a/p u2 n1 10.0.0.2", ghost},
		{"and is gone too", gone + "api a/p u2 n1 10.0.0.2; gone a/p", ghostsOf{"a/p@u1": stayed, "a/p@u2": "10.0.0.2"}},

		{"without evidence it stays for its grace period and a margin", gone + "wait 59s", ghost},
		{"and no longer", gone + "wait 60s", none},
		{"its own grace period", "grace 600 a/p u1 n1 10.0.0.1; gone a/p; wait 629s", ghost},
		{"is over at its end", "grace 600 a/p u1 n1 10.0.0.1; gone a/p; wait 630s", none},
		{"at most an hour", hour + "wait 59m59s", ghost},
		{"and then it is over", hour + "wait 60m", none},
		{"each by its own time", gone + "wait 30s; api a/q u2 n1 10.0.0.2; gone a/q; wait 30s", ghostsOf{"a/q@u2": "10.0.0.2"}},

		{"no time ends what the runtime has running", run + "wait 48h", ghost},
		{"its stop does", run + "wait 48h; stop s1 a/p u1 10.0.0.1", none},
		{"not the stop of another sandbox", run + "stop s2 a/p u1 10.0.0.1", ghost},
		{"a sandbox that has stopped before leaves none", early + "api a/p u1 n1 10.0.0.1; stop s1 a/p u1 10.0.0.1; gone a/p", none},
		{"a sandbox of the next pod of its name is not its own", run + "api a/p u2 n1; start s2 a/p u2 10.0.0.2; stop s2 a/p u2 10.0.0.2", ghost},
		{"its own is known after that", run + "api a/p u2 n1; start s2 a/p u2 10.0.0.2; stop s1 a/p u1 10.0.0.1", none},
		{"even if the next one's starts before the object is seen to go", early + "start s2 a/p u2 10.0.0.2; gone a/p; api a/p u2 n1; wait 2h", ghost},
		{"a static pod by its mirror", "mirror hash a/p u1 n1; start s1 a/p hash 10.0.0.1; gone a/p; wait 48h", ghost},
		{"and its stop", "mirror hash a/p u1 n1; start s1 a/p hash 10.0.0.1; gone a/p; stop s1 a/p hash 10.0.0.1", none},
		{"a mirror that is back has its address again", "mirror hash a/p u1 n1; start s1 a/p hash 10.0.0.1; gone a/p; mirror hash a/p u2 n1", none},

		{"a runtime that is lost leaves its time", run + "lost; wait 59s", ghost},
		{"and that ends it", run + "lost; wait 60s", none},
		{"unless it is back", run + "lost; wait 59s; alive s1 a/p u1 10.0.0.1; wait 48h", ghost},
		{"one that does not list it does not know", run + "alive ; wait 59s", ghost},
		{"and its time is over", run + "alive ; wait 60s", none},
		{"one that lists it as not running has stopped it", run + "running s1 a/p u1 10.0.0.1", none},
		{"a pod that it lists later", gone + "alive s1 a/p u1 10.0.0.1; wait 48h", ghost},

		{"a sandbox that runs for no pod at the start", "alive s1 a/p u1 10.0.0.1; synced", ghost},
		{"or that is listed after it", "synced; alive s1 a/p u1 10.0.0.1; wait 48h", ghost},
		{"not before the source is in sync", "alive s1 a/p u1 10.0.0.1", none},
		{"not one that may not run", "synced; running s1 a/p u1 10.0.0.1", none},
		{"not one of a pod", one + "synced; alive s1 a/p u1 10.0.0.1", none},
		{"nor that of a pod that is seen a little later", "synced; alive s1 a/p u1 10.0.0.1; api a/p u1 n1 10.0.0.1", none},
		{"nor that of the node itself", "addresses n1 10.0.0.1; synced; alive s1 a/p u1 10.0.0.1", none},
		{"one of an address that a pod has", "api a/q u2 n1 10.0.0.1; synced; alive s1 a/p u1 10.0.0.1", none},

		{"no time ends what an interface leads to", seen + "wait 48h", ghost},
		{"its end does", seen + "links a/p 10.0.0.1 none", none},
		{"and its end before", one + "links a/p 10.0.0.1 veth1; links a/p 10.0.0.1 none; gone a/p", none},
		{"an interface that is found later", gone + "links a/p 10.0.0.1 veth1; wait 48h", ghost},
		{"one that was never known says nothing", one + "links a/p 10.0.0.1 none; gone a/p; links a/p 10.0.0.1 none", ghost},
		{"nor does a reading that asked for others", seen + "links a/q 10.0.0.2 veth2; wait 48h", ghost},
		{"nor the interface of the address's pod before", "api a/o u0 n1 10.0.0.1; links a/o 10.0.0.1 veth1; gone a/o; links a/o 10.0.0.1 none; " + one + "links a/p 10.0.0.1 none; gone a/p", ghost},
		{"its end, though the runtime has it running", early + "links a/p 10.0.0.1 veth1; gone a/p; links a/p 10.0.0.1 none", none},

		{"a pod of this node that has the address", seen + "api a/q u2 n1 10.0.0.1", none},
		{"early, too", seen + "api a/q u2 n1; start s2 a/q u2 10.0.0.1", none},
		{"that had it before", one + "api a/q u2 n1; start s2 a/q u2 10.0.0.1; gone a/p", none},
		{"that is itself again", gone + one, none},
		{"a pod elsewhere", gone + "api a/q u2 n2 10.0.0.1", none},
		{"that is announced", gone + "api a/q u2 n2; report n2 a/q u2 10.0.0.1", none},
		{"not where an interface of this node leads to it", seen + "api a/q u2 n2 10.0.0.1", ghost},
		{"one of two addresses", "api a/p u1 n1 10.0.0.1 10.0.0.9; gone a/p; api a/q u2 n1 10.0.0.9", ghost},
		{"a node", gone + "addresses n2 10.0.0.1", none},
		{"this node", seen + "addresses n1 10.0.0.1", none},
		{"a node that had it before", one + "node n2 10.0.0.1; gone a/p", ghost}, // the pod had it first
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			for step := range strings.SplitSeq(strings.TrimSuffix(strings.TrimSpace(tt.steps), ";"), ";") {
				w.do(strings.TrimLeft(step, " "))
			}
			if got := w.ghosts; !reflect.DeepEqual(got, tt.want) {
				t.Errorf("ghosts are %v, want %v", got, tt.want)
			}
			addrs := 0
			for _, a := range w.ghosts {
				addrs += len(strings.Fields(a))
			}
			if got := testutil.ToFloat64(w.graves.count); got != float64(addrs) {
				t.Errorf("the metric is %v, want %d", got, addrs)
			}
		})
	}
}

// The reasons are counted.
func TestGhostEnds(t *testing.T) {
	w := newWorld(t)
	for step := range strings.SplitSeq("api a/p u1 n1 10.0.0.1; gone a/p; wait 60s; api a/p u1 n1 10.0.0.1; gone a/p; api a/q u2 n1 10.0.0.1", ";") {
		w.do(strings.TrimLeft(step, " "))
	}
	for reason, want := range map[string]float64{"expired": 1, "owned": 1, "stopped": 0, "unlinked": 0} {
		if got := testutil.ToFloat64(w.graves.ended.WithLabelValues(reason)); got != want {
			t.Errorf("%s: %v, want %v", reason, got, want)
		}
	}
}

// An agent that starts knows the pods of the one before it: those whose object has
// gone meanwhile or before, and only those, are ghosts.
func TestGhostsOutliveTheAgent(t *testing.T) {
	dir := t.TempDir()
	keeper := func(boot string) *File { return &File{Dir: dir, Cluster: "c", Node: "n1", Boot: boot} }
	first := keptWorld(t, keeper("b1"))
	for _, step := range []string{
		"api a/p u1 n1 10.0.0.1", "api a/q u2 n1 10.0.0.2", "api a/old u3 n1 10.0.0.3", "api a/far u4 n2 10.0.2.1",
		"links a/q 10.0.0.2 veth2", "synced", "gone a/old",
	} {
		first.do(step)
	}
	first.Overlay.keep()
	for _, c := range []struct {
		name, boot, steps string
		want              ghostsOf
	}{
		{"nothing has happened", "b1", "api a/p u1 n1 10.0.0.1; api a/q u2 n1 10.0.0.2; synced", ghostsOf{"a/old@u3": "10.0.0.3"}},
		{"a pod has gone meanwhile", "b1", "api a/p u1 n1 10.0.0.1; synced", ghostsOf{"a/old@u3": "10.0.0.3", "a/q@u2": "10.0.0.2"}},
		{"and stays while its interface is there", "b1", "api a/p u1 n1 10.0.0.1; synced; wait 48h", ghostsOf{"a/q@u2": "10.0.0.2"}},
		{"not longer", "b1", "api a/p u1 n1 10.0.0.1; synced; links a/q 10.0.0.2 none", ghostsOf{"a/old@u3": "10.0.0.3"}},
		{"one of its name has come", "b1", "api a/p u9 n1; api a/q u2 n1 10.0.0.2; synced", ghostsOf{"a/old@u3": "10.0.0.3", "a/p@u1": "10.0.0.1"}},
		{"with its address", "b1", "api a/p u9 n1 10.0.0.1; api a/q u2 n1 10.0.0.2; synced", ghostsOf{"a/old@u3": "10.0.0.3"}},
		{"not before all is known", "b1", "api a/p u1 n1 10.0.0.1", ghostsOf{}},
		{"no sandbox outlives a boot", "b2", "synced", ghostsOf{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := keptWorld(t, readOnly{keeper(c.boot)})
			for step := range strings.SplitSeq(c.steps, ";") {
				w.do(strings.TrimLeft(step, " "))
			}
			if got := w.ghosts; !reflect.DeepEqual(got, c.want) {
				t.Errorf("ghosts are %v, want %v", got, c.want)
			}
		})
	}
	if err := Forget(dir); err != nil {
		t.Error(err)
	}
	if list, err := keeper("b1").Load(); err != nil || list != nil {
		t.Errorf("kept are %v, %v", list, err)
	}
}

// readOnly is a file that stays as it is.
type readOnly struct{ *File }

func (readOnly) Save([]ghosts.KeptPod) error { return nil }

// unwritable is a Keeper that fails.
type unwritable struct{}

func (u *unwritable) Load() ([]ghosts.Pod, error) { return nil, errors.New("no space left on device") }
func (u *unwritable) Save([]ghosts.KeptPod) error { return errors.New("no space left on device") }

// What cannot be kept costs nothing but that.
func TestGhostsWithoutASpareByte(t *testing.T) {
	w := keptWorld(t, &unwritable{})
	w.do("api a/p u1 n1 10.0.0.1")
	w.do("synced")
	w.Overlay.keep()
	w.do("gone a/p")
	if got := (ghostsOf{"a/p@u1": "10.0.0.1"}); !reflect.DeepEqual(w.ghosts, got) {
		t.Errorf("ghosts are %v", w.ghosts)
	}
}

// Pods of which nothing shows whether they run are counted, so that people know where
// time alone ends ghosts.
func TestUnseen(t *testing.T) {
	const one = "api a/p u1 n1 10.0.0.1; "
	for _, tt := range []struct {
		name, steps string
		want        int
	}{
		{"neither runtime nor interface", one, 1},
		{"the runtime has its sandbox", one + "alive s1 a/p u1 10.0.0.1", 0},
		{"that of another pod", one + "alive s1 a/p u0 10.0.0.1", 1},
		{"a runtime that is lost", one + "alive s1 a/p u1 10.0.0.1; lost", 1},
		{"an interface leads to it", one + "links a/p 10.0.0.1 veth1", 0},
		{"no more", one + "links a/p 10.0.0.1 veth1; links a/p 10.0.0.1 none", 1},
		{"to one of its addresses", "api a/p u1 n1 10.0.0.1 fd00::1; links a/p 10.0.0.1 veth1", 1},
		{"a pod without an address", "api a/p u1 n1", 0},
		{"a pod elsewhere", "api a/p u1 n2 10.0.2.1", 0},
		{"one that is gone", one + "gone a/p", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			for step := range strings.SplitSeq(strings.TrimSuffix(strings.TrimSpace(tt.steps), ";"), ";") {
				w.do(strings.TrimLeft(step, " "))
			}
			if got := w.Unseen(); got != tt.want {
				t.Errorf("%d, want %d", got, tt.want)
			}
		})
	}
}
