package worlds

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/tierwall/tierwall/dataplane"
	"github.com/tierwall/tierwall/dataplane/links"
	"github.com/tierwall/tierwall/lab"
	"github.com/tierwall/tierwall/policy/model"
	"github.com/tierwall/tierwall/policy/verdict"
)

// Packets is a test that sends real packets through the nodes of random worlds
// and holds what becomes of them to the core's decision: such that come and leave as
// their addresses say, and attempts to get round that.
type Packets struct {
	// Program makes the kernel of the calling thread's namespace hold what a State
	// says, and returns an error if it does not hold exactly that then. It is
	// called from several goroutines at once, for kernels of different worlds.
	Program func(ctx context.Context, s *dataplane.State) error
	// Render writes the rules for people.
	Render func(s *dataplane.State) string
}

const (
	// usual is how many worlds there are if TIERWALL_WORLDS says nothing else.
	usual = 200
	// atOnce is how many worlds are there at a time: most of what they take is waiting.
	atOnce = 6
	// first is added to the seeds, so that these worlds are not those of other tests.
	first = 1000
)

// tally is what was seen in worlds.
type tally struct {
	worlds, probes, unreachable, allowed, denied int
	reasons                                      map[string]int
}

// Run sends packets through 200 worlds, or as many as TIERWALL_WORLDS says.
func (p Packets) Run(t *testing.T) {
	t.Helper()
	seeds := Seeds(t, number(t, "TIERWALL_WORLDS", usual))
	sum := tally{reasons: map[string]int{}}
	failed := map[uint64]error{}
	var mu sync.Mutex
	var all sync.WaitGroup
	next := make(chan uint64)
	for range atOnce {
		all.Go(func() {
			for seed := range next {
				one, err := p.world(t.Context(), seed)
				mu.Lock()
				sum.add(one)
				if err != nil {
					failed[seed] = err
				}
				mu.Unlock()
			}
		})
	}
	for _, seed := range seeds {
		mu.Lock()
		stop := len(failed) > 0
		mu.Unlock()
		if stop {
			break
		}
		next <- seed
	}
	close(next)
	all.Wait()
	for _, seed := range slices.Sorted(maps.Keys(failed)) {
		t.Errorf("seed %d (TIERWALL_SEED=%d go test -run '^%s$'): %v", seed, seed, strings.ReplaceAll(t.Name(), "/", "$/^"), failed[seed])
	}
	sum.check(t, seeds)
}

// onLinks are what packets must have met that do not come and leave as their addresses say.
var onLinks = []string{
	"workload egress Guard Deny Guard/source", "workload egress Guard Deny Guard/encapsulation", "workload egress Guard Deny Guard/discovery",
	"workload egress UnknownWorkload Deny Guard/link", "workload egress LinkService Allow", "toHost ingress LinkService Allow",
	"toHost ingress EndpointToHost Deny",
}

// byName is met where a rule by DNS name has decided.
const byName = "a rule by DNS name"

func (s *tally) add(o tally) {
	s.worlds, s.probes, s.unreachable = s.worlds+o.worlds, s.probes+o.probes, s.unreachable+o.unreachable
	s.allowed, s.denied = s.allowed+o.allowed, s.denied+o.denied
	for r, n := range o.reasons {
		s.reasons[r] += n
	}
}

// check logs what was seen, and fails if it was not much.
func (s *tally) check(t *testing.T, seeds []uint64) {
	t.Helper()
	t.Logf("%d worlds (seeds %d to %d), %d probes: %d allowed, %d denied; %d more do not arrive without any policy",
		s.worlds, seeds[0], seeds[len(seeds)-1], s.probes, s.allowed, s.denied, s.unreachable)
	for _, r := range slices.Sorted(maps.Keys(s.reasons)) {
		t.Logf("%6d %s", s.reasons[r], r)
	}
	if s.worlds > 20 && (s.allowed < 12*s.worlds || s.denied < 12*s.worlds || len(s.reasons) < 25) {
		t.Errorf("the worlds have gone blind: %d allowed, %d denied, for %d reasons", s.allowed, s.denied, len(s.reasons))
	}
	for _, r := range append([]string{byName}, onLinks...) {
		if s.worlds >= usual && s.reasons[r] == 0 {
			t.Errorf("the worlds have gone blind: nothing is decided by %s", r)
		}
	}
}

// world makes one world and its lab, and probes it.
func (p Packets) world(ctx context.Context, seed uint64) (sum tally, err error) {
	sum.reasons = map[string]int{}
	f := New(seed+first, Options{Distinct: true, Guards: true})
	_, _ = f.Step(60)
	_, _ = f.Step(0) // which brings what is known of the names of these rules
	spec, _, err := lab.FromObjects(f.Stream.Objects())
	if err != nil {
		return sum, err
	}
	if seed%2 == 0 {
		spec.Network = lab.Bridge
	}
	l, err := lab.New(ctx, spec)
	if err != nil {
		return sum, err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	sum.worlds++
	for i, n := range spec.Nodes {
		if seed/2%3 == uint64(i%3) { // some have tunnels
			if err := tunnel(l, n.Name); err != nil {
				return sum, err
			}
		}
	}
	if err := f.learn(l, spec); err != nil {
		return sum, err
	}
	flows, err := sum.open(ctx, l, f)
	if err != nil {
		return sum, err
	}
	attempts, err := sum.attempts(ctx, l, f, spec)
	if err != nil {
		return sum, err
	}
	rules := ""
	for _, n := range spec.Nodes {
		s := f.NodeState(n.Name)
		if err := l.Do(n.Name, func() error { return p.Program(ctx, s) }); err != nil {
			return sum, fmt.Errorf("node %s: %w", n.Name, err)
		}
		rules += fmt.Sprintf("\n%s:\n%s", n.Name, p.Render(s))
	}
	for _, flow := range flows {
		if err := sum.probe(ctx, l, f, flow, lab.Options{}); err != nil {
			return sum, fmt.Errorf("%d nodes: %w\n%s", len(spec.Nodes), err, rules)
		}
	}
	for _, a := range attempts {
		if err := sum.probe(ctx, l, f, a.flow, a.options); err != nil {
			return sum, fmt.Errorf("%d nodes, %s by %+v: %w\n%s", len(spec.Nodes), networkNames[spec.Network], a.options, err, rules)
		}
	}
	return sum, nil
}

var networkNames = map[lab.Network]string{lab.Routed: "routed", lab.Bridge: "bridged"}

// learn has the world know its nodes' interfaces, as their agents do.
func (f *Feed) learn(l *lab.Lab, spec lab.Spec) error {
	f.own = map[netip.Addr]bool{}
	for _, n := range spec.Nodes {
		pods := links.Pods{}
		for _, p := range spec.Pods {
			for _, a := range p.Addrs {
				if p.Node == n.Name {
					pods[a] = model.Ref{Kind: model.KindPod, Namespace: p.Namespace, Name: p.Name}
				}
			}
		}
		var found *model.Links
		err := l.Do(n.Name, func() error {
			k, err := links.New()
			if err != nil {
				return err
			}
			defer k.Close()
			found, err = k.Read(pods)
			return err
		})
		if err != nil {
			return fmt.Errorf("node %s: %w", n.Name, err)
		}
		found.Node = n.Name
		for _, a := range found.Addrs {
			if f.Index.NodeOf(a.Addr) == nil {
				f.own[a.Addr] = true
			}
		}
		f.Links = append(f.Links, found)
		f.Index.Upsert(found)
	}
	f.Compiler.Apply(f.Index.Flush())
	return nil
}

// open returns flows that arrive without any policy: others say nothing of one.
func (s *tally) open(ctx context.Context, l *lab.Lab, f *Feed) ([]model.Flow, error) {
	var flows []model.Flow
	for _, flow := range append(f.Stream.Flows(150), f.Stream.NameFlows(20)...) {
		if f.own[flow.Src] || f.own[flow.Dst] || !sendable(flow, l, f.Index) || !f.comesBack(flow) {
			continue
		}
		got, err := l.Probe(ctx, flow, lab.Options{})
		switch {
		case err != nil:
			return nil, err
		case got.Delivered:
			flows = append(flows, flow)
		default:
			s.unreachable++
		}
	}
	return flows, nil
}

// comesBack reports whether the receiver's node sends answers to where the packet comes
// from, which the core takes for granted. It does not where a pod of another node has an
// address of the block of this node's bridge.
func (f *Feed) comesBack(flow model.Flow) bool {
	src, dst := verdict.EndOf(f.Index, flow.Src), verdict.EndOf(f.Index, flow.Dst)
	l := f.Index.Links(dst.Node())
	if l == nil || src.Node() == dst.Node() {
		return true
	}
	back := l.RouteTo(flow.Src)
	return !slices.ContainsFunc(l.Pods, func(p model.PodLink) bool { return p.Interface == back })
}

// probe sends a flow's first packet. One that is denied is dropped without a word.
func (s *tally) probe(ctx context.Context, l *lab.Lab, f *Feed, flow model.Flow, o lab.Options) error {
	want := verdict.Decide(f.Index, flow)
	got, err := l.Probe(ctx, flow, o)
	if err != nil {
		return err
	}
	s.probes++
	for _, st := range want.Stages {
		reason := fmt.Sprintf("%s %s %s %s", st.Stage, st.Direction, st.Reason, st.Action)
		if st.Policy.Kind == model.KindGuard {
			reason += " " + st.Policy.String()
		}
		s.reasons[reason]++
	}
	if f.Index.NamesOf(flow.Dst) != nil && verdict.Explain(f.Index, flow).ByName() {
		s.reasons[byName]++
	}
	allowed := want.Action == model.Allow
	if allowed {
		s.allowed++
	} else {
		s.denied++
	}
	if got.Delivered != allowed || got.Rejected && o.From == "" {
		from, _ := l.Owner(flow.Src)
		to, _ := l.Owner(flow.Dst)
		return fmt.Errorf("%+v from %s to %s: delivered %v, rejected %v, want %+v", flow, from, to, got.Delivered, got.Rejected, want)
	}
	return nil
}
