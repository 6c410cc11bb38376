package operator

import (
	"cmp"
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/tierwall/tierwall/api/builtin"
	"github.com/tierwall/tierwall/api/v1alpha1"
)

// Options of Add. The zero value works in a pod of the manager whose image is known.
type Options struct {
	// Namespace of the manager and the agents; empty means DefaultNamespace.
	Namespace string
	// Image of the agents where the Tierwall object names none. Empty means the
	// image of the container "manager" of the pod Pod.
	Image string
	// Pod is the name of the manager's own pod; empty: not in a pod.
	Pod string
	// CleanupTimeout is how long the removal waits for nodes to be cleaned; 0
	// means DefaultCleanupTimeout.
	CleanupTimeout time.Duration
	// NoDefault keeps the operator from creating a Tierwall object.
	NoDefault bool
	// Clock; nil means the machine's.
	Clock clock.PassiveClock
}

// Cache narrows the manager's cache to what the operator reads: single objects
// by name, so that the permission to read them can be for that name alone.
func Cache(namespace string) map[client.Object]cache.ByObject {
	namespace = cmp.Or(namespace, DefaultNamespace)
	name := fields.OneTermEqualSelector("metadata.name", AgentName)
	one := cache.ByObject{Namespaces: map[string]cache.Config{namespace: {FieldSelector: name}}}
	return map[client.Object]cache.ByObject{
		&appsv1.DaemonSet{}:          one,
		&corev1.ServiceAccount{}:     one,
		&corev1.Service{}:            one,
		&rbacv1.ClusterRole{}:        {Field: name},
		&rbacv1.ClusterRoleBinding{}: {Field: name},
		&corev1.Pod{}: {
			Namespaces: map[string]cache.Config{namespace: {LabelSelector: labels.SelectorFromSet(AgentSelector())}},
			Transform:  leanPod,
		},
	}
}

// leanPod drops the fields of an agent's pod that nothing here reads.
func leanPod(o any) (any, error) {
	p, ok := o.(*corev1.Pod)
	if !ok {
		return o, nil
	}
	lean := &corev1.Pod{TypeMeta: p.TypeMeta, ObjectMeta: p.ObjectMeta}
	lean.ManagedFields, lean.Annotations, lean.OwnerReferences = nil, nil, nil
	lean.Spec.NodeName, lean.Spec.Affinity = p.Spec.NodeName, p.Spec.Affinity
	lean.Status.Conditions, lean.Status.ContainerStatuses = p.Status.Conditions, p.Status.ContainerStatuses
	return lean, nil
}

// Add adds the operator to a manager, whose cache should be that of Cache and whose
// scheme must know Tierwall's kinds.
func Add(mgr ctrl.Manager, o Options) error {
	r := &reconciler{
		client: mgr.GetClient(), reader: mgr.GetAPIReader(), events: mgr.GetEventRecorder(FieldOwner), clock: o.Clock, repairs: repairs,
		namespace: cmp.Or(o.Namespace, DefaultNamespace), image: o.Image, pod: o.Pod,
		cleanupTimeout: cmp.Or(o.CleanupTimeout, DefaultCleanupTimeout), noDefault: o.NoDefault,
	}
	if r.clock == nil {
		r.clock = clock.RealClock{}
	}
	r.applier = applier{mgr.GetClient(), newRepairLimiter(r.clock)}
	b := ctrl.NewControllerManagedBy(mgr).Named("operator").WithOptions(controller.Options{
		// What fails is tried again in a minute at the latest, however often it has failed.
		RateLimiter: workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](100*time.Millisecond, time.Minute),
	})
	return r.watch(b, r.namespace)
}

// theOne is the request for the one object that there is.
var theOne = reconcile.Request{NamespacedName: types.NamespacedName{Name: v1alpha1.TierwallName}}

func (r *reconciler) watch(b *ctrl.Builder, namespace string) error {
	always := handler.EnqueueRequestsFromMapFunc(func(context.Context, client.Object) []reconcile.Request {
		return []reconcile.Request{theOne}
	})
	named := func(namespace string, names ...string) predicate.Predicate {
		return predicate.NewPredicateFuncs(func(o client.Object) bool {
			for _, n := range names {
				if o.GetName() == n && o.GetNamespace() == namespace {
					return true
				}
			}
			return false
		})
	}
	agents := predicate.NewPredicateFuncs(func(o client.Object) bool {
		return o.GetNamespace() == namespace && labels.SelectorFromSet(AgentSelector()).Matches(labels.Set(o.GetLabels()))
	})
	for _, o := range []client.Object{&appsv1.DaemonSet{}, &corev1.ServiceAccount{}, &corev1.Service{}} {
		b.Watches(o, always, builder.WithPredicates(named(namespace, AgentName)))
	}
	for _, o := range []client.Object{&rbacv1.ClusterRole{}, &rbacv1.ClusterRoleBinding{}} {
		b.Watches(o, always, builder.WithPredicates(named("", AgentName)))
	}
	return b.
		Watches(&v1alpha1.Tierwall{}, always, builder.WithPredicates(named("", v1alpha1.TierwallName))).
		Watches(&v1alpha1.Tier{}, always, builder.WithPredicates(named("", builtin.TierNames()...))).
		Watches(&corev1.Pod{}, always, builder.WithPredicates(agents)).
		WatchesRawSource(source.Func(func(_ context.Context, q workqueue.TypedRateLimitingInterface[reconcile.Request]) error {
			q.Add(theOne) // also where there is no object at all
			return nil
		})).
		Complete(r)
}

// repairs counts, in the manager's metrics, what was put right.
var repairs = func() repairCounter {
	c := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "tierwall_operator_repairs_total",
		Help: "Objects of the operator that another program had changed and that were restored, by kind.",
	}, []string{"kind"})
	metrics.Registry.MustRegister(c)
	return repairCounter{c}
}()

type repairCounter struct{ vec *prometheus.CounterVec }

func (c repairCounter) add(kind string) { c.vec.WithLabelValues(kind).Inc() }
