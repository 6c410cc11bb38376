package agent

import (
	"context"
	"fmt"
	"os"
	"syscall"
	"testing"
)

// TestSuspicious asks after how many failures in a row an object is looked for that is
// to blame for them.
func TestSuspicious(t *testing.T) {
	for _, c := range []struct {
		err   error
		after int // 0: never
	}{
		{syscall.EINVAL, isolateAfter},
		{os.ErrNotExist, isolateAfter},
		{syscall.ENOMEM, isolatePassingAfter},
		{syscall.EBUSY, isolatePassingAfter},
		{context.DeadlineExceeded, isolatePassingAfter},
		{context.Canceled, 0},
		{os.ErrPermission, 0},
		{syscall.EPERM, 0},
	} {
		for failures := 1; failures <= 3*isolateAfter*isolatePassingAfter; failures++ {
			w := &kernelWriter{failures: failures}
			got := w.suspicious(fmt.Errorf("write: %w", c.err))
			if want := c.after != 0 && failures%c.after == 0; got != want {
				t.Errorf("%v, %d failures: %t", c.err, failures, got)
			}
		}
	}
}
