package startup

import (
	"context"
	"encoding/json"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/tierwall/tierwall/api/v1alpha1"
)

// clusterStore writes the report to the API server.
type clusterStore struct {
	client client.Client
	node   string
}

// NewStore returns a Store of the node's report in the cluster. It needs the rights to
// create and patch podaddressreports, and to get nodes.
func NewStore(config *rest.Config, node string) (Store, error) {
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		return nil, fmt.Errorf("startup: %w", err)
	}
	mapper := meta.NewDefaultRESTMapper(nil)
	mapper.Add(v1alpha1.GroupVersion.WithKind("PodAddressReport"), meta.RESTScopeRoot)
	mapper.Add(corev1.SchemeGroupVersion.WithKind("Node"), meta.RESTScopeRoot)
	c, err := client.New(config, client.Options{Scheme: scheme, Mapper: mapper})
	if err != nil {
		return nil, fmt.Errorf("startup: %w", err)
	}
	return &clusterStore{client: c, node: node}, nil
}

// Put implements Store: one request, except for the first time on a node.
func (s *clusterStore) Put(ctx context.Context, pods []v1alpha1.StartedPod) error {
	data, err := json.Marshal(map[string]any{"pods": pods})
	if err != nil {
		return fmt.Errorf("patch: %w", err)
	}
	o := &v1alpha1.PodAddressReport{ObjectMeta: metav1.ObjectMeta{Name: s.node}}
	switch err := s.client.Patch(ctx, o, client.RawPatch(types.MergePatchType, data)); {
	case apierrors.IsNotFound(err) && len(pods) == 0:
		return nil // there is nothing to say, and nothing has been said
	case apierrors.IsNotFound(err):
		return s.create(ctx, pods)
	case err != nil:
		return fmt.Errorf("patch: %w", err)
	}
	return nil
}

// create creates the report; the Node owns it, so it is deleted with the Node.
func (s *clusterStore) create(ctx context.Context, pods []v1alpha1.StartedPod) error {
	node := &metav1.PartialObjectMetadata{}
	node.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Node"))
	if err := s.client.Get(ctx, types.NamespacedName{Name: s.node}, node); err != nil {
		return fmt.Errorf("get Node/%s: %w", s.node, err)
	}
	o := &v1alpha1.PodAddressReport{ObjectMeta: metav1.ObjectMeta{
		Name:            s.node,
		OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: node.Name, UID: node.UID}},
	}, Pods: pods}
	if err := s.client.Create(ctx, o); err != nil {
		return fmt.Errorf("create: %w", err)
	}
	return nil
}
