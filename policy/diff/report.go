package diff

import (
	"cmp"
	"encoding/json"
	"net/netip"
	"slices"

	"github.com/tierwall/tierwall/policy/model"
	"github.com/tierwall/tierwall/policy/packets"
)

// Options of a comparison.
type Options struct {
	// Decisions adds changes of kind Redecided.
	Decisions bool
	// ServicesBefore and ServicesAfter are the Services of each world. Where both have
	// one, changes before its address is translated are compared.
	ServicesBefore, ServicesAfter []packets.Service
	// After is an Evaluator of world b, which others may use too; nil: one of its own.
	After *packets.Evaluator
}

// Kind of a change.
type Kind string

// The kinds, in the order of a report.
const (
	// Lost: allowed before, denied after.
	Lost Kind = "lost"
	// Gained: denied before, allowed after.
	Gained Kind = "gained"
	// Redecided: the same outcome, decided by another rule.
	Redecided Kind = "redecided"
	// Added is traffic that is allowed after and of which an end did not exist before.
	Added Kind = "added"
	// Removed is traffic that was allowed before and of which an end does not exist after.
	Removed Kind = "removed"
)

func (k Kind) rank() int { return slices.Index([]Kind{Lost, Gained, Redecided, Added, Removed}, k) }

// Report is the difference between two worlds.
type Report struct {
	// Changes of kinds Lost, Gained and Redecided, in this order. In each kind those
	// to Services that resolve names come first, the others by who is concerned.
	Changes []Change `json:"changes"`
	// Added and Removed are endpoints, or families of their addresses, that
	// only the second and only the first world has.
	Added   []Presence `json:"added,omitempty"`
	Removed []Presence `json:"removed,omitempty"`
	// Apart are the changes of kinds Added and Removed.
	Apart []Change `json:"apart,omitempty"`
	// Guards are the settings of guards that differ.
	Guards []GuardChange `json:"guards,omitempty"`
	// Summary counts.
	Summary Summary `json:"summary"`
}

// Summary counts what is in a report.
type Summary struct {
	Lost      int `json:"lost"`
	Gained    int `json:"gained"`
	Redecided int `json:"redecided"`
	Added     int `json:"added"`
	Removed   int `json:"removed"`
	// NotCompared is the number of Guards whose packets are in no change.
	NotCompared int `json:"notCompared"`
	// Endpoints and OutsideGroups that were compared. A group is outside
	// addresses that no rule tells apart.
	Endpoints     int `json:"endpoints"`
	OutsideGroups int `json:"outsideGroups"`
}

// Different reports whether the worlds differ in what they allow, in the endpoints
// that they have, in guards whose packets are not compared or, with
// Options.Decisions, in what decides.
func (r *Report) Different() bool {
	return len(r.Changes)+len(r.Added)+len(r.Removed)+r.Summary.NotCompared > 0
}

// Presence is an endpoint with addresses that only one world has.
type Presence struct {
	Endpoint  model.Ref    `json:"endpoint"`
	Addresses []netip.Addr `json:"addresses"`
}

// Change is traffic between two sets of peers whose fate has changed in one
// way: between every one of From and every one of To, of equal address family.
type Change struct {
	Kind Kind  `json:"kind"`
	From Peers `json:"from"`
	To   Peers `json:"to"`
	// Family is IPv4 or IPv6 if the change is limited to one although both
	// sides have addresses of both and the traffic exists in both; else empty.
	Family string `json:"family,omitempty"`
	// Where is empty if it makes no difference which nodes the endpoints are on.
	Where Where `json:"where,omitempty"`
	// Traffic that is concerned.
	Traffic Traffic `json:"traffic"`
	// Before and After are the verdicts, nil where an end did not exist.
	Before *Outcome `json:"before,omitempty"`
	After  *Outcome `json:"after,omitempty"`
}

// Where limits a change to endpoints on the same or on different nodes, or to what
// endpoints send themselves. What they send themselves is in no change without Itself.
type Where string

// The limits.
const (
	SameNode       Where = "same node"
	DifferentNodes Where = "different nodes"
	// MovedTogether and MovedApart: the endpoints have come to be, or have
	// ceased to be, on the same node.
	MovedTogether Where = "same node since the change"
	MovedApart    Where = "same node before the change"
	// Itself: from each pod to itself, by way of a Service that leads to it.
	Itself Where = "itself"
)

// Traffic is a space in a report: in JSON its text and its boxes.
type Traffic struct {
	Space packets.Space
	// family that it is limited to, or 0.
	family uint8
}

// String is for people.
func (t Traffic) String() string { return t.Space.Describe(t.family) }

// MarshalJSON writes {"text": …, "boxes": […]}.
func (t Traffic) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Text  string        `json:"text"`
		Boxes []packets.Box `json:"boxes"`
	}{t.String(), t.Space.Boxes()})
}

// Outcome is what happened to traffic, and the verdicts that show why: of a
// denial the one that denies; else that of the direction in which the other
// world denies, or both.
type Outcome struct {
	Action  model.Action   `json:"action"`
	Egress  *model.Verdict `json:"egress,omitempty"`
	Ingress *model.Verdict `json:"ingress,omitempty"`
}

func outcomeOf(s sides) *Outcome {
	if s.action == model.NoAction {
		return nil
	}
	o := &Outcome{Action: s.action}
	if v := s.egress; v != (model.Verdict{}) {
		o.Egress = &v
	}
	if v := s.ingress; v != (model.Verdict{}) {
		o.Ingress = &v
	}
	return o
}

func compareChanges(x, y Change) int {
	return cmp.Or(
		cmp.Compare(x.Kind.rank(), y.Kind.rank()),
		cmp.Compare(x.rank(), y.rank()),
		cmp.Compare(x.To.Text, y.To.Text),
		cmp.Compare(x.From.Text, y.From.Text),
		cmp.Compare(x.Family, y.Family),
		cmp.Compare(x.Where, y.Where),
		x.Traffic.Space.Compare(y.Traffic.Space),
		cmp.Compare(x.Before.String(), y.Before.String()),
		cmp.Compare(x.After.String(), y.After.String()),
	)
}

// rank puts changes to Services that resolve names before others: without names,
// nothing works.
func (c *Change) rank() int {
	if slices.ContainsFunc(c.To.Services, packets.ResolvesNames) {
		return 0
	}
	return 1
}
