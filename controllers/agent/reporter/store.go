package reporter

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/controllers/agent"
)

// put writes a status: as a rule by one request, a patch of what has changed
// since the report before. The first report of an agent reads what is there,
// and a report that another client has changed is written anew as a whole.
func (r *Reporter) put(ctx context.Context, s *agent.Status) error {
	if r.written == nil {
		found := &v1alpha1.NodeReport{}
		switch err := r.opts.Client.Get(ctx, types.NamespacedName{Name: r.opts.Node}, found); {
		case apierrors.IsNotFound(err):
			return r.create(ctx, s)
		case err != nil:
			return fmt.Errorf("get: %w", err)
		}
		r.written = found
	}
	want := r.written.DeepCopy()
	want.Report = r.content(s, &r.written.Report)
	data, err := client.MergeFrom(r.written).Data(want)
	if err != nil {
		return fmt.Errorf("patch: %w", err)
	}
	// The answer goes into a fresh object: what is decoded into a map stays beside
	// what is there.
	got := &v1alpha1.NodeReport{ObjectMeta: metav1.ObjectMeta{Name: r.opts.Node}}
	switch err := r.opts.Client.Patch(ctx, got, client.RawPatch(types.MergePatchType, data)); {
	case apierrors.IsNotFound(err):
		return r.create(ctx, s) // the Node was away, or the report has been deleted
	case err != nil:
		return fmt.Errorf("patch: %w", err)
	}
	if !sameContent(&got.Report, &want.Report) {
		got.Report = want.Report
		if err := r.opts.Client.Update(ctx, got); err != nil {
			return fmt.Errorf("update: %w", err)
		}
	}
	r.written = got
	return nil
}

// create makes the report; it belongs to the Node, and goes with it.
func (r *Reporter) create(ctx context.Context, s *agent.Status) error {
	node := &metav1.PartialObjectMetadata{}
	node.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Node"))
	if err := r.opts.Client.Get(ctx, types.NamespacedName{Name: r.opts.Node}, node); err != nil {
		return fmt.Errorf("get Node/%s: %w", r.opts.Node, err)
	}
	o := &v1alpha1.NodeReport{ObjectMeta: metav1.ObjectMeta{
		Name: r.opts.Node,
		OwnerReferences: []metav1.OwnerReference{{
			APIVersion: "v1", Kind: "Node", Name: node.Name, UID: node.UID,
		}},
	}}
	o.Report = r.content(s, &v1alpha1.NodeState{})
	if err := r.opts.Client.Create(ctx, o); err != nil {
		return fmt.Errorf("create: %w", err)
	}
	r.written = o
	return nil
}

// content makes a report of a status, now.
func (r *Reporter) content(s *agent.Status, before *v1alpha1.NodeState) v1alpha1.NodeState {
	r.mu.Lock()
	defer r.mu.Unlock()
	return content(&r.opts, s, &r.took, before, r.clock.Now())
}
