package operator

import (
	"fmt"
	"time"

	"golang.org/x/time/rate"
	"k8s.io/utils/clock"
)

// One object is repaired up to repairBurst times in a row, then once in each repairPause.
// Two controllers that undo each other's changes would otherwise write as fast as the API
// server answers.
const (
	repairBurst = 20
	repairPause = 10 * time.Second
)

// repairLimiter limits how often objects that others have changed are repaired. Not safe
// for concurrent use: there is one worker.
type repairLimiter struct {
	clock   clock.PassiveClock
	objects map[string]*rate.Limiter
}

func newRepairLimiter(c clock.PassiveClock) *repairLimiter {
	return &repairLimiter{clock: c, objects: map[string]*rate.Limiter{}}
}

// allow reports whether an object may be repaired now.
func (l *repairLimiter) allow(object string) bool {
	of := l.objects[object]
	if of == nil {
		of = rate.NewLimiter(rate.Every(repairPause), repairBurst)
		l.objects[object] = of
	}
	return of.AllowN(l.clock.Now(), 1)
}

// repairLimitedError is the error for an object that is not repaired now.
type repairLimitedError struct{ object string }

func (e *repairLimitedError) Error() string {
	return fmt.Sprintf("%s is changed by another client again and again; it is repaired once in %s only", e.object, repairPause)
}
