package reporter

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/controllers/agent"
	"github.com/tierwall/tierwall/policy/model"
)

// Kinds of errors in a report.
const (
	kindKernel = "Kernel"
	kindSource = "Source"
	kindObject = "Object"
)

// awaited reports whether the newer status has something that people wait for.
func awaited(said, s *agent.Status) bool {
	return said.Synced != s.Synced || said.InSync != s.InSync || said.Version != s.Version ||
		text(said.Err) != text(s.Err) || text(said.LinksErr) != text(s.LinksErr) || text(said.NamesErr) != text(s.NamesErr) || said.Clashes != s.Clashes || said.Invalid != s.Invalid || said.PastBudget != s.PastBudget ||
		!slices.EqualFunc(said.Source, s.Source, func(a, b error) bool { return text(a) == text(b) }) ||
		!slices.EqualFunc(said.Failed, s.Failed, sameFailure) || !slices.EqualFunc(said.Held, s.Held, sameFailure) ||
		!sameModes(said.Guards, s.Guards)
}

func sameFailure(a, b agent.Failure) bool {
	return a.Ref == b.Ref && a.Generation == b.Generation && a.Instead == b.Instead && a.PastBudget == b.PastBudget && text(a.Err) == text(b.Err)
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// content makes a report of a status. Of an agent that does not know the kernel
// yet, the policies stay as the report before, the last of the agent before it,
// has them: the kernel has kept its rules.
func content(o *Options, s *agent.Status, took *durations, before *v1alpha1.NodeState, now time.Time) v1alpha1.NodeState {
	n := v1alpha1.NodeState{
		AgentVersion: cut(o.Version, 128), Dataplane: string(o.Dataplane),
		RenewTime:    metav1.NewTime(now.Truncate(time.Second)),
		LeaseSeconds: int32(Refresh(s.Nodes) / time.Second),
		InSync:       s.InSync,
		Counts: v1alpha1.ReportCounts{
			Endpoints: int32(s.Endpoints), Policies: int32(s.Policies), Rules: int32(s.Rules),
			Sets: int32(s.Sets), SetMembers: int32(s.Members), InvalidObjects: int32(s.Invalid), Ghosts: int32(len(s.Ghosts)),
			PastBudget: int32(s.PastBudget), WaitingChanges: int32(s.Waiting),
		},
		Errors:       errorList(s),
		Links:        nodeLinks(s.Links),
		Ghosts:       nodeGhosts(s.Ghosts),
		LastApply:    duration(took.last),
		SlowestApply: duration(took.slowest(now)),
	}
	if o.Unseen != nil {
		n.Counts.UnseenPods = int32(o.Unseen())
	}
	if !s.LastSuccess.IsZero() {
		t := metav1.NewTime(s.LastSuccess.Truncate(time.Second))
		n.LastSuccessTime = &t
	} else {
		n.LastSuccessTime = before.LastSuccessTime
	}
	if s.Guards != nil && s.GuardPackets != nil {
		n.Guards = Guards(*s.Guards, s.GuardPackets)
	} else {
		n.Guards = before.Guards
	}
	if !s.Synced {
		n.Policies, n.Failed, n.Truncated, n.Links = before.Policies, before.Failed, before.Truncated, before.Links
		return n
	}
	n.Policies, n.Truncated = policies(s.Enforced)
	failed, all := failures(s.Failed)
	n.Failed, n.Truncated = failed, n.Truncated || !all
	return n
}

func duration(d time.Duration) *metav1.Duration {
	if d <= 0 {
		return nil
	}
	return &metav1.Duration{Duration: d.Round(10 * time.Microsecond)}
}

// ours reports whether a policy can carry a status.
func ours(r model.Ref) bool {
	return r.Kind == model.KindGlobalNetworkPolicy || r.Kind == model.KindTierwallNetworkPolicy
}

// policies are the Tierwall policies, as many as may be; which of them are left
// out does not change from report to report.
func policies(enforced map[model.Ref]int64) (out map[string]int64, truncated bool) {
	refs := make([]model.Ref, 0, len(enforced))
	for r := range enforced {
		if ours(r) {
			refs = append(refs, r)
		}
	}
	if len(refs) == 0 {
		return nil, false
	}
	slices.SortFunc(refs, model.Ref.Compare)
	out = make(map[string]int64, min(len(refs), v1alpha1.MaxReportedPolicies))
	size := 0
	for _, r := range refs {
		name := r.String()
		size += len(name)
		if len(out) == v1alpha1.MaxReportedPolicies || size > v1alpha1.MaxReportedBytes {
			return out, true
		}
		out[name] = enforced[r]
	}
	return out, false
}

// failures lists Tierwall policies first: they have a status to show it.
func failures(list []agent.Failure) (out []v1alpha1.FailedPolicy, all bool) {
	list = slices.Clone(list)
	rank := func(f agent.Failure) int {
		if ours(f.Ref) {
			return 0
		}
		return 1
	}
	slices.SortStableFunc(list, func(a, b agent.Failure) int { return cmp.Compare(rank(a), rank(b)) })
	for _, f := range list[:min(len(list), v1alpha1.MaxReportedFailures)] {
		out = append(out, v1alpha1.FailedPolicy{Policy: f.Ref.String(), Generation: f.Generation, Message: message(f), PastBudget: f.PastBudget})
	}
	return out, len(out) == len(list)
}

// message has what holds instead at its front, which is never cut.
func message(f agent.Failure) string {
	instead := ""
	if f.Instead != "" {
		instead = "instead of it holds: " + f.Instead + "; "
	}
	return cut(instead+text(f.Err), v1alpha1.MaxReportedMessage)
}

// errorList is what is wrong beside policies.
func errorList(s *agent.Status) []v1alpha1.ReportedError {
	var out []v1alpha1.ReportedError
	add := func(kind, msg string) {
		if len(out) < v1alpha1.MaxReportedErrors {
			out = append(out, v1alpha1.ReportedError{Kind: kind, Message: cut(msg, v1alpha1.MaxReportedMessage)})
		}
	}
	if s.Err != nil {
		add(kindKernel, s.Err.Error())
	}
	if s.LinksErr != nil {
		add(kindKernel, "the node's interfaces cannot be read: "+s.LinksErr.Error())
	}
	if s.NamesErr != nil {
		add(kindKernel, "DNS answers do not wait for rules by name: "+s.NamesErr.Error())
	}
	for _, err := range s.Source {
		add(kindSource, text(err))
	}
	if s.Clashes != "" {
		add(kindObject, s.Clashes)
	}
	for _, f := range s.Held {
		add(kindObject, f.Ref.String()+": "+message(f))
	}
	return out
}

// cut makes text fit for an object: shortened to so many bytes, which shows, and
// of whole characters.
func cut(s string, limit int) string {
	s = strings.ToValidUTF8(s, "?")
	if len(s) <= limit {
		return s
	}
	const dots = "…"
	end := limit - len(dots)
	for end > 0 && !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end] + dots
}

// durations knows how long the last transaction took, and the longest one of
// about the last hour, which it keeps in two halves.
type durations struct {
	last         time.Duration
	from         time.Time // of the current half
	before, this time.Duration
}

const half = 30 * time.Minute

func (d *durations) turn(now time.Time) {
	switch age := now.Sub(d.from); {
	case age >= 2*half:
		d.from, d.before, d.this = now, 0, 0
	case age >= half:
		d.from, d.before, d.this = now, d.this, 0
	}
}

func (d *durations) add(now time.Time, took time.Duration) {
	d.turn(now)
	if took > 0 {
		d.last, d.this = took, max(d.this, took)
	}
}

func (d *durations) slowest(now time.Time) time.Duration {
	d.turn(now)
	return max(d.before, d.this)
}

// sameContent reports whether a report is as it was meant, whenever it was written.
func sameContent(a, b *v1alpha1.NodeState) bool {
	return a.InSync == b.InSync && a.Truncated == b.Truncated && a.AgentVersion == b.AgentVersion && a.Dataplane == b.Dataplane &&
		a.LeaseSeconds == b.LeaseSeconds && a.RenewTime.Equal(&b.RenewTime) && a.Counts == b.Counts &&
		maps.Equal(a.Policies, b.Policies) && maps.Equal(a.Guards, b.Guards) && slices.Equal(a.Failed, b.Failed) && slices.Equal(a.Errors, b.Errors) &&
		equality.Semantic.DeepEqual(a.Links, b.Links)
}
