package cmd

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/tierwall/tierwall/api/v1alpha1"
)

// steppingClock is a clock of which whoever waits has it move on at once.
type steppingClock struct{ *clocktesting.FakeClock }

func (c steppingClock) After(d time.Duration) <-chan time.Time {
	after := c.FakeClock.After(d)
	c.Step(d)
	return after
}

// watched runs `status -w`: each step happens before one look at the cluster, and
// after the last of them the command is interrupted.
func watched(t *testing.T, steps ...func(client.Client) error) (out, errOut string, err error) {
	t.Helper()
	inner := fake.NewClientBuilder().WithScheme(statusScheme(t)).WithObjects(installed(nil), linuxNode("a", nil), nodeReport("a", nil)).Build()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	c := steppingClock{clocktesting.NewFakeClock(statusNow)}
	var looks atomic.Int64
	fail := error(nil)
	reader := interceptor.NewClient(inner, interceptor.Funcs{
		Get: func(ctx context.Context, w client.WithWatch, key client.ObjectKey, o client.Object, opts ...client.GetOption) error {
			if n := int(looks.Add(1)) - 1; n < len(steps) {
				fail = steps[n](inner)
			} else {
				cancel()
			}
			if fail != nil {
				return fail
			}
			return w.Get(ctx, key, o, opts...)
		},
	})
	var o, e bytes.Buffer
	p := statusPrinter{streams: streams{out: &o, errOut: &e}, out: &outputFlag{format: formatText}, reader: reader, clock: c}
	err = p.watch(ctx)
	return o.String(), e.String(), err
}

func TestStatusWatch(t *testing.T) {
	nothing := func(client.Client) error { return nil }
	renew := func(c client.Client) error {
		var r v1alpha1.NodeReport
		if err := c.Get(context.Background(), client.ObjectKey{Name: "a"}, &r); err != nil {
			return err
		}
		r.Report.RenewTime = metav1.NewTime(r.Report.RenewTime.Add(time.Second))
		return c.Update(context.Background(), &r)
	}
	lag := func(c client.Client) error {
		var r v1alpha1.NodeReport
		if err := c.Get(context.Background(), client.ObjectKey{Name: "a"}, &r); err != nil {
			return err
		}
		r.Report.InSync = false
		return c.Update(context.Background(), &r)
	}
	away := func(client.Client) error { return errors.New("connection refused") }

	out, errOut, err := watched(t, []func(client.Client) error{nothing, renew, lag, away, nothing}...)
	if n := strings.Count(out, "NODE "); n != 2 || !errors.Is(err, errNegative) {
		t.Errorf("printed %d times, want 2, the error is %v:\n%s", n, err, out)
	}
	if !strings.Contains(errOut, "connection refused") {
		t.Errorf("a cluster that is away for a while: %q", errOut)
	}
	if out, _, err := watched(t, away); err == nil || !strings.Contains(err.Error(), "connection refused") || out != "" {
		t.Errorf("a cluster that is away from the beginning: %v, %q", err, out)
	}
}
