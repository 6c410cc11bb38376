package agent

import (
	"context"

	"k8s.io/apimachinery/pkg/runtime"

	"github.com/tierwall/tierwall/policy/model"
)

// Source says what objects there are.
type Source interface {
	// Run delivers all objects that there are to the sink, calls Synced, and goes
	// on delivering changes until the context ends; then it returns nil. It copes
	// with errors that may pass by itself and reports them. An error that it
	// returns ends the agent.
	Run(ctx context.Context, to Sink) error
}

// Sink takes what a Source delivers. Its methods do not block and are safe for
// concurrent use.
type Sink interface {
	// Update takes objects that are new or changed, and names of objects that are
	// gone. What one call says of one writer's objects (see backlog) goes into one
	// transaction. Objects are not changed after they have been handed over; kinds
	// that the core does not use are ignored.
	Update(upserts []runtime.Object, deletes []model.Ref)
	// Synced says that all objects have been delivered once.
	Synced()
	// Report says what is wrong with the source at this time, in place of what was
	// said before. No errors: all is well.
	Report(errs ...error)
}
