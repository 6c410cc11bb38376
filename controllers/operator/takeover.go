package operator

import (
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
)

// exclusive are the fields, by kind, that nobody but the operator may set; of
// what is not named here, others may add what they like: labels, annotations,
// pull secrets of the ServiceAccount.
var exclusive = map[string][]fieldpath.Path{
	"DaemonSet":          {fieldpath.MakePathOrDie("spec")},
	"Service":            {fieldpath.MakePathOrDie("spec")},
	"ClusterRole":        {fieldpath.MakePathOrDie("rules"), fieldpath.MakePathOrDie("aggregationRule")},
	"ClusterRoleBinding": {fieldpath.MakePathOrDie("roleRef"), fieldpath.MakePathOrDie("subjects")},
	"Tier":               {fieldpath.MakePathOrDie("spec")},
}

// shared are the exceptions: `kubectl rollout restart` writes there.
var shared = []fieldpath.Path{fieldpath.MakePathOrDie("spec", "template", "metadata")}

// takeOver returns the managed fields of an object with those moved to the
// operator that others hold and that are the operator's alone, and whether there
// were any.
func takeOver(live *unstructured.Unstructured) (fields []metav1.ManagedFieldsEntry, any bool, err error) {
	own := exclusive[live.GetKind()]
	entries := live.GetManagedFields()
	mine := -1
	held := fieldpath.NewSet()
	for i, e := range entries {
		if e.Manager == FieldOwner && e.Operation == metav1.ManagedFieldsOperationApply && e.Subresource == "" {
			mine = i
			if held, err = decode(e); err != nil {
				return nil, false, err
			}
		}
	}
	taken := fieldpath.NewSet()
	for i, e := range entries {
		if e.Manager == FieldOwner || e.Subresource != "" || e.APIVersion != live.GetAPIVersion() {
			continue
		}
		set, err := decode(e)
		if err != nil {
			return nil, false, err
		}
		alone := fieldpath.NewSet()
		set.Iterate(func(p fieldpath.Path) {
			if under(p, own) && !under(p, shared) {
				alone.Insert(p.Copy())
			}
		})
		if alone.Difference(held).Empty() {
			continue // it agrees with the operator, if anything
		}
		taken = taken.Union(alone)
		if entries[i], err = encode(e, set.Difference(alone)); err != nil {
			return nil, false, err
		}
	}
	if taken.Empty() {
		return entries, false, nil
	}
	if mine < 0 {
		mine = len(entries)
		entries = append(entries, metav1.ManagedFieldsEntry{
			Manager: FieldOwner, Operation: metav1.ManagedFieldsOperationApply, APIVersion: live.GetAPIVersion(), FieldsType: "FieldsV1",
		})
	}
	if entries[mine], err = encode(entries[mine], held.Union(taken)); err != nil {
		return nil, false, err
	}
	return entries, true, nil
}

func decode(e metav1.ManagedFieldsEntry) (*fieldpath.Set, error) {
	set := fieldpath.NewSet()
	if e.FieldsV1 == nil {
		return set, nil
	}
	if err := set.FromJSON(e.FieldsV1.GetRawReader()); err != nil {
		return nil, fmt.Errorf("managed fields of %s: %w", e.Manager, err)
	}
	return set, nil
}

func encode(e metav1.ManagedFieldsEntry, set *fieldpath.Set) (metav1.ManagedFieldsEntry, error) {
	raw, err := set.ToJSON()
	if err != nil {
		return e, fmt.Errorf("managed fields of %s: %w", e.Manager, err)
	}
	e.FieldsV1 = metav1.NewFieldsV1(string(raw))
	return e, nil
}

// under reports whether a path is one of roots or below it.
func under(p fieldpath.Path, roots []fieldpath.Path) bool {
	for _, root := range roots {
		if len(p) >= len(root) && p[:len(root)].Equals(root) {
			return true
		}
	}
	return false
}
