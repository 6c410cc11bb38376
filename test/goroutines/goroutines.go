// Package goroutines has suites fail that leave goroutines behind: an agent or a
// manager runs for months, and each that does not end is memory that never comes back.
package goroutines

import (
	"testing"

	"go.uber.org/goleak"
)

// others' goroutines that outlive what started them.
var others = []goleak.Option{
	// Ginkgo's, until the process ends.
	goleak.IgnoreAnyFunction("github.com/onsi/ginkgo/v2/internal/interrupt_handler.(*InterruptHandler).registerForInterrupts.func2"),
	// Of controller-runtime's caches, where a watch is stopped while an event waits.
	goleak.IgnoreTopFunction("k8s.io/apimachinery/pkg/watch.(*filteredWatch).loop"),
}

// MustEnd fails the test if goroutines that were started since are at work when it
// ends, and some time after. Call it first.
func MustEnd(t *testing.T) {
	t.Helper()
	before := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, append(others[:len(others):len(others)], before)...) })
}

// Main runs the tests of a package and fails if goroutines are left. Call it in TestMain.
func Main(m *testing.M) { goleak.VerifyTestMain(m, others...) }
