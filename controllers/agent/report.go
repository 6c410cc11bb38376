package agent

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/policy/index"
	"github.com/tierwall/tierwall/policy/model"
)

// StatusReporter receives how the agent is doing: after every transaction, whether it
// succeeded or failed, when the source says something about itself, and once a minute,
// with what guards have met.
type StatusReporter interface {
	// Report is called by Run's goroutine and must not block. What it is given
	// is not changed afterwards, by either side.
	Report(r *Status)
}

// Status is how an agent is doing at one time.
type Status struct {
	Time time.Time
	// Synced: the source has delivered everything once. Before that, nothing is
	// known about what the kernel holds, and Enforced and Failed are empty.
	Synced bool
	// InSync: the kernel holds all that the source has said, but for what Failed
	// and Held name, and neither a change nor a pod waits.
	InSync bool
	// Err is why the kernel lags behind; nil if it does not.
	Err error
	// Took is the longest transaction since the last Status; zero: there was none.
	Took time.Duration
	// LastSuccess is when the kernel was last brought up to date; zero: never.
	LastSuccess time.Time
	// Links are what the kernel reports of the node itself; nil: not known. Whoever
	// is given them does not change them.
	Links *model.Links
	// LinksErr is why they are not up to date; nil: they are.
	LinksErr error
	// NamesErr is why addresses of names are not learnt before clients have them; nil: they
	// are, or no rule asks for any.
	NamesErr error
	// Guards are the modes of the guards that are in the kernel; nil: not known.
	Guards *model.Guards
	// GuardPackets are what the guards had met within the last minute or so; nil: not known.
	GuardPackets map[model.GuardName]model.GuardPackets
	// Ghosts are the addresses of pods of the node whose object is gone and whose
	// sandbox may still run; sorted.
	Ghosts []model.Ghost
	// Source is what is wrong with the source.
	Source []error
	// Clashes describes the addresses of local pods that other nodes' pods claim;
	// empty: none.
	Clashes string
	// Invalid counts objects that are not as they should be.
	Invalid int
	// PastBudget counts policies and pods past a budget; Waiting the changes
	// of objects that have not been taken yet, because others' went first.
	PastBudget, Waiting int
	// Sizes of what the kernel should hold.
	Endpoints, Policies, Rules, Sets, Members int
	// Nodes is how many nodes the source knows of.
	Nodes int
	// Enforced are the policies that select local endpoints and are in the kernel,
	// each with the generation that is there. (A policy that has failed may be in
	// it with an older one.)
	Enforced map[model.Ref]int64
	// Version changes whenever Enforced does.
	Version uint64
	// Failed are the policies that select local endpoints and whose current
	// generation is not in the kernel; sorted.
	Failed []Failure
	// Held are other objects that the kernel does not take; sorted.
	Held []Failure
}

// Failure is an object that the kernel does not hold as it stands.
type Failure struct {
	Ref model.Ref
	// Generation that is not there; zero for kinds that are no policies.
	Generation int64
	Err        error
	// Instead is what holds in its place, for people.
	Instead string
	// PastBudget is what holds of a policy that is past the budget of its namespace;
	// empty: it is not.
	PastBudget v1alpha1.PastBudgetForm
}

// ledger knows which policies select local endpoints, and which of them the
// kernel holds.
type ledger struct {
	refs    map[*index.Policy]int // how many effective policies each is part of
	active  map[model.Ref]*index.Policy
	touched map[model.Ref]struct{} // changed since the kernel was last up to date
	kernel  map[model.Ref]int64    // generations
	shared  bool                   // kernel has been handed out
	version uint64                 // of kernel
}

func newLedger() *ledger {
	return &ledger{
		refs: map[*index.Policy]int{}, active: map[model.Ref]*index.Policy{},
		touched: map[model.Ref]struct{}{}, kernel: map[model.Ref]int64{},
	}
}

// note takes what has changed in the index. What is new comes before what is
// gone, so that a policy which stays never seems to be gone.
func (l *ledger) note(d *index.Delta) {
	for _, e := range d.Added {
		l.count(e, 1)
	}
	for _, e := range d.Removed {
		l.count(e, -1)
	}
}

func (l *ledger) count(e *index.Effective, n int) {
	for _, st := range e.Stages() {
		for i := range st.Chain {
			for _, p := range st.Chain[i].Policies {
				before := l.refs[p]
				l.refs[p] = before + n
				switch {
				case before == 0:
					l.active[p.Ref] = p
					l.touched[p.Ref] = struct{}{}
				case before+n == 0:
					delete(l.refs, p)
					if l.active[p.Ref] == p {
						delete(l.active, p.Ref)
						l.touched[p.Ref] = struct{}{}
					}
				}
			}
		}
	}
}

// settle is called when the kernel is up to date; policies that are not there as they
// are written, in any version, are not in it. Those for which endpoints wait are as before.
func (l *ledger) settle(asWritten func(model.Ref) bool, late map[model.Ref]struct{}) {
	if len(l.touched) == 0 {
		return
	}
	if l.shared {
		l.kernel, l.shared = maps.Clone(l.kernel), false
	}
	for r := range l.touched {
		if _, waits := late[r]; waits {
			continue
		}
		delete(l.touched, r)
		if p := l.active[r]; p != nil && asWritten(r) {
			l.kernel[r] = p.Generation
		} else {
			delete(l.kernel, r)
		}
	}
	l.version++
}

// reportStatus gives the StatusReporter, if there is one, a Status as of now.
func (a *Agent) reportStatus(ctx context.Context) {
	if a.opts.Reporter == nil || ctx.Err() != nil { // ending is no failure
		return
	}
	upToDate := a.kernel.upToDate()
	if upToDate {
		a.ledger.settle(a.intake.asWritten, a.latePolicies())
		a.guards.look(ctx)
	}
	c := &a.metrics.counts
	r := &Status{
		Time: a.clock.Now(), Synced: a.synced, InSync: upToDate && a.pace.left == 0 && !a.late.waits(), Err: a.kernel.lagging, Took: a.kernel.took,
		LastSuccess: a.kernel.lastSuccess, Source: a.sourceErrs, Clashes: a.intake.clashes.describe(), Invalid: len(a.intake.problems), Nodes: len(a.intake.nodes),
		Links: a.ix.Links(a.opts.Node), LinksErr: a.links.err, NamesErr: a.names.err(),
		PastBudget: a.intake.budgets.count() + a.intake.budgets.node.past, Waiting: a.pace.left,
		Ghosts: a.intake.ghosts.sorted(), Guards: a.guards.modes, GuardPackets: a.guards.packets,
		Endpoints: c.endpoints, Policies: len(a.ledger.active), Rules: c.rules, Sets: len(a.metrics.memberCount), Members: c.members,
	}
	a.kernel.took = 0
	if a.synced {
		r.Enforced, r.Version, a.ledger.shared = a.ledger.kernel, a.ledger.version, true
		a.fillFailures(r)
	}
	a.opts.Reporter.Report(r)
}

// fillFailures lists what the kernel does not hold as it stands.
func (a *Agent) fillFailures(r *Status) {
	for ref, err := range a.intake.held {
		f := Failure{Ref: ref, Err: err, Instead: a.intake.instead(ref)}
		switch p := a.ledger.active[ref]; {
		case p != nil:
			f.Generation = p.Generation
			r.Failed = append(r.Failed, f)
		case !ref.Kind.IsPolicy():
			r.Held = append(r.Held, f)
		}
	}
	if err := a.kernel.lagging; err != nil {
		for ref := range a.ledger.touched {
			if p := a.ledger.active[ref]; p != nil && a.intake.held[ref] == nil {
				r.Failed = append(r.Failed, Failure{Ref: ref, Generation: p.Generation, Err: err, Instead: "what the kernel held before"})
			}
		}
	}
	a.intake.budgetFailures(r)
	a.intake.deniedPods(r)
	byRef := func(x, y Failure) int { return x.Ref.Compare(y.Ref) }
	slices.SortFunc(r.Failed, byRef)
	slices.SortFunc(r.Held, byRef)
}
