package oracle_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	k8s "k8s.io/apimachinery/pkg/runtime"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/policy/convert"
	"github.com/tierwall/tierwall/policy/index"
	"github.com/tierwall/tierwall/policy/model"
	dns "github.com/tierwall/tierwall/policy/names"
	"github.com/tierwall/tierwall/policy/verdict"
	"github.com/tierwall/tierwall/test/oracle"
)

// defaultWorlds is sized for about a minute on two slow cores. TIERWALL_WORLDS
// sets another number and TIERWALL_FIRST_SEED where to begin, for longer searches;
// TIERWALL_SEED runs one world alone, with its trace.
const defaultWorlds = 5000

// TestWorlds feeds random worlds to the engine, event by event, and holds its
// verdicts, its deltas and its state to the naive interpreter and to an engine that
// sees the final objects only.
func TestWorlds(t *testing.T) {
	if seed := number(t, "TIERWALL_SEED", 0); seed != 0 {
		report(t, seed)
		return
	}
	first, worlds := number(t, "TIERWALL_FIRST_SEED", 1), number(t, "TIERWALL_WORLDS", defaultWorlds)
	var next, failed atomic.Uint64
	var total stats
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			var own stats
			for {
				seed := first - 1 + next.Add(1)
				if seed >= first+worlds || failed.Load() >= 3 {
					break
				}
				if runWorld(seed, &own) != nil {
					failed.Add(1)
					mu.Lock()
					report(t, seed)
					mu.Unlock()
				}
			}
			mu.Lock()
			total.add(own)
			mu.Unlock()
		})
	}
	wg.Wait()
	t.Logf("seeds %d to %d: %d events, %d flushes, %d comparisons with an index from scratch, %d flows; %s",
		first, first+worlds-1, total.events, total.flushes, total.checks, total.flows, total.spread())
	if worlds >= 500 {
		total.covers(t)
	}
}

func number(t *testing.T, env string, def uint64) uint64 {
	text := os.Getenv(env)
	if text == "" {
		return def
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", env, err)
	}
	return n
}

// stats counts what the worlds have met, so that a generator that has gone
// blind is noticed.
type stats struct {
	events, flushes, checks, flows int
	met                            map[string]int
}

func (s *stats) add(o stats) {
	s.events += o.events
	s.flushes += o.flushes
	s.checks += o.checks
	s.flows += o.flows
	for k, n := range o.met {
		s.meet(k, n)
	}
}

func (s *stats) meet(key string, n int) {
	if s.met == nil {
		s.met = map[string]int{}
	}
	s.met[key] += n
}

func (s *stats) spread() string {
	var b strings.Builder
	for _, k := range slices.Sorted(mapKeys(s.met)) {
		fmt.Fprintf(&b, "\n  %8d %s", s.met[k], k)
	}
	return b.String()
}

// covers: every stage, reason and action, and every kind of policy must have decided.
func (s *stats) covers(t *testing.T) {
	for _, k := range []string{
		"workload Allow Rule", "workload Deny Rule", "workload Deny EndOfTier", "workload Allow Default",
		"workload Allow Loopback", "workload Allow OwnNode", "workload Allow NoEndpoint",
		"workload Allow UnknownWorkload", "workload Deny UnknownWorkload",
		"host Allow Rule", "host Deny Rule", "host Deny EndOfTier", "host Allow Default", "host Deny Default",
		"host Allow Failsafe", "host Allow NoEndpoint", "host Allow Loopback",
		"forward Allow Rule", "forward Deny Rule", "forward Deny EndOfTier", "forward Allow Default",
		"untracked Allow Rule", "untracked Deny Rule", "untracked  Default",
		"preDNAT Allow Rule", "preDNAT Deny Rule", "preDNAT  Default",
		"toHost Allow EndpointToHost", "toHost Deny EndpointToHost",
		"workload Deny Guard", "workload Allow LinkService", "guard source", "guard link", "guard encapsulation", "guard discovery",
		"by pod Allow Default", "by pod Deny Rule", "by pod Deny EndOfTier", "to pod Deny EndOfTier", "to pod Allow Default", "to pod Allow OwnNode",
		"by GlobalNetworkPolicy", "by NetworkPolicy.tierwall.io", "by NetworkPolicy", "by ClusterNetworkPolicy", "by name", "audit",
	} {
		if s.met[k] == 0 {
			t.Errorf("no world has met %q", k)
		}
	}
}

func (s *stats) decision(d model.Decision) {
	s.flows++
	for _, v := range d.Stages {
		s.meet(fmt.Sprintf("%s %s %s", v.Stage, v.Action, v.Reason), 1)
		switch {
		case v.Policy.Kind == model.KindGuard:
			s.meet("guard "+v.Policy.Name, 1)
		case v.Policy.Kind != "":
			s.meet("by "+string(v.Policy.Kind), 1)
		}
		if v.Stage == model.StageWorkload && v.Direction == model.Egress && v.Endpoint == d.Flow.In && v.Endpoint.Kind == model.KindPod {
			s.meet(fmt.Sprintf("by pod %s %s", v.Action, v.Reason), 1)
		}
		if v.Stage == model.StageWorkload && v.Direction == model.Ingress && v.Endpoint == d.Flow.Out && v.Endpoint.Kind == model.KindPod {
			s.meet(fmt.Sprintf("to pod %s %s", v.Action, v.Reason), 1)
		}
		if v.Audit != nil {
			s.meet("audit", 1)
		}
	}
}

// script is a world's course: events, and after which of them what is compared.
type script struct {
	steps []step
}

type step struct {
	event oracle.Event
	flush bool
	// check compares everything after the event; objects and flows are those of the moment.
	check   bool
	flows   []model.Flow
	objects []k8s.Object
}

func makeScript(seed uint64) script {
	rng := rand.New(rand.NewPCG(seed, 0x7469657277616c6c))
	cfg := oracle.Config{Policies: 1 + rng.IntN(4), Shared: rng.IntN(5) < 2, Links: rng.IntN(3) > 0, Guards: rng.IntN(2) == 0}
	if rng.IntN(3) == 0 {
		cfg.Invalid = 0.4
	}
	s := oracle.Random(rng, cfg)
	n := 20 + rng.IntN(100)
	checks := map[int]bool{n - 1: true, rng.IntN(n): true, n/2 + rng.IntN(n/2): true}
	flushRate := []float64{0, 0.1, 0.5, 1}[rng.IntN(4)]
	var sc script
	var answers *v1alpha1.DNSAnswers
	for i := range n {
		st := step{event: s.Next(), flush: rng.Float64() < flushRate, check: checks[i]}
		if st.check {
			st.objects, st.flows = s.Objects(), slices.Concat(s.Flows(40), s.LinkFlows(30), s.NameFlows(10))
		}
		if a := s.Answers(); a != answers {
			answers = a
			sc.steps = append(sc.steps, step{event: oracle.Event{Object: a}})
		}
		sc.steps = append(sc.steps, st)
	}
	return sc
}

func runWorld(seed uint64, s *stats) error {
	rng := rand.New(rand.NewPCG(seed, 0x636865636b))
	return makeScript(seed).run(rng, s)
}

// failure is a disagreement about one moment of a world.
type failure struct {
	step    int
	objects []k8s.Object
	flow    *model.Flow // nil if it is not about a verdict
	err     error
}

func (f *failure) Error() string { return f.err.Error() }

func (sc script) run(rng *rand.Rand, s *stats) (err error) {
	at := -1
	defer func() {
		if r := recover(); r != nil {
			buf := make([]byte, 8192)
			err = &failure{step: at, err: fmt.Errorf("panic: %v\n%s", r, buf[:runtime.Stack(buf, false)])}
		}
	}()
	full := newEngine(nil)
	local := newEngine(func(node string) bool { return node == "n0" })
	for i, st := range sc.steps {
		at = i
		s.events++
		full.event(st.event)
		local.event(st.event)
		if !st.flush && !st.check {
			continue
		}
		s.flushes++
		if err := full.flush(); err != nil {
			return &failure{step: i, err: err}
		}
		if err := local.flush(); err != nil {
			return &failure{step: i, err: fmt.Errorf("with local endpoints only: %w", err)}
		}
		if st.check {
			s.checks++
			if f := compare(rng, full, local, st, s); f != nil {
				f.step, f.objects = i, st.objects
				return f
			}
		}
	}
	return sc.undo(rng, full)
}

// undo deletes all that is left, in any order: nothing must remain.
func (sc script) undo(rng *rand.Rand, e *engine) error {
	last := len(sc.steps) - 1
	if last < 0 {
		return nil
	}
	objects := objectsAfter(sc.steps)
	rng.Shuffle(len(objects), func(i, j int) { objects[i], objects[j] = objects[j], objects[i] })
	for _, o := range objects {
		e.event(oracle.Event{Object: o, Delete: true})
		if rng.IntN(4) == 0 {
			if err := e.flush(); err != nil {
				return &failure{step: last, err: fmt.Errorf("while all is deleted: %w", err)}
			}
		}
	}
	if err := e.flush(); err != nil {
		return &failure{step: last, err: fmt.Errorf("when all is deleted: %w", err)}
	}
	empty := newEngine(nil)
	if err := e.replica.equals(empty.replica); err != nil {
		return &failure{step: last, err: fmt.Errorf("when all is deleted: %w", err)}
	}
	if err := e.sameState(empty, sc.steps[last]); err != nil {
		return &failure{step: last, err: fmt.Errorf("when all is deleted: %w", err)}
	}
	return nil
}

func compare(rng *rand.Rand, full, local *engine, st step, s *stats) *failure {
	fresh := newEngine(nil)
	shuffled := slices.Clone(st.objects)
	rng.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
	for _, o := range shuffled {
		fresh.event(oracle.Event{Object: o})
	}
	if err := fresh.flush(); err != nil {
		return &failure{err: fmt.Errorf("index from scratch: %w", err)}
	}
	naive := oracle.New(st.objects)
	for _, f := range st.flows {
		want := naive.Decide(f)
		s.decision(want)
		if full.ix.NamesOf(f.Dst) != nil && verdict.Explain(full.ix, f).ByName() {
			s.meet("by name", 1)
		}
		if want, got := naive.DecideAt("n0", f), verdict.DecideAt(local.ix, "n0", f); differ(want, got) != "" {
			return &failure{flow: &f, err: fmt.Errorf("naive and index differ at node n0: %s\nnaive: %s\nindex: %s", differ(want, got), asJSON(want), asJSON(got))}
		}
		for name, e := range map[string]*engine{"incremental index": full, "index from scratch": fresh} {
			got := verdict.Decide(e.ix, f)
			if diff := differ(want, got); diff != "" {
				return &failure{flow: &f, err: fmt.Errorf("naive and %s differ: %s\nnaive: %s\n%s: %s", name, diff, asJSON(want), name, asJSON(got))}
			}
		}
	}
	if err := full.replica.equals(fresh.replica); err != nil {
		return &failure{err: err}
	}
	if err := full.sameState(fresh, st); err != nil {
		return &failure{err: err}
	}
	if err := local.partOf(full, st); err != nil {
		return &failure{err: err}
	}
	return nil
}

// differ says how two decisions differ, or nothing.
func differ(want, got model.Decision) string {
	if want.Action != got.Action {
		return fmt.Sprintf("action %s and %s", want.Action, got.Action)
	}
	for i := range max(len(want.Stages), len(got.Stages)) {
		if i >= len(want.Stages) || i >= len(got.Stages) {
			return fmt.Sprintf("%d and %d stages", len(want.Stages), len(got.Stages))
		}
		a, b := want.Stages[i], got.Stages[i]
		auditA, auditB := a.Audit, b.Audit
		a.Audit, b.Audit = nil, nil
		if a != b {
			return fmt.Sprintf("stage %d", i)
		}
		if (auditA == nil) != (auditB == nil) || auditA != nil && *auditA != *auditB {
			return fmt.Sprintf("audit of stage %d", i)
		}
	}
	return ""
}

// engine is an index with what its deltas make of a replica.
type engine struct {
	ix      *index.Index
	local   func(string) bool
	replica *replica
	// nodes and settings as of the last flush, as text
	nodes    map[string]string
	settings string
	answers  *v1alpha1.DNSAnswers
	learner  oracle.Learner
	patterns map[dns.Pattern]bool // as the deltas make them
}

func newEngine(local func(string) bool) *engine {
	e := &engine{ix: index.New(index.Options{Local: local}), local: local, replica: newReplica()}
	e.settings = fmt.Sprintf("%+v", *e.ix.Settings())
	return e
}

func (e *engine) event(ev oracle.Event) {
	if l, ok := ev.Object.(*oracle.NodeLinks); ok {
		if ev.Delete {
			e.ix.Delete(l.Links.Key())
		} else {
			e.ix.Upsert(&l.Links)
		}
		return
	}
	if a, ok := ev.Object.(*v1alpha1.DNSAnswers); ok {
		if e.answers = a; ev.Delete {
			e.answers = nil
		}
		return
	}
	ref, ok := convert.RefOf(ev.Object)
	if !ok {
		panic(fmt.Sprintf("no ref of %T", ev.Object))
	}
	obj, _, known := convert.Object(ev.Object)
	switch {
	case !known:
		panic(fmt.Sprintf("%s is unknown", ref))
	case ev.Delete || obj == nil:
		e.ix.Delete(ref)
	default:
		e.ix.Upsert(obj)
	}
}

// flush also makes sure that a second flush says nothing.
func (e *engine) flush() error {
	d := e.ix.Flush()
	if err := e.replica.apply(d); err != nil {
		return err
	}
	if err := e.nodesAndSettings(d); err != nil {
		return err
	}
	if err := e.inUse(d); err != nil {
		return err
	}
	e.ix.ApplyNames(e.learner.Deltas(e.ix, e.answers))
	if d = e.ix.Flush(); len(d.Added)+len(d.Removed)+len(d.Endpoints)+len(d.Nodes)+len(d.PatternsAdded)+len(d.PatternsRemoved) > 0 || d.Settings {
		return fmt.Errorf("names have changed more than sets: %+v", *d)
	}
	if err := e.replica.apply(d); err != nil {
		return err
	}
	if d = e.ix.Flush(); len(d.Sets)+len(d.Added)+len(d.Removed)+len(d.Endpoints)+len(d.Nodes) > 0 || d.Settings {
		return fmt.Errorf("a second flush has something to say: %+v", *d)
	}
	for ref, ed := range e.replica.endpoints {
		if got := e.ix.Effective(ref); got != ed.Effective {
			return fmt.Errorf("endpoint %s: the deltas' effective policy is not the index's", ref)
		}
	}
	return nil
}

// inUse: the deltas of names in use make up those that the rules of effective policies
// speak of.
func (e *engine) inUse(d *index.Delta) error {
	if e.patterns == nil {
		e.patterns = map[dns.Pattern]bool{}
	}
	for _, p := range d.PatternsAdded {
		if e.patterns[p] {
			return fmt.Errorf("name %s is added and there already", p)
		}
		e.patterns[p] = true
	}
	for _, p := range d.PatternsRemoved {
		if !e.patterns[p] {
			return fmt.Errorf("name %s is removed and not there", p)
		}
		delete(e.patterns, p)
	}
	want := map[dns.Pattern]bool{}
	for ref, ed := range e.replica.endpoints {
		byName := false
		for _, st := range ed.Effective.Stages() {
			for _, t := range st.Chain {
				for _, p := range t.Policies {
					for i := range p.ResolvedEgress {
						for _, s := range p.ResolvedEgress[i].Sets() {
							byName = byName || s.ByName()
							for _, x := range s.Patterns() {
								want[x] = true
							}
						}
					}
				}
			}
		}
		if byName && !ed.Effective.ByName {
			return fmt.Errorf("endpoint %s has rules by name, and its effective policy does not say so", ref)
		}
	}
	if !maps.Equal(want, e.patterns) {
		return fmt.Errorf("names in use are %v, rules speak of %v", e.patterns, want)
	}
	return nil
}

// nodesAndSettings: the delta names the nodes that have changed, and no others.
func (e *engine) nodesAndSettings(d *index.Delta) error {
	nodes := map[string]string{}
	for _, n := range e.ix.Nodes() {
		nodes[n.Name] = fmt.Sprintf("%+v", *n)
		if l := e.ix.Links(n.Name); l != nil && (e.local == nil || e.local(n.Name)) {
			nodes[n.Name] += fmt.Sprintf(" %+v", *l)
		}
	}
	var changed []string
	for name, text := range nodes {
		if e.nodes[name] != text {
			changed = append(changed, name)
		}
	}
	for name := range e.nodes {
		if _, ok := nodes[name]; !ok {
			changed = append(changed, name)
		}
	}
	slices.Sort(changed)
	if !slices.Equal(changed, d.Nodes) {
		return fmt.Errorf("changed nodes are %v, the delta says %v", changed, d.Nodes)
	}
	settings := fmt.Sprintf("%+v", *e.ix.Settings())
	if (settings != e.settings) != d.Settings {
		return fmt.Errorf("settings before: %s\nnow: %s\nthe delta says %v", e.settings, settings, d.Settings)
	}
	e.nodes, e.settings = nodes, settings
	return nil
}

// sameState compares what the indexes say of themselves.
func (e *engine) sameState(o *engine, st step) error {
	text := func(ix *index.Index) string {
		var b strings.Builder
		fmt.Fprintln(&b, "endpoints", ix.Endpoints())
		for _, t := range ix.Tiers() {
			fmt.Fprintf(&b, "tier %+v\n", *t)
		}
		for _, p := range ix.Policies() {
			fmt.Fprintln(&b, "policy", p.Ref, ix.Selected(p.Ref))
		}
		for _, n := range ix.Nodes() {
			fmt.Fprintf(&b, "node %+v\n", *n)
		}
		fmt.Fprintf(&b, "settings %+v\n", *ix.Settings())
		for _, f := range st.flows {
			node := ""
			if n := ix.NodeOf(f.Src); n != nil {
				node = n.Name
			}
			fmt.Fprintf(&b, "%s is of %s, node %q\n", f.Src, ix.Owner(f.Src), node)
		}
		return b.String()
	}
	if a, b := text(e.ix), text(o.ix); a != b {
		return fmt.Errorf("state by events and from scratch differ:\n%s---\n%s", a, b)
	}
	return nil
}

// partOf holds an index of one node's endpoints to one of all.
func (e *engine) partOf(full *engine, st step) error {
	for ref, want := range full.replica.endpoints {
		got, ok := e.replica.endpoints[ref]
		if isLocal := want.Endpoint.Node == "n0"; ok != isLocal || (e.ix.Effective(ref) != nil) != isLocal {
			return fmt.Errorf("%s on %q: local %v", ref, want.Endpoint.Node, ok)
		}
		if ok && (localText(got.Endpoint) != localText(want.Endpoint) || effectiveText(got.Effective) != effectiveText(want.Effective)) {
			return fmt.Errorf("%s with local endpoints only:\n%s\n%s--- with all:\n%s\n%s", ref,
				localText(got.Endpoint), effectiveText(got.Effective), localText(want.Endpoint), effectiveText(want.Effective))
		}
	}
	for ref := range e.replica.endpoints {
		if _, ok := full.replica.endpoints[ref]; !ok {
			return fmt.Errorf("%s is local and does not exist", ref)
		}
	}
	for id, members := range e.replica.sets {
		want, ok := full.replica.sets[id]
		if !ok || len(want) != len(members) {
			return fmt.Errorf("set %s (%s): %d members with local endpoints only, %d with all", id, e.replica.byID[id], len(members), len(want))
		}
		set := e.replica.byID[id]
		for m := range members {
			if !want[m] {
				return fmt.Errorf("set %s (%s): %v with local endpoints only", id, set, m)
			}
		}
		for _, f := range st.flows {
			if got, want := set.Contains(f.Dst, f.Protocol, f.DstPort), contains(members, set.Kind(), f.Dst, f.Protocol, f.DstPort); got != want {
				return fmt.Errorf("set %s (%s): Contains(%s, %s, %d) is %v", id, set, f.Dst, f.Protocol, f.DstPort, got)
			}
		}
	}
	return nil
}
