package operator

import (
	"fmt"
	"time"

	"golang.org/x/time/rate"
	"k8s.io/utils/clock"
)

// How often one object is put right: twenty times at once, then once in ten
// seconds. Two controllers that each insist on their own would otherwise write as
// fast as the API server answers.
const (
	quarrelBurst = 20
	quarrelPause = 10 * time.Second
)

// quarrel remembers how often objects were put right. Not safe for concurrent use:
// there is one worker.
type quarrel struct {
	clock   clock.PassiveClock
	objects map[string]*rate.Limiter
}

func newQuarrel(c clock.PassiveClock) *quarrel {
	return &quarrel{clock: c, objects: map[string]*rate.Limiter{}}
}

// allow reports whether an object may be put right now.
func (q *quarrel) allow(object string) bool {
	l := q.objects[object]
	if l == nil {
		l = rate.NewLimiter(rate.Every(quarrelPause), quarrelBurst)
		q.objects[object] = l
	}
	return l.AllowN(q.clock.Now(), 1)
}

// quarrelError says that an object is not put right now.
type quarrelError struct{ object string }

func (e *quarrelError) Error() string {
	return fmt.Sprintf("%s is changed by somebody else again and again; it is put right once in %s only", e.object, quarrelPause)
}
