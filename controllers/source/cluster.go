package source

import (
	"context"
	"errors"

	"k8s.io/client-go/rest"
)

// ClusterConfig finds the cluster.
func ClusterConfig(kubeconfig, context string) (*rest.Config, error) {
	return nil, errors.New("not built")
}

// FromCluster reads a live cluster.
func FromCluster(ctx context.Context, config *rest.Config) (*Result, error) {
	return nil, errors.New("not built")
}
