package agent

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/tierwall/tierwall/policy/convert"
	"github.com/tierwall/tierwall/policy/model"
)

// policyOf is a native policy of so many rules, and of a version.
func policyOf(namespace, name string, rules, version int) *networkingv1.NetworkPolicy {
	return &networkingv1.NetworkPolicy{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Generation: int64(version)},
		Spec:       networkingv1.NetworkPolicySpec{Ingress: make([]networkingv1.NetworkPolicyIngressRule, rules)},
	}
}

func podOf(namespace, name string) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
}

// names are what a round changes, gone objects with a dash.
func (r *round) names() (out []string) {
	for _, c := range r.changes {
		s := c.ref.Namespace + "/" + c.ref.Name
		if c.object == nil {
			s = "-" + s
		}
		out = append(out, s)
	}
	return out
}

func one(o runtime.Object) []runtime.Object { return []runtime.Object{o} }

func gone(kind model.Kind, namespace, name string) []model.Ref {
	return []model.Ref{{Kind: kind, Namespace: namespace, Name: name}}
}

func TestRounds(t *testing.T) {
	type rounds [][]string
	for _, tc := range []struct {
		name    string
		deliver func(q *queue)
		want    rounds
	}{
		{"what is no more than a slice is one round", func(q *queue) {
			q.Update(one(policyOf("a", "p", 30, 1)), nil)
			q.Update(one(policyOf("b", "p", 30, 1)), nil)
			q.Update(one(policyOf("", "g", 30, 1)), nil)
		}, rounds{{"/g", "a/p", "b/p"}}},
		{"little goes before much, and much goes on in every second round", func(q *queue) {
			for i := range 4 {
				q.Update(one(policyOf("a", fmt.Sprint("p", i), 60, 1)), nil)
			}
			q.Update(one(policyOf("b", "p", 60, 1)), nil)
			q.Update(one(policyOf("c", "p", 50, 1)), nil)
		}, rounds{{"c/p"}, {"a/p0"}, {"b/p"}, {"a/p1"}, {"a/p2"}, {"a/p3"}}},
		{"what has no namespace goes first, a slice at a time", func(q *queue) {
			for i := range 3 {
				q.Update(one(policyOf("a", fmt.Sprint("p", i), 60, 1)), nil)
				q.Update(one(policyOf("", fmt.Sprint("g", i), 60, 1)), nil)
			}
		}, rounds{{"/g0"}, {"a/p0"}, {"/g1"}, {"a/p1"}, {"/g2", "a/p2"}}},
		{"what one call says of a writer is together", func(q *queue) {
			q.Update([]runtime.Object{policyOf("a", "new", 90, 1), policyOf("a", "renamed", 90, 1)}, gone(model.KindNetworkPolicy, "a", "old"))
			q.Update(one(policyOf("a", "later", 90, 1)), nil)
		}, rounds{{"-a/old", "a/new", "a/renamed"}, {"a/later"}}},
		{"a pod does not come before older policies of its namespace", func(q *queue) {
			q.Update(one(policyOf("a", "p0", 90, 1)), nil)
			q.Update(one(policyOf("a", "p1", 90, 1)), nil)
			q.Update(one(podOf("a", "web")), nil)
		}, rounds{{"a/p0"}, {"a/p1", "a/web"}}},
		{"a pod that goes frees its address at once, and what waits of it is void", func(q *queue) {
			q.Update(one(policyOf("a", "p0", 90, 1)), nil)
			q.Update(one(podOf("a", "web")), nil)
			q.Update(one(policyOf("a", "p1", 90, 1)), nil)
			q.Update(nil, gone(model.KindPod, "a", "web"))
			q.Update(one(podOf("a", "new")), nil)
		}, rounds{{"-a/web", "a/p0"}, {"a/p1", "a/new"}}},
		{"a pod that comes back under its name has gone first", func(q *queue) {
			q.Update(one(policyOf("a", "p0", 90, 1)), nil)
			q.Update(one(policyOf("a", "p1", 90, 1)), nil)
			q.Update(nil, gone(model.KindPod, "a", "web"))
			q.Update(one(podOf("a", "web")), nil)
		}, rounds{{"-a/web", "a/p0"}, {"a/p1", "a/web"}}},
		{"an object that changes again keeps both places where others are between", func(q *queue) {
			q.Update(one(policyOf("a", "p0", 90, 1)), nil)
			q.Update(one(policyOf("a", "p1", 90, 1)), nil)
			q.Update(one(policyOf("a", "p0", 90, 2)), nil)
			q.Update(one(policyOf("a", "p0", 90, 3)), nil)
		}, rounds{{"a/p0"}, {"a/p1"}, {"a/p0"}}},
		{"a namespace's labels do not wait for its tenant", func(q *queue) {
			for i := range 3 {
				q.Update(one(policyOf("a", fmt.Sprint("p", i), 60, 1)), nil)
			}
			q.Update(one(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "a"}}), nil)
		}, rounds{{"/a"}, {"a/p0"}, {"a/p1"}, {"a/p2"}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			q := newQueue()
			tc.deliver(q)
			var got rounds
			for {
				r := q.take(100, terms{})
				if len(r.changes) > 0 {
					got = append(got, r.names())
				}
				if r.left == 0 {
					break
				}
			}
			if !slices.EqualFunc(got, tc.want, slices.Equal[[]string]) {
				t.Errorf("rounds\n%v, want\n%v", got, tc.want)
			}
			if len(q.backlogs) > 0 {
				t.Errorf("left: %v", q.backlogs)
			}
		})
	}
}

// A round counts a pod as what it weighs, and one that comes behind policies as a peer
// of all of them; what is weighed is not weighed again, nor what is beyond a slice.
func TestRoundsByWeight(t *testing.T) {
	q := newQueue()
	for i := range 8 {
		q.Update(one(podOf("a", fmt.Sprint("heavy", i))), nil)
	}
	q.Update(one(policyOf("b", "p", 29, 1)), nil) // 30 entries
	for i := range 4 {
		q.Update(one(podOf("b", fmt.Sprint("web", i))), nil)
	}
	q.Update(one(policyOf("c", "p", 29, 1)), nil)
	q.Update(one(podOf("c", "web")), nil)
	weighed := map[string]int{}
	weigh := func(c *change) int {
		weighed[c.ref.Name]++
		switch {
		case c.ref.Namespace == "a":
			return 40
		case c.ref.Kind == model.KindPod:
			return 1
		}
		return convert.Entries(c.object)
	}
	var got [][]string
	for left := 1; left > 0; {
		r := q.take(100, terms{weigh: weigh})
		left = r.left
		got = append(got, r.names())
		if len(got) == 1 && weighed["heavy5"] > 0 {
			t.Errorf("weighed for a slice: %v", weighed)
		}
	}
	want := [][]string{
		{"c/p", "c/web"},
		{"a/heavy0", "a/heavy1"},
		{"b/p", "b/web0", "b/web1"},
		{"b/web2", "b/web3"}, // little by now
		{"a/heavy2", "a/heavy3"},
		{"a/heavy4", "a/heavy5"},
		{"a/heavy6", "a/heavy7"},
	}
	if !slices.EqualFunc(got, want, slices.Equal[[]string]) {
		t.Errorf("rounds\n%v, want\n%v", got, want)
	}
	for name, n := range weighed {
		if n > 1 && name != "p" && name != "web" {
			t.Errorf("%s is weighed %d times", name, n)
		}
	}
}

// What a writer has changed too often to be taken step by step is taken at once, but for
// pods that are new: they come behind it, a slice at a time.
func TestUnitedPods(t *testing.T) {
	q := newQueue()
	for i := range 100 {
		q.Update(one(policyOf("a", "p", 9, i)), nil)
		for n := range 8 {
			q.Update(one(podOf("a", fmt.Sprint("w", n))), nil)
		}
	}
	q.backlogs["a"].unite()
	weigh := func(c *change) int {
		if c.ref.Kind == model.KindPod {
			return 40
		}
		return convert.Entries(c.object)
	}
	known := func(r model.Ref) bool { return r.Name == "w0" || r.Name == "w5" }
	var got [][]string
	for left := 1; left > 0; {
		r := q.take(120, terms{weigh: weigh, known: known})
		left = r.left
		got = append(got, r.names())
	}
	want := [][]string{{"a/p", "a/w0", "a/w5"}, {"a/w1", "a/w2", "a/w3"}, {"a/w4", "a/w6", "a/w7"}}
	if !slices.EqualFunc(got, want, slices.Equal[[]string]) {
		t.Errorf("rounds\n%v, want\n%v", got, want)
	}
}

// version of what a writer's objects are: those of a call are of one version.
type version map[model.Ref]runtime.Object

// text has the generation of each object.
func (v version) text() string {
	var out []string
	for r, o := range v {
		out = append(out, fmt.Sprintf("%s:%d", r.Name, o.(metav1.Object).GetGeneration()))
	}
	slices.Sort(out)
	return fmt.Sprint(out)
}

// TestRandomRounds delivers at random and takes at random. After each round the
// objects of each writer are as they were after some call, no older than before; pods
// that have gone may be missing earlier. In the end all is as it was delivered.
func TestRandomRounds(t *testing.T) {
	for seed := range uint64(300) {
		rng := rand.New(rand.NewPCG(seed, 1))
		q := newQueue()
		history := map[string][]version{"": {{}}, "a": {{}}, "b": {{}}} // by writer, after each call
		kernel, at := map[string]version{}, map[string]int{}
		policies := func(v version) version {
			v = maps.Clone(v)
			maps.DeleteFunc(v, func(r model.Ref, _ runtime.Object) bool { return r.Kind == model.KindPod })
			return v
		}
		check := func(r *round) {
			for _, c := range r.changes {
				w := writerOf(c.ref)
				if kernel[w] == nil {
					kernel[w] = version{}
				}
				if kernel[w][c.ref] = c.object; c.object == nil {
					delete(kernel[w], c.ref)
				}
			}
			for w, now := range kernel {
				for ; ; at[w]++ {
					if at[w] == len(history[w]) {
						t.Fatalf("seed %d: the policies of %q are as they never were: %v", seed, w, policies(now).text())
					}
					if maps.Equal(policies(history[w][at[w]]), policies(now)) {
						break
					}
				}
				for ref := range now {
					if last := history[w][len(history[w])-1]; ref.Kind == model.KindPod && last[ref] == nil {
						t.Fatalf("seed %d: %v is still there", seed, ref)
					}
				}
			}
		}
		for step := range 400 {
			ns := []string{"", "a", "a", "a", "a", "b"}[rng.IntN(6)]
			now := maps.Clone(history[ns][len(history[ns])-1])
			var upserts []runtime.Object
			var deletes []model.Ref
			for range 1 + rng.IntN(5)/4 {
				name := fmt.Sprint(rng.IntN(12))
				var o runtime.Object = policyOf(ns, name, rng.IntN(60), step)
				r := model.Ref{Kind: model.KindNetworkPolicy, Namespace: ns, Name: name}
				if ns != "" && rng.IntN(4) == 0 {
					o, r = podOf(ns, name), model.Ref{Kind: model.KindPod, Namespace: ns, Name: name}
				}
				if slices.Contains(deletes, r) {
					continue
				}
				if rng.IntN(3) == 0 {
					deletes = append(deletes, r)
					upserts = slices.DeleteFunc(upserts, func(o runtime.Object) bool { return now[r] == o })
					delete(now, r)
				} else {
					upserts = append(upserts, o)
					now[r] = o
				}
			}
			history[ns] = append(history[ns], now)
			q.Update(upserts, deletes)
			if rng.IntN(1+int(seed%40)) == 0 {
				check(q.take(rng.IntN(200), terms{}))
			}
		}
		for {
			r := q.take(100, terms{})
			check(r)
			if r.left == 0 {
				break
			}
		}
		for w, h := range history {
			if len(kernel[w]) > 0 && !maps.Equal(kernel[w], h[len(h)-1]) {
				t.Fatalf("seed %d: %q is %v in the end, want %v", seed, w, kernel[w].text(), h[len(h)-1].text())
			}
		}
	}
}

// A writer who changes the same objects again and again fills no memory.
func TestStaleChanges(t *testing.T) {
	q := newQueue()
	q.Update(one(policyOf("a", "first", 1, 0)), nil)
	for i := range 10_000 {
		q.Update(one(policyOf("a", fmt.Sprint(i%5), 50, i)), nil)
	}
	if n := len(q.backlogs["a"].entries); n > 100 {
		t.Errorf("%d changes of 6 objects wait", n)
	}
	r := q.take(10, terms{})
	if r.left > 10 || len(r.changes) != 6 {
		t.Errorf("the round has %v, and %d are left", r.names(), r.left)
	}
}

// While one writer has more and more waiting, another's change is in the first or
// second round after it came, and no round is more than a slice for each of them.
func TestNeighbour(t *testing.T) {
	q := newQueue()
	const slice = 1000
	for i := range 2000 {
		q.Update(one(policyOf("evil", fmt.Sprint("p", i), 500, 1)), nil)
	}
	for i := range 1500 {
		q.Update(one(policyOf("good", "web", 1, i)), nil)
		q.Update(one(policyOf("evil", fmt.Sprint("p", i), 500, 2)), nil)
		waited := 0
		for there := false; !there; {
			if waited++; waited > 2 {
				t.Fatalf("change %d is not in the second round", i)
			}
			r := q.take(slice, terms{})
			if r.work > 2*slice {
				t.Fatalf("a round of %d", r.work)
			}
			there = slices.Contains(r.names(), "good/web")
		}
	}
}
