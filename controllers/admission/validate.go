package admission

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"

	admissionv1 "k8s.io/api/admission/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
	webhook "sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"github.com/tierwall/tierwall/api/builtin"
	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/policy/convert"
	"github.com/tierwall/tierwall/policy/index"
	"github.com/tierwall/tierwall/policy/lint"
	"github.com/tierwall/tierwall/policy/model"
)

// validator judges objects of Tierwall's kinds.
type validator struct {
	scheme *runtime.Scheme
	// tiers reads Tiers: from the cache, and from the API server those that the
	// cache does not know, for they may be new.
	tiers, live client.Reader
}

var _ webhook.Handler = (*validator)(nil)

// Handle answers an API server's question about an object.
func (v *validator) Handle(ctx context.Context, req webhook.Request) webhook.Response {
	if req.Operation != admissionv1.Create && req.Operation != admissionv1.Update {
		return webhook.Allowed("")
	}
	o, err := v.decode(req.Kind, req.Object.Raw)
	if err != nil {
		return webhook.Errored(http.StatusBadRequest, err)
	}
	var old client.Object
	if req.Operation == admissionv1.Update {
		// What is stored may be of a time when the kind was another.
		if old, err = v.decode(req.Kind, req.OldObject.Raw); err != nil {
			log.FromContext(ctx).Info("the stored object cannot be read", "error", err.Error())
			old = nil
		}
	}
	if o.GetDeletionTimestamp() != nil {
		return webhook.Allowed("")
	}
	errs, warnings := v.judge(ctx, o, old)
	// An object that was stored while this webhook was away, or by an older
	// version, can still be labelled, and can still lose a finalizer.
	if len(errs) > 0 && old != nil && sameSpec(o, old) {
		errs, warnings = nil, append(errs, warnings...)
	}
	if len(errs) > 0 {
		return refuse(req.Kind, o.GetName(), errs, warnings)
	}
	return webhook.Allowed("").WithWarnings(warn(warnings)...)
}

func (v *validator) decode(kind metav1.GroupVersionKind, raw []byte) (client.Object, error) {
	gvk := schema.GroupVersionKind{Group: kind.Group, Version: kind.Version, Kind: kind.Kind}
	created, err := v.scheme.New(gvk)
	if err != nil {
		return nil, fmt.Errorf("kind %s: %w", gvk, err)
	}
	o, ok := created.(client.Object)
	if !ok {
		return nil, fmt.Errorf("kind %s is no kind of objects", gvk)
	}
	if err := json.Unmarshal(raw, o); err != nil {
		return nil, fmt.Errorf("reading the %s: %w", kind.Kind, err)
	}
	return o, nil
}

// judge lists what is wrong with an object, and what is odd about it.
func (v *validator) judge(ctx context.Context, o, old client.Object) (errs, warnings []model.Problem) {
	obj, problems, known := convert.Object(o)
	if !known {
		return nil, nil
	}
	for _, p := range problems {
		if p.Warning {
			warnings = append(warnings, p)
		} else {
			errs = append(errs, p)
		}
	}
	p, ok := obj.(*model.Policy)
	if !ok {
		return errs, warnings
	}
	for _, f := range findings(p) {
		// What denies everything depends on the other policies of the tier.
		if f.Severity.AtLeast(lint.Warning) && f.Code != lint.CodeDeniesEverything {
			warnings = append(warnings, model.Problem{Object: f.Object, Field: f.Field, Message: f.Message, Warning: true})
		}
	}
	if problem := v.tier(ctx, p); problem != nil {
		// A tier that is on its way out keeps the policies that it has.
		if old != nil && tierOf(old) == p.Tier {
			warnings = append(warnings, *problem)
		} else {
			errs = append(errs, *problem)
		}
	}
	return errs, warnings
}

// findings are what the linter says of a policy by itself: of no endpoints, and of
// a tier that is there. What of the rest is wrong with it the linter repeats from
// the conversion, which has been asked.
func findings(p *model.Policy) []lint.Finding {
	ix := index.New(index.Options{})
	ix.Upsert(&model.Tier{Name: p.Tier})
	ix.Upsert(p)
	ix.Flush()
	return lint.Run(ix, nil, []model.Ref{p.Ref}, nil)
}

// tier says what is wrong with the tier of a policy. A tier that cannot be read is
// not spoken of.
func (v *validator) tier(ctx context.Context, p *model.Policy) *model.Problem {
	if builtin.IsTier(p.Tier) {
		return nil
	}
	var t v1alpha1.Tier
	key := client.ObjectKey{Name: p.Tier}
	err := v.tiers.Get(ctx, key, &t)
	if apierrors.IsNotFound(err) {
		err = v.live.Get(ctx, key, &t)
	}
	switch {
	case apierrors.IsNotFound(err):
		return &model.Problem{Object: p.Ref, Field: "spec.tier", Message: fmt.Sprintf(
			"tier %q does not exist: the policy would be evaluated after all tiers, in a tier of its own that denies by default", p.Tier)}
	case err != nil:
		log.FromContext(ctx).Error(err, "reading a tier", "tier", p.Tier)
	case t.DeletionTimestamp != nil:
		return &model.Problem{Object: p.Ref, Field: "spec.tier", Message: fmt.Sprintf("tier %q is being deleted", p.Tier)}
	}
	return nil
}

// tierOf is the tier of a policy, "" of another object.
func tierOf(o client.Object) string {
	obj, _, _ := convert.Object(o)
	if p, ok := obj.(*model.Policy); ok {
		return p.Tier
	}
	return ""
}

// sameSpec reports whether two objects of one kind differ at most in metadata and status.
func sameSpec(a, b client.Object) bool {
	x, y := reflect.ValueOf(a).Elem().FieldByName("Spec"), reflect.ValueOf(b).Elem().FieldByName("Spec")
	return x.IsValid() && y.IsValid() && reflect.DeepEqual(x.Interface(), y.Interface())
}
