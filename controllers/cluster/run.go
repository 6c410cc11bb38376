package cluster

import (
	"context"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// run is the reflector of one kind at work.
type run struct {
	source  *Source
	kind    *kind
	started time.Time
	store   *store
	cancel  context.CancelFunc
	over    chan struct{}

	mu     sync.Mutex
	filled bool // the store has been filled once
	absent bool // the API server does not serve the kind, or an aid not to the agent
}

var _ observer = (*run)(nil)

// listed implements observer.
func (r *run) listed() {
	if r.kind.lazy {
		r.source.layers.servicesKnown()
	}
	if r.set(true, false) {
		r.source.look()
	}
}

// unreadable implements observer.
func (r *run) unreadable(namespace, name string, err error) {
	r.source.status.set(r.kind.kind+"."+r.kind.gvr.Group+"/"+join(namespace, name), err)
}

// answered implements observer.
func (r *run) answered(err error) {
	if !r.early(err) {
		r.source.status.set(r.kind.String(), err)
	}
	if r.set(false, apierrors.IsNotFound(err) || r.kind.aid && apierrors.IsForbidden(err)) {
		r.source.look()
	}
}

// inSync reports whether all objects of the kind have been delivered once. A foreign kind
// that is defined in another version than the one that is read has none.
func (r *run) inSync() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.filled || r.absent && (r.kind.aid || !r.kind.ours)
}

func (r *run) set(filled, absent bool) (news bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	filled = filled || r.filled
	news = filled != r.filled || absent != r.absent
	r.filled, r.absent = filled, absent
	return news
}

// establishing is how long a kind may not be served before that is an error: a
// definition is there a moment before its objects are.
const establishing = 5 * time.Second

// early reports whether an error only means that a definition is new.
func (r *run) early(err error) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return apierrors.IsNotFound(err) && !r.filled && time.Since(r.started) < establishing
}

// stop ends the reflector. What it has delivered stays.
func (r *run) stop() {
	r.cancel()
	<-r.over
}
