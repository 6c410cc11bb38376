package cluster

import (
	"context"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
)

// reader is what a reflector reads with: it waits for the API server while that
// cannot be reached, passes errors of requests on to its observer, and the objects of a
// plain list to the store page by page.
type reader struct {
	from  cache.ListerWatcherWithContext
	store *store
	// gate is that of all readers.
	gate     *gate
	observer observer
	// cached: a plain list may come from the API server's cache.
	cached bool
}

// fromCache is the resource version that lets the API server answer from its cache.
const fromCache = "0"

// listerWatcher is the reader as reflectors want it.
func (r *reader) listerWatcher() *cache.ListWatch {
	return &cache.ListWatch{ListWithContextFunc: r.list, WatchFuncWithContext: r.watch}
}

// list passes the objects of a page on to the store, and returns their names.
func (r *reader) list(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
	if o.ResourceVersion == fromCache && !r.cached {
		o.ResourceVersion = ""
	}
	list, err := pass(ctx, r.gate, r.observer.answered, func() (runtime.Object, error) { return r.from.ListWithContext(ctx, o) })
	if err != nil {
		if ctx.Err() == nil && !apierrors.IsResourceExpired(err) {
			r.observer.answered(err)
		}
		return nil, err
	}
	m, err := meta.ListAccessor(list)
	if err != nil {
		return nil, err
	}
	keys := &metav1.PartialObjectMetadataList{ListMeta: metav1.ListMeta{
		ResourceVersion: m.GetResourceVersion(), Continue: m.GetContinue(), RemainingItemCount: m.GetRemainingItemCount(),
	}}
	err = meta.EachListItem(list, func(o runtime.Object) error {
		key, err := r.store.put(o)
		if err != nil {
			return err
		}
		ns, name := split(key)
		item := metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name}}
		item.APIVersion, item.Kind = keyVersion, keyVersion
		keys.Items = append(keys.Items, item)
		return nil
	})
	if err != nil {
		return nil, err
	}
	r.observer.answered(nil)
	return keys, nil
}

// keyVersion marks an object that is but a name.
const keyVersion = "key"

// isKey reports whether an object is one of list's.
func isKey(o runtime.Object) bool {
	m, ok := o.(*metav1.PartialObjectMetadata)
	return ok && m.APIVersion == keyVersion
}

// watch opens a stream.
func (r *reader) watch(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
	w, err := pass(ctx, r.gate, r.observer.answered, func() (watch.Interface, error) { return r.from.WatchWithContext(ctx, o) })
	switch {
	case err == nil:
		r.observer.answered(nil)
	case ctx.Err() != nil, apierrors.IsResourceExpired(err), apierrors.IsGone(err):
		// The end, or a list follows.
	case o.SendInitialEvents != nil && apierrors.IsInvalid(err):
		// A server that streams no lists: a plain one follows.
	default:
		r.observer.answered(err)
	}
	return w, err
}
