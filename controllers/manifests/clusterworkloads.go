package manifests

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/tierwall/tierwall/policy/lint"
	"github.com/tierwall/tierwall/policy/model"
	"github.com/tierwall/tierwall/policy/workload"
)

// workload reads a workload, unless one of its pods runs. That there is none is no error:
// whoever asks about it finds no pods.
func (l *lister) workload(ctx context.Context, ref model.Ref) error {
	for _, m := range workload.NewSet(l.res.All()).Match(ref.Kind, ref.Namespace, ref.Name) {
		if len(m.Pods) > 0 {
			return nil
		}
	}
	k := workloadKindOf(ref.Kind)
	if _, there := l.res.Lookup(ref); k == nil || there {
		return nil
	}
	body, err := fetch(ctx, l.client.Get().AbsPath(k.path()).Namespace(ref.Namespace).Resource(k.Resource).Name(ref.Name))
	switch {
	case apierrors.IsNotFound(err):
		return nil
	case apierrors.IsForbidden(err):
		l.res.Warnings = append(l.res.Warnings, Warning{Object: ref.String(), Code: lint.CodeSkipped, Severity: lint.Info,
			Message: "it has no running pod, and the permission to get " + k.Resource + " is missing"})
		return nil
	case err != nil:
		return fmt.Errorf("cluster: get %s: %w", ref, err)
	}
	read, err := l.decode(body, k.GroupVersionKind.Kind, func() any { return k.New() })
	if err != nil {
		return err
	}
	o := read.(runtime.Object)
	o.GetObjectKind().SetGroupVersionKind(k.GroupVersionKind)
	l.res.add(Object{Object: o, Ref: ref, asked: true})
	return nil
}

// workloadKindOf is the kind of a workload; nil for all others.
func workloadKindOf(ref model.Kind) *kind {
	for i := range kinds {
		if k := &kinds[i]; k.workload && k.Ref == ref {
			return k
		}
	}
	return nil
}
