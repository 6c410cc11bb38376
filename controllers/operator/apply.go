package operator

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"reflect"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// outcome is what applying an object came to.
type outcome string

const (
	unchanged outcome = "unchanged" // it was as it should be, and nothing was written
	created   outcome = "created"
	updated   outcome = "updated"  // the operator wants something else than before
	repaired  outcome = "repaired" // somebody else had changed it
)

// applier brings single objects to what is desired. It writes only if there is
// something to write, so it may be called as often as one likes.
type applier struct {
	client  client.Client
	repairs *repairLimiter
}

// apply makes the live object what o says.
//
// Server-side apply alone would leave in place what others have added, such as a
// node selector that keeps the agents away. What is the operator's alone (see
// exclusive) is therefore taken from other field managers first, so that applying
// removes it.
func (a applier) apply(ctx context.Context, o client.Object) (outcome, error) {
	want, err := toApply(o)
	if err != nil {
		return "", fmt.Errorf("%s: %w", kindOf(o), err)
	}
	hash, err := digest(want)
	if err != nil {
		return "", fmt.Errorf("%s: %w", kindOf(o), err)
	}
	annotate(want, appliedAnnotation, hash)
	live, err := a.live(ctx, o)
	switch {
	case apierrors.IsNotFound(err):
		_, err := a.write(ctx, want)
		return created, err
	case err != nil:
		return "", fmt.Errorf("%s: %w", kindOf(o), err)
	case live.GetDeletionTimestamp() != nil:
		return unchanged, nil // its end is seen, and then it is made anew
	case immutableDiffers(want, live):
		// Only the one that was looked at: the cache may not know its successor yet.
		if err := a.remove(ctx, o, client.Preconditions{UID: ptr.To(live.GetUID())}); err != nil {
			return "", err
		}
		_, err := a.write(ctx, want)
		return repaired, err
	}
	return a.change(ctx, o, want, live, hash)
}

// change makes a live object what is wanted, if it is not.
func (a applier) change(ctx context.Context, o client.Object, want, live *unstructured.Unstructured, hash string) (outcome, error) {
	fields, foreign, err := takeOver(live)
	if err != nil {
		return "", fmt.Errorf("%s: %w", kindOf(o), err)
	}
	applied := live.GetAnnotations()[appliedAnnotation] == hash // by an operator that wanted the same
	if applied && !foreign && contains(live.Object, want.Object) {
		return unchanged, nil
	}
	if applied && !a.repairs.allow(kindOf(o)) {
		return "", &repairLimitedError{kindOf(o)}
	}
	if foreign {
		if err := a.own(ctx, live, fields); err != nil {
			return "", fmt.Errorf("%s: %w", kindOf(o), err)
		}
	}
	version, err := a.write(ctx, want)
	switch {
	case err != nil:
		return "", err
	case version == live.GetResourceVersion():
		return unchanged, nil // a webhook of the cluster's insists on something else
	case applied:
		return repaired, nil
	}
	return updated, nil
}

// live reads what there is, by the typed object so that the cache serves it.
func (a applier) live(ctx context.Context, o client.Object) (*unstructured.Unstructured, error) {
	live, ok := reflect.New(reflect.TypeOf(o).Elem()).Interface().(client.Object)
	if !ok {
		return nil, fmt.Errorf("%T is no object", o)
	}
	if err := a.client.Get(ctx, client.ObjectKeyFromObject(o), live); err != nil {
		return nil, err
	}
	fields, err := runtime.DefaultUnstructuredConverter.ToUnstructured(live)
	if err != nil {
		return nil, err
	}
	u := &unstructured.Unstructured{Object: fields}
	u.SetGroupVersionKind(o.GetObjectKind().GroupVersionKind())
	return u, nil
}

// write applies an object and returns its resource version afterwards.
func (a applier) write(ctx context.Context, want *unstructured.Unstructured) (string, error) {
	got := want.DeepCopy()
	err := a.client.Apply(ctx, client.ApplyConfigurationFromUnstructured(got), client.FieldOwner(FieldOwner), client.ForceOwnership)
	if err != nil {
		return "", fmt.Errorf("%s cannot be applied: %w", kindOf(want), err)
	}
	return got.GetResourceVersion(), nil
}

// own writes who owns which field, if the object is still what was looked at.
func (a applier) own(ctx context.Context, live *unstructured.Unstructured, fields any) error {
	patch, err := json.Marshal([]map[string]any{
		{"op": "replace", "path": "/metadata/managedFields", "value": fields},
		{"op": "replace", "path": "/metadata/resourceVersion", "value": live.GetResourceVersion()},
	})
	if err != nil {
		return err
	}
	target := &unstructured.Unstructured{}
	target.SetGroupVersionKind(live.GroupVersionKind())
	target.SetName(live.GetName())
	target.SetNamespace(live.GetNamespace())
	return a.client.Patch(ctx, target, client.RawPatch("application/json-patch+json", patch), client.FieldOwner(FieldOwner))
}

// remove deletes an object; that it is not there is no error.
func (a applier) remove(ctx context.Context, o client.Object, options ...client.DeleteOption) error {
	target := &unstructured.Unstructured{}
	target.SetGroupVersionKind(o.GetObjectKind().GroupVersionKind())
	target.SetName(o.GetName())
	target.SetNamespace(o.GetNamespace())
	err := a.client.Delete(ctx, target, append(options, client.PropagationPolicy("Background"))...)
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("%s cannot be deleted: %w", kindOf(o), err)
	}
	return nil
}

// immutable are the fields that the API server never lets change: an object
// that is wrong there has to be made anew.
var immutable = map[string][]string{
	"DaemonSet":          {"spec", "selector"},
	"ClusterRoleBinding": {"roleRef"},
	"Service":            {"spec", "clusterIP"},
}

func immutableDiffers(want, live *unstructured.Unstructured) bool {
	path, ok := immutable[want.GetKind()]
	if !ok {
		return false
	}
	w, _, _ := unstructured.NestedFieldNoCopy(want.Object, path...)
	l, _, _ := unstructured.NestedFieldNoCopy(live.Object, path...)
	return !contains(l, w) || !contains(w, l)
}

// digest is a short hash of what is applied.
func digest(u *unstructured.Unstructured) (string, error) {
	text, err := u.MarshalJSON() // keys are sorted
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(bytes.TrimSpace(text))
	return hex.EncodeToString(sum[:8]), nil
}

func annotate(u *unstructured.Unstructured, key, value string) {
	a := u.GetAnnotations()
	if a == nil {
		a = map[string]string{}
	}
	a[key] = value
	u.SetAnnotations(a)
}

// contains reports whether live holds all that want does. Lists must be of one
// length: what the API server fills in, it fills into objects.
func contains(live, want any) bool {
	switch w := want.(type) {
	case map[string]any:
		l, ok := live.(map[string]any)
		if !ok {
			return false
		}
		for k, e := range w {
			if !contains(l[k], e) {
				return false
			}
		}
		return true
	case []any:
		l, ok := live.([]any)
		if !ok || len(l) != len(w) {
			return false
		}
		for i := range w {
			if !contains(l[i], w[i]) {
				return false
			}
		}
		return true
	}
	return scalar(live) == scalar(want)
}

// scalar makes numbers comparable, whichever way they were decoded.
func scalar(v any) any {
	switch v := v.(type) {
	case int64:
		return float64(v)
	case int32:
		return float64(v)
	case int:
		return float64(v)
	}
	return v
}
