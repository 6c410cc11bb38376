package manifests

import (
	"cmp"
	"context"
	stdjson "encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/rest"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/policy/convert"
	"github.com/tierwall/tierwall/policy/lint"
	"github.com/tierwall/tierwall/policy/model"
	"github.com/tierwall/tierwall/policy/translate"
)

// pageSize is the number of objects that one request lists.
const pageSize = 500

// FromCluster lists all objects of a live cluster that bear on verdicts. Kinds
// that the cluster does not have (no Tierwall, no Calico, no
// ClusterNetworkPolicy) are left out; kinds that the user may not list are an
// error that names the permissions, since what they hold could change any verdict.
// NodeReports that the user may not list are a warning.
// Unknown fields are no error: the cluster may be newer than this program.
//
// Workloads are not read, since their pods are, but for those that are asked for and have
// no running pod: Complete makes one of their templates.
//
// An error of a context that has ended has its cause, and names what was not answered.
func FromCluster(ctx context.Context, config *rest.Config, workloads ...model.Ref) (*Result, error) {
	config = rest.CopyConfig(config)
	// The client wants a decoder; only raw bodies are asked of it.
	config.NegotiatedSerializer = serializer.NewCodecFactory(runtime.NewScheme()).WithoutConversion()
	config.AcceptContentTypes, config.ContentType = runtime.ContentTypeJSON, runtime.ContentTypeJSON
	config.UserAgent = cmp.Or(config.UserAgent, "tierwall")
	config.QPS = -1 // requests follow one another, and the server bounds them
	client, err := rest.UnversionedRESTClientFor(config)
	if err != nil {
		return nil, fmt.Errorf("cluster: %w", err)
	}
	l := &lister{client: client, res: &Result{}}
	steps := l.steps(workloads)
	for i := range steps {
		l.come = 0
		if err := steps[i].read(ctx); err != nil {
			return nil, l.unanswered(ctx, steps[i:], err)
		}
	}
	return l.finish()
}

// lister collects the objects of a cluster.
type lister struct {
	client  *rest.RESTClient
	res     *Result
	foreign []runtime.Object
	// denied are permissions that are missing.
	denied []error
	// come is how many objects of the list that is being read have come.
	come int
}

// step is one thing that is asked of a cluster.
type step struct {
	what string
	read func(context.Context) error
}

// steps are all that is asked, in order.
func (l *lister) steps(workloads []model.Ref) []step {
	var out []step
	for i := range kinds {
		if k := &kinds[i]; !k.workload {
			out = append(out, step{k.GroupVersion().WithResource(k.Resource).GroupResource().String(), func(ctx context.Context) error { return l.kind(ctx, k) }})
		}
	}
	for _, gv := range []schema.GroupVersion{{Group: calicoGroup, Version: "v3"}, {Group: calicoCRDGroup, Version: "v1"}} {
		out = append(out, step{gv.String(), func(ctx context.Context) error { return l.foreignGroup(ctx, gv) }})
	}
	for _, ref := range workloads {
		out = append(out, step{ref.String(), func(ctx context.Context) error { return l.workload(ctx, ref) }})
	}
	return out
}

// unanswered is the error of the first of the steps that are left. Where the context has
// ended, it is the context's cause and what of the steps is missing.
func (l *lister) unanswered(ctx context.Context, left []step, err error) error {
	cause := context.Cause(ctx)
	if cause == nil {
		return err
	}
	text := "waiting for " + left[0].what
	if l.come > 0 {
		text += fmt.Sprintf(", of which %d have come", l.come)
	}
	for i := range left[1:] {
		if i == 0 {
			text += "; not asked for yet: "
		} else {
			text += ", "
		}
		text += left[1+i].what
	}
	return fmt.Errorf("cluster: %w; %s", cause, text)
}

func (l *lister) finish() (*Result, error) {
	if len(l.denied) > 0 {
		return nil, errors.Join(l.denied...)
	}
	objects, replaced := ReconcileForeign(l.foreign, l.res.policyTier)
	for _, r := range replaced {
		l.res.Warnings = append(l.res.Warnings, r.warnings()...)
	}
	own := len(l.res.Objects)
	for _, o := range objects {
		if err := l.add(o); err != nil {
			return nil, err
		}
	}
	for i := range l.res.Objects[own:] {
		l.res.Objects[own+i].translated = true
	}
	slices.SortStableFunc(l.res.Objects, func(a, b Object) int { return a.Ref.Compare(b.Ref) })
	for i := range l.res.Objects {
		l.res.byRef[l.res.Objects[i].Ref] = i
	}
	return l.res, nil
}

func (l *lister) notes(notes []translate.Note) {
	for _, n := range notes {
		if n.Spelling {
			continue
		}
		l.res.Warnings = append(l.res.Warnings, Warning{Object: n.Object, Field: n.Field, Message: n.Message, Code: codeOf(n), Severity: severityOf(n)})
	}
}

// add adds an object. A translated one that is no policy gives way to a Tierwall
// object of its name: in the midst of a migration, that is the one in force.
func (l *lister) add(o runtime.Object) error {
	k, m, err := describeObject(o)
	if err != nil {
		return err
	}
	ref := k.refOf(o, m)
	if _, ok := l.res.Lookup(ref); ok {
		l.res.Warnings = append(l.res.Warnings, Warning{Object: ref.String(), Code: lint.CodeReplaced, Severity: lint.Info,
			Message: "a Tierwall object and a Calico object have this name; the Calico object is ignored"})
		return nil
	}
	l.res.add(Object{Object: o, Ref: ref})
	return nil
}

// kind lists the objects of a kind.
func (l *lister) kind(ctx context.Context, k *kind) error {
	denied := len(l.denied)
	objects, err := list(ctx, l, k.GroupVersionKind.GroupVersion(), k.Resource, func(item []byte) (runtime.Object, error) {
		read, err := l.decode(item, k.GroupVersionKind.Kind, func() any { return k.New() })
		if err != nil {
			return nil, err
		}
		o := Trim(read.(runtime.Object))
		if pod, ok := read.(*corev1.Pod); ok { // by their owners the names of workloads are found
			o.(*corev1.Pod).OwnerReferences = pod.OwnerReferences
		}
		o.GetObjectKind().SetGroupVersionKind(k.GroupVersionKind)
		return o, nil
	})
	for _, o := range objects {
		if err := l.add(o); err != nil {
			return err
		}
	}
	if k.aid && len(l.denied) > denied {
		l.res.Warnings = append(l.res.Warnings, Warning{Object: k.GroupVersionKind.Kind, Code: lint.CodeSkipped, Severity: lint.Info,
			Message: "skipped, because the permission to list " + k.Resource + " is missing: only the addresses in Node objects are known"})
		l.denied = l.denied[:denied]
	}
	return err
}

// decode reads an object as agents do. Fields of a policy that are not known are a
// warning, and it fails closed.
func (l *lister) decode(item []byte, kind string, fresh func() any) (any, error) {
	o, err := convert.Decode(item, fresh)
	var unknown *convert.UnknownFieldsError
	if errors.As(err, &unknown) {
		if unknown.Closed {
			l.res.Warnings = append(l.res.Warnings, Warning{Object: itemName(item, kind), Message: unknown.Error(), Code: lint.CodeUnknownField, Severity: lint.Warning})
		}
		return o, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", itemName(item, kind), err)
	}
	return o, nil
}

// foreignGroup lists the objects of all kinds of a group that can be translated.
func (l *lister) foreignGroup(ctx context.Context, gv schema.GroupVersion) error {
	body, err := fetch(ctx, l.client.Get().AbsPath("/apis", gv.Group, gv.Version))
	switch {
	case apierrors.IsNotFound(err):
		return nil
	case apierrors.IsForbidden(err):
		l.denied = append(l.denied, fmt.Errorf("cluster: the resources of %s cannot be read: %w", gv, err))
		return nil
	case err != nil:
		return fmt.Errorf("cluster: %s: %w", gv, err)
	}
	var resources metav1.APIResourceList
	if err := stdjson.Unmarshal(body, &resources); err != nil {
		return fmt.Errorf("cluster: %s: %w", gv, err)
	}
	for _, r := range resources.APIResources {
		gvk := gv.WithKind(r.Kind)
		if strings.Contains(r.Name, "/") || !slices.Contains(r.Verbs, "list") || translate.New(gvk) == nil {
			continue
		}
		results, err := list(ctx, l, gv, r.Name, func(item []byte) (translate.Result, error) {
			o, err := l.decode(item, gvk.Kind+"."+gvk.Group, func() any { return translate.New(gvk) })
			if err != nil {
				return translate.Result{}, err
			}
			return translate.Translate(o)
		})
		if err != nil {
			return err
		}
		for _, t := range results {
			l.notes(t.Notes)
			l.foreign = append(l.foreign, t.Objects...)
		}
	}
	return nil
}

// ReconcileForeign settles what only shows among several translated objects (see
// translate.Merge and identify), in the order of Calico's two groups: a policy that
// is there in both spellings, or in both for as long as a migration lasts, counts
// as the first says. It changes objects in place and returns those that remain. own
// is as of identify.
func ReconcileForeign(objects []runtime.Object, own OwnTier) ([]runtime.Object, []Replaced) {
	seen := map[model.Ref]bool{}
	kept := make([]runtime.Object, 0, len(objects))
	for _, o := range objects {
		ref, known := convert.RefOf(o)
		_, isPolicy := convert.PolicyTier(o)
		_, isSettings := o.(*v1alpha1.Tierwall) // its parts come from several objects
		if known && !isPolicy && !isSettings {
			if seen[ref] {
				continue
			}
			seen[ref] = true
		}
		kept = append(kept, o)
	}
	return identify(translate.Merge(kept), own)
}

// list pages through all objects of a resource. Each page is decoded as it
// comes, so that no more than one is there whole.
func list[T any](ctx context.Context, l *lister, gv schema.GroupVersion, resource string, decode func(item []byte) (T, error)) ([]T, error) {
	path := "/apis/" + gv.Group + "/" + gv.Version + "/" + resource
	if gv.Group == "" {
		path = "/api/" + gv.Version + "/" + resource
	}
	limit, next := pageSize, ""
	var out []T
	for {
		request := l.client.Get().AbsPath(path)
		if limit > 0 {
			request = request.Param("limit", strconv.Itoa(limit))
		}
		if next != "" {
			request = request.Param("continue", next)
		}
		body, err := fetch(ctx, request)
		if apierrors.IsResourceExpired(err) && next != "" {
			// The server compacted while we read: take all in one piece.
			out, limit, next = nil, 0, ""
			continue
		}
		if err != nil {
			return nil, l.refused(gv, resource, err)
		}
		var page struct {
			Metadata metav1.ListMeta      `json:"metadata"`
			Items    []stdjson.RawMessage `json:"items"`
		}
		if err := stdjson.Unmarshal(body, &page); err != nil {
			return nil, fmt.Errorf("cluster: list %s: %w", schema.GroupResource{Group: gv.Group, Resource: resource}, err)
		}
		for _, item := range page.Items {
			o, err := decode(item)
			if err != nil {
				return nil, err
			}
			out = append(out, o)
		}
		l.come = len(out)
		if page.Metadata.Continue == "" {
			return out, nil
		}
		if next == page.Metadata.Continue {
			return nil, fmt.Errorf("cluster: list %s: the server repeats a page", schema.GroupResource{Group: gv.Group, Resource: resource})
		}
		next = page.Metadata.Continue
	}
}

// refused says what follows from an error of a list: nil if the others can go on.
func (l *lister) refused(gv schema.GroupVersion, resource string, err error) error {
	name := schema.GroupResource{Group: gv.Group, Resource: resource}
	switch {
	case apierrors.IsNotFound(err) && gv.Group != "":
		return nil
	case apierrors.IsForbidden(err):
		l.denied = append(l.denied, fmt.Errorf("cluster: permission missing: list %s at the scope of the cluster: %w", name, err))
		return nil
	case apierrors.IsUnauthorized(err):
		return fmt.Errorf("cluster: the credentials are refused: %w", err)
	}
	return fmt.Errorf("cluster: list %s: %w", name, err)
}

// fetch returns the body of the answer to a request. The error is what the API
// server says in its Status, if it says something: the client alone keeps only
// the HTTP status.
func fetch(ctx context.Context, r *rest.Request) ([]byte, error) {
	body, err := r.Do(ctx).Raw()
	if err == nil {
		return body, nil
	}
	var status metav1.Status
	if stdjson.Unmarshal(body, &status) == nil && status.Kind == "Status" && status.Status == metav1.StatusFailure {
		return nil, &apierrors.StatusError{ErrStatus: status}
	}
	return nil, err
}

// itemName names an object that could not be decoded.
func itemName(item []byte, kind string) string {
	var o metav1.PartialObjectMetadata
	if stdjson.Unmarshal(item, &o) != nil || o.Name == "" {
		return kind
	}
	if o.Namespace == "" {
		return kind + "/" + o.Name
	}
	return kind + "/" + o.Namespace + "/" + o.Name
}
