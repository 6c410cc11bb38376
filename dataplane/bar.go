package dataplane

import (
	"context"
	"iter"
	"slices"
	"time"

	"github.com/tierwall/tierwall/policy/model"
)

// BarTime is how long a flow stays barred after the last packet that met the bar.
const BarTime = 10 * time.Minute

// ByFamily visits the families and those of some flows that are of each.
func ByFamily(flows []model.Flow) iter.Seq2[Family, []model.Flow] {
	return func(yield func(Family, []model.Flow) bool) {
		for _, f := range families {
			of := slices.DeleteFunc(slices.Clone(flows), func(fl model.Flow) bool { return FamilyOf(fl.Src) != f })
			if !yield(f, of) {
				return
			}
		}
	}
}

// MaxBarred is how many flows are barred at most.
const MaxBarred = 1 << 14

// Barrer is a Backend that can keep cut what a policy has cut: the flows in its
// bar are those that the other side's next packet would bring back. The agent
// calls it as it calls the Backend, and bars a flow before it deletes the
// connection's entry, so that no packet finds neither.
//
// A packet of a barred flow is dropped (a TCP packet may be reset) by the chains
// of input, forward and output, after established connections and before any
// policy, if it belongs to no tracked connection and does not begin one by its
// form: a TCP SYN and an SCTP INIT pass on to the policy, and so does what is
// untracked. The flow is looked up as these chains see it: after destination NAT
// and before source NAT. A bar may be coarser than that: whatever the port at the
// flow's destination.
//
// A bar is no part of a State: Sync and Apply leave what is in it, and it survives
// a restart of the agent. What Cleanup removes includes it.
type Barrer interface {
	// Bar adds flows, for BarTime. One that is barred already has its time anew. If
	// the bar is full the kernel may refuse: the error names that.
	Bar(ctx context.Context, flows []model.Flow) error
	// Unbar removes flows. One that is not barred is no error.
	Unbar(ctx context.Context, flows []model.Flow) error
}
