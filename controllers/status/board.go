package status

import (
	"slices"
	"strings"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/controllers/agent/reporter"
	"github.com/tierwall/tierwall/policy/model"
)

// silentAfter is how many leases an agent may miss before it counts as silent.
const silentAfter = 3

// Silent reports whether an agent that wrote a report so long ago counts as silent:
// as one whose node may be in another state by now than the report says.
func Silent(r *v1alpha1.NodeState, quiet time.Duration) bool {
	lease := time.Duration(r.LeaseSeconds) * time.Second
	return quiet > silentAfter*max(lease, time.Second)
}

// board knows what the nodes report. Safe for concurrent use.
type board struct {
	clock clock.PassiveClock

	mu    sync.Mutex
	stale bool // the caches have changed
	nodes []nodeView
	seen  map[string]sign
}

// nodeView is the report of one node that is there.
type nodeView struct {
	name   string
	report *v1alpha1.NodeState
	failed map[string]*v1alpha1.FailedPolicy // nil: none
	silent bool
}

// sign is a sign of life of an agent: when the report said that it was written,
// and when that was first seen here. The latter counts, so that clocks of nodes
// need not be right.
type sign struct {
	renewed metav1.Time
	at      time.Time
}

func newBoard(c clock.PassiveClock) *board {
	return &board{clock: c, stale: true, seen: map[string]sign{}}
}

// touch says that reports or nodes have changed.
func (b *board) touch() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.stale = true
}

// size returns the number of nodes that report.
func (b *board) size() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.nodes)
}

// refresh takes the reports anew if they have changed, by what list returns: the
// reports and the names of the nodes that are there.
func (b *board) refresh(list func() ([]v1alpha1.NodeReport, map[string]bool, error)) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.stale {
		return nil
	}
	reports, there, err := list()
	if err != nil {
		return err
	}
	now := b.clock.Now()
	seen := make(map[string]sign, len(reports))
	b.nodes = b.nodes[:0:0]
	for i := range reports {
		r := &reports[i]
		if !there[r.Name] {
			continue // gone, and the report will be
		}
		v := nodeView{name: r.Name, report: &r.Report}
		for j := range r.Report.Failed {
			if v.failed == nil {
				v.failed = map[string]*v1alpha1.FailedPolicy{}
			}
			v.failed[r.Report.Failed[j].Policy] = &r.Report.Failed[j]
		}
		s, known := b.seen[r.Name]
		switch {
		case !known:
			// Of what was written before this process looked, the node's clock is all
			// there is to go by.
			s = sign{r.Report.RenewTime, now}
			if r.Report.RenewTime.Time.Before(now) {
				s.at = r.Report.RenewTime.Time
			}
		case !s.renewed.Equal(&r.Report.RenewTime):
			s = sign{r.Report.RenewTime, now}
		}
		seen[r.Name] = s
		v.silent = Silent(v.report, now.Sub(s.at))
		b.nodes = append(b.nodes, v)
	}
	slices.SortFunc(b.nodes, func(x, y nodeView) int { return strings.Compare(x.name, y.name) })
	b.seen, b.stale = seen, false
	return nil
}

// listen finds the agents that have fallen silent, or are back, since it was last
// asked, and returns the policies that their reports name.
func (b *board) listen() []model.Ref {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.clock.Now()
	named := map[model.Ref]bool{}
	for i := range b.nodes {
		v := &b.nodes[i]
		if silent := Silent(v.report, now.Sub(b.seen[v.name].at)); silent != v.silent {
			v.silent = silent
			eachPolicy(v.report, func(r model.Ref) { named[r] = true })
		}
	}
	return sorted(named)
}

// due is when nodes that enforce a generation of a policy should have said so, if
// it is there since since: after the time to settle; and where an agent has
// reported shortly before, so that it must keep quiet for a while, after that.
// Without it a policy would be called enforced by the first node that says it.
func (b *board) due(policy model.Ref, generation int64, since time.Time) time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	settle, window := Settle(len(b.nodes)), reporter.Window(len(b.nodes))
	name := policy.String()
	due := since.Add(settle)
	for i := range b.nodes {
		v := &b.nodes[i]
		at := b.seen[v.name].at
		quiet := !at.After(since.Add(-window)) // so it speaks at once
		// What comes later than that was written by one who knew of the policy.
		informed := at.After(since.Add(settle))
		if gen, there := v.report.Policies[name]; quiet || informed || v.silent || there && gen >= generation {
			continue
		}
		if next := at.Add(window + settle); next.After(due) {
			due = next
		}
	}
	return due
}

// count says of how many nodes which report what about a policy.
type count struct {
	// enforced at the generation asked for, failed, and waiting: the others that
	// name the policy, at an older generation.
	enforced             int
	failed, waiting      []string
	silent               []string // of any of them; counted in nothing else
	messages             []string // of failed
	anyReports           bool
	truncatedAndNotNamed []string
}

// tally asks the reports about a policy.
func (b *board) tally(policy model.Ref, generation int64) count {
	b.mu.Lock()
	defer b.mu.Unlock()
	name := policy.String()
	var c count
	for i := range b.nodes {
		v := &b.nodes[i]
		at, there := v.report.Policies[name]
		f := v.failed[name]
		switch {
		case f == nil && !there:
			if v.report.Truncated {
				c.truncatedAndNotNamed = append(c.truncatedAndNotNamed, v.name)
			}
		case v.silent:
			c.silent = append(c.silent, v.name)
		case f != nil && f.Generation >= generation:
			c.failed = append(c.failed, v.name)
			c.messages = append(c.messages, f.Message)
		case there && at >= generation:
			c.enforced++
		default:
			c.waiting = append(c.waiting, v.name)
		}
	}
	c.anyReports = len(b.nodes) > 0
	return c
}

// eachPolicy calls f with the policies that a report names, failed ones too.
func eachPolicy(r *v1alpha1.NodeState, f func(model.Ref)) {
	call := func(name string) {
		if ref, err := model.ParseRef(name); err == nil && ours(ref) {
			f(ref)
		}
	}
	for name := range r.Policies {
		call(name)
	}
	for i := range r.Failed {
		call(r.Failed[i].Policy)
	}
}

// changedPolicies returns the policies that two reports of a node speak of
// differently, native ones too; nil is a report that is not there.
func changedPolicies(before, after *v1alpha1.NodeState) []model.Ref {
	if before == nil {
		before = &v1alpha1.NodeState{}
	}
	if after == nil {
		after = &v1alpha1.NodeState{}
	}
	changed := map[model.Ref]bool{}
	note := func(name string) {
		if ref, err := model.ParseRef(name); err == nil && (ours(ref) || native(ref)) {
			changed[ref] = true
		}
	}
	for name, gen := range before.Policies {
		if now, there := after.Policies[name]; !there || now != gen {
			note(name)
		}
	}
	for name := range after.Policies {
		if _, there := before.Policies[name]; !there {
			note(name)
		}
	}
	for _, pair := range [][2][]v1alpha1.FailedPolicy{{before.Failed, after.Failed}, {after.Failed, before.Failed}} {
		for _, f := range pair[0] {
			if !slices.Contains(pair[1], f) {
				note(f.Policy)
			}
		}
	}
	return sorted(changed)
}

// ours reports whether a policy has a status of Tierwall's.
func ours(r model.Ref) bool {
	return r.Kind == model.KindGlobalNetworkPolicy || r.Kind == model.KindTierwallNetworkPolicy
}

// native reports whether a policy has no status of Tierwall's; reports name such a
// policy only if it has failed.
func native(r model.Ref) bool {
	return r.Kind == model.KindNetworkPolicy || r.Kind == model.KindClusterNetworkPolicy
}

func sorted(set map[model.Ref]bool) []model.Ref {
	out := make([]model.Ref, 0, len(set))
	for r := range set {
		out = append(out, r)
	}
	slices.SortFunc(out, model.Ref.Compare)
	return out
}
