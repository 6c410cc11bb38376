package admission

import (
	"context"
	"net/http"
	"time"

	"golang.org/x/sync/semaphore"
)

const (
	// smallRequest is the size in bytes up to which a request waits for small ones only.
	smallRequest = 64 << 10
	// smallRoom and largeRoom are how many bytes of small and of larger requests are
	// read and judged at a time. Judging takes about twenty times as much memory.
	smallRoom = 4 << 20
	largeRoom = 8 << 20
	// admitWithin is how long a request may wait for room, less than the API server waits
	// for the answer (timeoutSeconds in config/webhook).
	admitWithin = 2 * time.Second
)

// requestLimiter bounds how much the webhook works on at a time, so that many large objects
// neither use up the manager's memory nor hold up others' small ones. A request that
// finds no room in time is not answered, and the API server goes on without
// (failurePolicy Ignore).
type requestLimiter struct {
	next         http.Handler
	small, large *semaphore.Weighted
	within       time.Duration
}

func newRequestLimiter(next http.Handler) *requestLimiter {
	return &requestLimiter{
		next: next, within: admitWithin,
		small: semaphore.NewWeighted(smallRoom), large: semaphore.NewWeighted(largeRoom),
	}
}

// ServeHTTP implements http.Handler. The body is left on the connection until
// there is room for it.
func (l *requestLimiter) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	room, size := l.large, r.ContentLength
	switch {
	case size < 0 || size > largeRoom:
		size = largeRoom // by itself
	case size <= smallRequest:
		room = l.small
	}
	ctx, cancel := context.WithTimeout(r.Context(), l.within)
	defer cancel()
	if err := room.Acquire(ctx, size); err != nil {
		http.Error(w, "too many objects at a time", http.StatusServiceUnavailable)
		return
	}
	defer room.Release(size)
	l.next.ServeHTTP(w, r)
}
