package operator

import (
	"context"
	"errors"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/tierwall/tierwall/api/v1alpha1"
)

// reconciler brings what is in the cluster in line with the Tierwall object.
// Whatever happens, it looks at everything: there is one object to reconcile.
type reconciler struct {
	client  client.Client // reads from the cache
	reader  client.Reader // reads from the API server
	applier applier
	events  events.EventRecorder
	clock   clock.PassiveClock
	repairs counter

	namespace, image, pod string
	cleanupTimeout        time.Duration
	noDefault             bool
	reported              time.Time // when the status was last written
	affected              affected
}

// counter counts repairs by kind.
type counter interface{ add(kind string) }

var _ reconcile.Reconciler = (*reconciler)(nil)

// Reconcile implements reconcile.Reconciler.
func (r *reconciler) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	tw := &v1alpha1.Tierwall{}
	err := r.client.Get(ctx, req.NamespacedName, tw)
	switch {
	case apierrors.IsNotFound(err):
		return reconcile.Result{}, r.bootstrap(ctx)
	case err != nil:
		return reconcile.Result{}, fmt.Errorf("reading Tierwall/%s: %w", req.Name, err)
	case tw.DeletionTimestamp != nil:
		return r.remove(ctx, tw)
	}
	if err := r.hold(ctx, tw); err != nil {
		return reconcile.Result{}, err
	}
	if err := r.decide(ctx, tw); err != nil {
		return reconcile.Result{}, err
	}
	applyErr := r.install(ctx, tw)
	ds, pods, err := r.agents(ctx)
	if err != nil {
		return reconcile.Result{}, errors.Join(applyErr, err)
	}
	now := situation{generation: tw.Generation, ds: ds, pods: pods, applyErr: applyErr, now: r.clock.Now()}
	conditions, again := assess(now)
	conditions = append(conditions, guardConditions(now, tw)...)
	sets, soon, setsErr := r.namespacedSets(ctx, now, tw)
	if setsErr == nil {
		conditions = append(conditions, sets)
	}
	later, err := r.report(ctx, tw, conditions, len(pods))
	return reconcile.Result{RequeueAfter: sooner(sooner(again, later), soon)}, errors.Join(applyErr, setsErr, err)
}

// hold adds the finalizer to the object, before anything is installed for it.
func (r *reconciler) hold(ctx context.Context, tw *v1alpha1.Tierwall) error {
	if controllerutil.ContainsFinalizer(tw, Finalizer) {
		return nil
	}
	if err := r.unmark(ctx); err != nil {
		return err
	}
	before := tw.DeepCopy()
	controllerutil.AddFinalizer(tw, Finalizer)
	err := r.client.Patch(ctx, tw, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{}), client.FieldOwner(FieldOwner))
	if err != nil {
		return fmt.Errorf("setting the finalizer of Tierwall/%s: %w", tw.Name, err)
	}
	return nil
}

// settings are the inputs of Desired other than the Tierwall object.
func (r *reconciler) settings(ctx context.Context) Settings {
	return Settings{Namespace: r.namespace, Image: r.agentImage(ctx)}
}

// agentImage is the image of the agents if the Tierwall object names none: the one that
// the manager was configured with, or the manager's own image, so that changing the
// latter changes both.
func (r *reconciler) agentImage(ctx context.Context) string {
	if r.image != "" || r.pod == "" {
		return r.image
	}
	p := &corev1.Pod{}
	if err := r.reader.Get(ctx, client.ObjectKey{Namespace: r.namespace, Name: r.pod}, p); err != nil {
		log.FromContext(ctx).Error(err, "the manager's own image is not known", "pod", r.pod)
		return ""
	}
	for _, c := range p.Spec.Containers {
		if c.Name == ManagerContainer {
			r.image = c.Image
		}
	}
	return r.image
}

// install applies all that is desired. An object that is refused keeps no other
// from being applied; all errors are returned.
func (r *reconciler) install(ctx context.Context, tw *v1alpha1.Tierwall) error {
	s := r.settings(ctx)
	if s.Image == "" && tw.Spec.Agent.Image == "" {
		return errors.New("the image of the agents is not known: set spec.agent.image")
	}
	var errs []error
	for _, o := range Desired(tw, s) {
		done, err := r.applier.apply(ctx, o)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		r.tell(ctx, tw, o, done)
	}
	for _, o := range obsolete(tw, s) {
		if _, err := r.applier.live(ctx, o); apierrors.IsNotFound(err) {
			continue
		}
		if err := r.applier.remove(ctx, o); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// tell logs what was written, and records events for what was restored.
func (r *reconciler) tell(ctx context.Context, tw *v1alpha1.Tierwall, o client.Object, done outcome) {
	if done == unchanged {
		return
	}
	log.FromContext(ctx).Info(string(done), "object", kindOf(o))
	if done == repaired {
		r.repairs.add(o.GetObjectKind().GroupVersionKind().Kind)
		r.events.Eventf(tw, nil, corev1.EventTypeNormal, "Repaired", "Repair", "%s was changed by another program and has been restored", kindOf(o))
	}
}

// agents reads the DaemonSet (nil if there is none) and its pods.
func (r *reconciler) agents(ctx context.Context) (*appsv1.DaemonSet, []corev1.Pod, error) {
	ds := &appsv1.DaemonSet{}
	err := r.client.Get(ctx, client.ObjectKey{Namespace: r.namespace, Name: AgentName}, ds)
	switch {
	case apierrors.IsNotFound(err):
		ds = nil
	case err != nil:
		return nil, nil, fmt.Errorf("reading DaemonSet/%s/%s: %w", r.namespace, AgentName, err)
	}
	pods := &corev1.PodList{}
	// They are only read.
	err = r.client.List(ctx, pods, client.InNamespace(r.namespace), client.MatchingLabels(AgentSelector()), client.UnsafeDisableDeepCopy)
	if err != nil {
		return nil, nil, fmt.Errorf("listing the agents' pods: %w", err)
	}
	return ds, pods.Items, nil
}
