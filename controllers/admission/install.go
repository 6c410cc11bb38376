package admission

import (
	"bufio"
	"bytes"
	"context"
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/yaml"

	webhookmanifests "github.com/tierwall/tierwall/config/webhook"
)

// installer keeps the objects of config/webhook in place. `kubectl apply -k` has
// already created them, but a bundle of the Operator Lifecycle Manager cannot contain
// all of them, and one may have been deleted.
type installer struct {
	client  client.Client
	clock   clock.Clock
	objects []*unstructured.Unstructured
	period  time.Duration
}

var (
	_ manager.Runnable               = (*installer)(nil)
	_ manager.LeaderElectionRunnable = (*installer)(nil)
)

// NeedLeaderElection is true: one replica is enough.
func (*installer) NeedLeaderElection() bool { return true }

// Start applies the objects now and then until the context ends. Where they are as
// they should be, that changes nothing.
func (in *installer) Start(ctx context.Context) error {
	logger := log.FromContext(ctx).WithName("admission")
	for {
		if err := in.apply(ctx); err != nil && ctx.Err() == nil {
			logger.Error(err, "installing what leads to the webhook")
		}
		select {
		case <-ctx.Done():
			return nil
		case <-in.clock.After(in.period):
		}
	}
}

// apply applies all objects; one that fails stops none.
func (in *installer) apply(ctx context.Context) error {
	var errs []error
	for _, o := range in.objects {
		err := in.client.Apply(ctx, client.ApplyConfigurationFromUnstructured(o.DeepCopy()), fieldOwner, client.ForceOwnership)
		if err != nil {
			errs = append(errs, fmt.Errorf("applying %s/%s: %w", o.GetKind(), o.GetName(), err))
		}
	}
	return errors.Join(errs...)
}

// read reads the objects of a folder's files.
func read(folder embed.FS) ([]*unstructured.Unstructured, error) {
	files, err := fs.Glob(folder, "*.yaml")
	if err != nil {
		return nil, err
	}
	var out []*unstructured.Unstructured
	for _, file := range files {
		data, err := folder.ReadFile(file)
		if err != nil {
			return nil, err
		}
		list, err := parse(data)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		out = append(out, list...)
	}
	return out, nil
}

// objects are those of config/webhook, for a manager in that namespace.
func objects(namespace string) ([]*unstructured.Unstructured, error) {
	out, err := read(webhookmanifests.Files)
	if err != nil {
		return nil, fmt.Errorf("config/webhook: %w", err)
	}
	for _, o := range out {
		if err := settle(o, namespace); err != nil {
			return nil, fmt.Errorf("%s/%s: %w", o.GetKind(), o.GetName(), err)
		}
	}
	return out, nil
}

// parse reads the objects of a file, kustomizations left out.
func parse(data []byte) ([]*unstructured.Unstructured, error) {
	var out []*unstructured.Unstructured
	for r := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(data))); ; {
		text, err := r.Read()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
		o := &unstructured.Unstructured{}
		if err := yaml.Unmarshal(text, &o.Object); err != nil {
			return nil, err
		}
		if o.Object != nil && o.GetKind() != "Kustomization" {
			out = append(out, o)
		}
	}
}

// settle puts an object, or the Service that it names, into the manager's namespace.
func settle(o *unstructured.Unstructured, namespace string) error {
	if o.GetNamespace() != "" {
		o.SetNamespace(namespace)
	}
	if o.GetKind() != "ValidatingWebhookConfiguration" {
		return nil
	}
	webhooks, _, err := unstructured.NestedSlice(o.Object, "webhooks")
	if err != nil {
		return err
	}
	for _, w := range webhooks {
		hook, ok := w.(map[string]any)
		if !ok {
			return errors.New("a webhook is not an object")
		}
		if err := unstructured.SetNestedField(hook, namespace, "clientConfig", "service", "namespace"); err != nil {
			return err
		}
	}
	return unstructured.SetNestedSlice(o.Object, webhooks, "webhooks")
}
