//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/tierwall/tierwall/test/cluster/install"
)

// applied are the objects of the present spec.
var applied []*unstructured.Unstructured

// apply creates or replaces the objects of manifests. They are removed when the
// spec is over.
func apply(ctx context.Context, manifests string) []*unstructured.Unstructured {
	GinkgoHelper()
	all := parse(manifests)
	for _, want := range all {
		applied = append(applied, want)
		// What was there is replaced, and not merged.
		Eventually(ctx, func() error {
			live := want.DeepCopy()
			err := admin.Get(ctx, client.ObjectKeyFromObject(want), live)
			if apierrors.IsNotFound(err) {
				return admin.Create(ctx, want.DeepCopy())
			}
			if err != nil {
				return err
			}
			next := want.DeepCopy()
			next.SetResourceVersion(live.GetResourceVersion())
			next.SetFinalizers(live.GetFinalizers())
			return admin.Update(ctx, next)
		}).Should(Succeed(), "%s %s", want.GetKind(), want.GetName())
	}
	return all
}

// clean removes what the spec has applied.
func clean(ctx SpecContext) {
	all := applied
	applied = nil
	remove(ctx, all...)
}

// remove deletes objects, the last first, and waits until all are gone: a tier
// stays as long as it has policies.
func remove(ctx context.Context, all ...*unstructured.Unstructured) {
	GinkgoHelper()
	for _, o := range slices.Backward(all) {
		err := admin.Delete(ctx, o.DeepCopy())
		if !meta.IsNoMatchError(err) { // its kind is gone, and it with it
			Expect(client.IgnoreNotFound(err)).To(Succeed())
		}
	}
	for _, o := range all {
		Eventually(ctx, func() bool {
			err := admin.Get(ctx, client.ObjectKeyFromObject(o), o.DeepCopy())
			return apierrors.IsNotFound(err) || meta.IsNoMatchError(err)
		}).Should(BeTrue(), "%s %s stays", o.GetKind(), o.GetName())
	}
}

func parse(manifests string) []*unstructured.Unstructured {
	GinkgoHelper()
	var all []*unstructured.Unstructured
	d := yaml.NewYAMLOrJSONDecoder(strings.NewReader(manifests), 4096)
	for {
		o := &unstructured.Unstructured{}
		err := d.Decode(&o.Object)
		if errors.Is(err, io.EOF) {
			return all
		}
		Expect(err).NotTo(HaveOccurred())
		if len(o.Object) > 0 {
			all = append(all, o)
		}
	}
}

// kubectl runs kubectl as the administrator and returns what it printed.
func kubectl(ctx context.Context, args ...string) string {
	GinkgoHelper()
	out, err := install.Kubectl(ctx, bed, how, "", args...)
	Expect(err).NotTo(HaveOccurred())
	return out
}

// run runs a command on a machine and returns all that it printed.
func run(ctx context.Context, machine string, argv ...string) (string, error) {
	c := bed.Command(ctx, machine, argv...)
	var out bytes.Buffer
	c.Stdout, c.Stderr = &out, &out
	err := c.Run()
	if err != nil {
		err = fmt.Errorf("%s: %s: %w\n%s", machine, strings.Join(argv, " "), err, out.String())
	}
	return out.String(), err
}

// keyOf is the key of an object without a namespace.
func keyOf(name string) client.ObjectKey { return client.ObjectKey{Name: name} }

// label sets a label of a core object, or removes it if value is empty. The spec
// removes it at its end.
func label(ctx context.Context, kind string, key client.ObjectKey, name, value string) {
	GinkgoHelper()
	text := "null"
	if value != "" {
		text = fmt.Sprintf("%q", value)
		DeferCleanup(func(ctx SpecContext) { label(ctx, kind, key, name, "") })
	}
	o := &unstructured.Unstructured{}
	o.SetAPIVersion("v1")
	o.SetKind(kind)
	o.SetNamespace(key.Namespace)
	o.SetName(key.Name)
	patch := fmt.Sprintf(`{"metadata":{"labels":{%q:%s}}}`, name, text)
	Expect(admin.Patch(ctx, o, client.RawPatch(types.MergePatchType, []byte(patch)))).To(Succeed())
}

// block is the IPv4 address of a place as a block.
func block(p *place) string {
	return netip.PrefixFrom(p.addresses[0], 32).String()
}
