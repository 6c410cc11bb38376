package admission

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"github.com/tierwall/tierwall/api/v1alpha1"
	manifests "github.com/tierwall/tierwall/config/admission"
)

// ReasonPoliciesMissing is the reason of the event on Tierwall/default.
const ReasonPoliciesMissing = "AdmissionPoliciesMissing"

// lookout looks whether the admission policies are in the cluster as this version has
// them, and reports what is not. It cannot put that right: the policies limit the
// manager too, so it has no right to write them.
type lookout struct {
	live    client.Reader
	events  events.EventRecorder
	clock   clock.Clock
	objects []*unstructured.Unstructured
	period  time.Duration
	said    string // what was last reported
}

var (
	_ manager.Runnable               = (*lookout)(nil)
	_ manager.LeaderElectionRunnable = (*lookout)(nil)
)

func addLookout(mgr ctrl.Manager, c clock.Clock) error {
	list, err := read(manifests.Files)
	if err != nil {
		return fmt.Errorf("config/admission: %w", err)
	}
	return mgr.Add(&lookout{
		live: mgr.GetAPIReader(), events: mgr.GetEventRecorder(string(fieldOwner)), clock: c, objects: list, period: installPeriod,
	})
}

// NeedLeaderElection is true: one replica is enough.
func (*lookout) NeedLeaderElection() bool { return true }

// Start looks now and then until the context ends.
func (l *lookout) Start(ctx context.Context) error {
	logger := log.FromContext(ctx).WithName("admission")
	for {
		wrong, err := l.look(ctx)
		if err != nil && ctx.Err() == nil {
			logger.Error(err, "looking at the admission policies")
		}
		if err == nil {
			if text := l.report(ctx, wrong); text != "" {
				logger.Info(text)
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-l.clock.After(l.period):
		}
	}
}

// look returns what is missing or not as it is in this version, sorted.
func (l *lookout) look(ctx context.Context) ([]string, error) {
	var wrong []string
	for _, want := range l.objects {
		have := &unstructured.Unstructured{}
		have.SetGroupVersionKind(want.GroupVersionKind())
		switch err := l.live.Get(ctx, client.ObjectKeyFromObject(want), have); {
		case apierrors.IsNotFound(err):
			wrong = append(wrong, want.GetKind()+"/"+want.GetName()+" is missing")
		case err != nil:
			return nil, fmt.Errorf("reading %s/%s: %w", want.GetKind(), want.GetName(), err)
		case !equality.Semantic.DeepDerivative(want.Object["spec"], have.Object["spec"]):
			wrong = append(wrong, want.GetKind()+"/"+want.GetName()+" is not that of this version")
		}
	}
	slices.Sort(wrong)
	return wrong, nil
}

// report lets people know of what is wrong, or of the end of that, once.
func (l *lookout) report(ctx context.Context, wrong []string) string {
	text := strings.Join(wrong, ", ")
	if text == l.said {
		return ""
	}
	l.said = text
	if text == "" {
		return "the admission policies are in place"
	}
	text = "not all admission policies are in place, so that tiers are not guarded or the manager's rights not limited; an administrator applies them with kubectl apply -k config/admission: " + text
	tw := &v1alpha1.Tierwall{}
	if l.live.Get(ctx, client.ObjectKey{Name: v1alpha1.TierwallName}, tw) == nil {
		note := text
		if len(note) > 1000 { // the API server takes 1024 bytes
			note = note[:1000] + "…"
		}
		l.events.Eventf(tw, nil, corev1.EventTypeWarning, ReasonPoliciesMissing, "LookAtPolicies", "%s", note)
	}
	return text
}
