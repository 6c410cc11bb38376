package cluster

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
)

// crdResource are the definitions of custom resources.
var crdResource = schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}

// protobuf is how built-in types travel: half the size of JSON, and a fraction of the work.
const protobuf = runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON

// clients make what reflectors read with.
type clients struct {
	typed   map[schema.GroupVersion]rest.Interface
	dynamic dynamic.Interface
	meta    metadata.Interface
}

func newClients(config *rest.Config) (*clients, error) {
	config = rest.CopyConfig(config)
	if config.UserAgent == "" {
		config.UserAgent = "tierwall-agent"
	}
	if config.QPS == 0 {
		// A start, or the end of an outage, is a request or two a kind.
		config.QPS, config.Burst = 20, 60
	}
	config.WarningHandlerWithContext = rest.NoWarnings{} // of no use to an agent
	// One connection for all: the streams share it.
	http, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, fmt.Errorf("cluster: %w", err)
	}
	c := &clients{typed: map[schema.GroupVersion]rest.Interface{}}
	scheme := runtime.NewScheme()
	for gv, add := range map[schema.GroupVersion]func(*runtime.Scheme) error{
		corev1.SchemeGroupVersion: corev1.AddToScheme, discoveryv1.SchemeGroupVersion: discoveryv1.AddToScheme,
		networkingv1.SchemeGroupVersion: networkingv1.AddToScheme,
	} {
		if err := add(scheme); err != nil {
			return nil, fmt.Errorf("cluster: %w", err)
		}
		metav1.AddToGroupVersion(scheme, gv)
	}
	codecs := serializer.NewCodecFactory(scheme).WithoutConversion()
	for _, k := range builtinKinds() {
		gv := k.gvr.GroupVersion()
		if c.typed[gv] != nil {
			continue
		}
		typed := rest.CopyConfig(config)
		typed.GroupVersion, typed.NegotiatedSerializer, typed.APIPath = &gv, codecs, "/apis"
		typed.ContentType, typed.AcceptContentTypes = runtime.ContentTypeProtobuf, protobuf
		if gv.Group == "" {
			typed.APIPath = "/api"
		}
		if c.typed[gv], err = rest.RESTClientForConfigAndClient(typed, http); err != nil {
			return nil, fmt.Errorf("cluster: %w", err)
		}
	}
	if c.dynamic, err = dynamic.NewForConfigAndClient(config, http); err != nil {
		return nil, fmt.Errorf("cluster: %w", err)
	}
	if c.meta, err = metadata.NewForConfigAndClient(config, http); err != nil {
		return nil, fmt.Errorf("cluster: %w", err)
	}
	return c, nil
}

// definitions reads the metadata of all CustomResourceDefinitions.
func (c *clients) definitions() cache.ListerWatcherWithContext {
	r := c.meta.Resource(crdResource)
	return &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) { return r.List(ctx, o) },
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			o.Watch = true
			return r.Watch(ctx, o)
		},
	}
}

// objects reads a kind.
func (c *clients) objects(k *kind) cache.ListerWatcherWithContext {
	if k.custom() {
		r := c.dynamic.Resource(k.gvr)
		return &cache.ListWatch{
			ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) { return r.List(ctx, o) },
			WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
				o.Watch = true
				return r.Watch(ctx, o)
			},
		}
	}
	selector := fields.ParseSelectorOrDie(k.fields)
	return cache.NewListWatchFromClient(c.typed[k.gvr.GroupVersion()], k.gvr.Resource, metav1.NamespaceAll, selector)
}
