package cluster

import (
	"context"
	"errors"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// away is what requests come to while the server cannot be reached.
var away error = &url.Error{Op: "Get", URL: "https://x", Err: errors.New("connection refused")}

// TestGate: while the server is away one request of many probes it, with growing
// pauses, and all are let in when it is.
func TestGate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const readers = 15
		g := newGate()
		g.random = func() float64 { return 0.5 }
		var up atomic.Bool
		var tries, failures atomic.Int32
		var all sync.WaitGroup
		for range readers {
			all.Go(func() {
				v, err := pass(t.Context(), g, func(err error) {
					if !errors.Is(err, away) {
						t.Error(err)
					}
					failures.Add(1)
				}, func() (int, error) {
					tries.Add(1)
					if !up.Load() {
						return 0, away
					}
					return 7, nil
				})
				if v != 7 || err != nil {
					t.Error(v, err)
				}
			})
		}
		for i, pause := range []time.Duration{375, 750, 1500, 3000, 3750, 3750, 3750} {
			synctest.Wait()
			if n := tries.Load(); int(n) != readers+i {
				t.Fatalf("%d tries before probe %d, want %d", n, i+1, readers+i)
			}
			time.Sleep(pause*time.Millisecond - 1)
			synctest.Wait()
			if n := tries.Load(); int(n) != readers+i {
				t.Fatalf("probe %d came early", i+1)
			}
			time.Sleep(time.Nanosecond)
		}
		synctest.Wait()
		up.Store(true)
		time.Sleep(2 * lastPause)
		all.Wait()
		if n := tries.Load(); n != readers+7+readers {
			t.Errorf("%d tries, want one more each", n)
		}
		if n := failures.Load(); n != readers+7 {
			t.Errorf("told of %d failures, want %d", n, readers+7)
		}

		// Next time it begins anew.
		start := time.Now()
		first := true
		_, err := pass(t.Context(), g, func(error) {}, func() (int, error) {
			if first {
				first = false
				return 0, away
			}
			return 1, nil
		})
		if err != nil || time.Since(start) != firstPause*3/2 {
			t.Errorf("%v after %s", err, time.Since(start))
		}
	})
}

// TestGateAnswers: an error that the server answers with is the reflector's.
func TestGateAnswers(t *testing.T) {
	g := newGate()
	for _, answer := range []error{apierrors.NewUnauthorized("no"), apierrors.NewServiceUnavailable("later"), apierrors.NewTooManyRequests("later", 3), errors.New("what"), nil} {
		n := 0
		_, err := pass(t.Context(), g, func(error) { t.Errorf("%v: told of", answer) }, func() (int, error) { n++; return 0, answer })
		if n != 1 || !errors.Is(err, answer) {
			t.Errorf("%v: %d tries, %v", answer, n, err)
		}
	}
}

// TestGateEnds: no request outlives its context, whether it probes or waits; one
// that ends while it probes leaves its turn to another.
func TestGateEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate()
		first, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() {
			_, err := pass(first, g, func(error) {}, func() (int, error) { return 0, away })
			ended <- err
		}()
		synctest.Wait() // it probes
		second, cancelSecond := context.WithCancel(t.Context())
		var tries atomic.Int32
		go func() {
			_, err := pass(second, g, func(error) {}, func() (int, error) { tries.Add(1); return 0, away })
			ended <- err
		}()
		synctest.Wait() // it waits
		cancel()
		if err := <-ended; !errors.Is(err, away) {
			t.Error(err)
		}
		time.Sleep(4 * lastPause)
		synctest.Wait()
		if tries.Load() < 3 {
			t.Errorf("%d tries: no request probes", tries.Load())
		}
		cancelSecond()
		if err := <-ended; !errors.Is(err, away) {
			t.Error(err)
		}
	})
}
