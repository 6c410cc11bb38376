package operator

import (
	"context"
	"fmt"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/tierwall/tierwall/api/v1alpha1"
)

// MarkName is the ConfigMap, in the manager's namespace, that records that a user has
// deleted the Tierwall object. While it exists, the manager creates no default object.
// It is deleted when there is a Tierwall object again, and with the manager's
// Deployment.
const MarkName = "tierwall-removed"

// The keys of the mark.
const (
	markUID   = "uid"        // of the Tierwall object that was deleted
	markTime  = "time"       // when its agents were gone, RFC 3339
	markNodes = "notCleaned" // nodes, comma-separated, whose kernel may still hold the table; absent: none
)

// bootstrap creates the default Tierwall object if there is none and no user has
// deleted it.
func (r *reconciler) bootstrap(ctx context.Context) error {
	if r.noDefault {
		return nil
	}
	m, err := r.mark(ctx)
	if err != nil || m != nil {
		return err
	}
	tw := &v1alpha1.Tierwall{ObjectMeta: metav1.ObjectMeta{
		Name:   v1alpha1.TierwallName,
		Labels: map[string]string{labelPartOf: "tierwall", labelManagedBy: FieldOwner},
	}}
	err = r.client.Create(ctx, tw, client.FieldOwner(FieldOwner))
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("creating Tierwall/%s: %w", tw.Name, err)
	}
	return nil
}

// mark reads the mark, past the cache: it may have been written a moment ago. It
// is nil if there is none.
func (r *reconciler) mark(ctx context.Context) (*corev1.ConfigMap, error) {
	m := &corev1.ConfigMap{}
	err := r.reader.Get(ctx, client.ObjectKey{Namespace: r.namespace, Name: MarkName}, m)
	switch {
	case apierrors.IsNotFound(err):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("reading ConfigMap/%s/%s: %w", r.namespace, MarkName, err)
	}
	return m, nil
}

// setMark writes the mark. The manager's Deployment owns it, so that a reinstalled
// Tierwall starts afresh.
func (r *reconciler) setMark(ctx context.Context, tw *v1alpha1.Tierwall, dirty []string) error {
	m := &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{
			Name: MarkName, Namespace: r.namespace,
			Labels: map[string]string{labelPartOf: "tierwall", labelManagedBy: FieldOwner},
		},
		Data: map[string]string{
			markUID:  string(tw.UID),
			markTime: r.clock.Now().UTC().Format(time.RFC3339),
		},
	}
	if len(dirty) > 0 {
		m.Data[markNodes] = strings.Join(dirty, ",")
	}
	m.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("ConfigMap"))
	d := &appsv1.Deployment{}
	err := r.reader.Get(ctx, client.ObjectKey{Namespace: r.namespace, Name: ManagerName}, d)
	switch {
	case err == nil:
		m.OwnerReferences = []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "Deployment", Name: d.Name, UID: d.UID}}
	case !apierrors.IsNotFound(err): // a manager may run elsewhere
		return fmt.Errorf("reading Deployment/%s/%s: %w", r.namespace, ManagerName, err)
	}
	u, err := toApply(m)
	if err != nil {
		return fmt.Errorf("%s: %w", kindOf(m), err)
	}
	_, err = r.applier.write(ctx, u)
	return err
}

// unmark removes the mark: there is a Tierwall object again.
func (r *reconciler) unmark(ctx context.Context) error {
	m, err := r.mark(ctx)
	if err != nil || m == nil {
		return err
	}
	m.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("ConfigMap"))
	return r.applier.remove(ctx, m)
}
