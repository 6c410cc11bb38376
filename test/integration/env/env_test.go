package env

import (
	"context"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	policyv1alpha2 "sigs.k8s.io/network-policy-api/apis/v1alpha2"

	"github.com/tierwall/tierwall/api/v1alpha1"
)

// TestEnvironment goes through what an environment offers, on one server.
func TestEnvironment(t *testing.T) {
	ctx := context.Background()
	e, err := Start(Options{NoCRDs: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Stop(); err != nil {
			t.Error(err)
		}
	})
	admin, err := e.Client(e.Admin())
	if err != nil {
		t.Fatal(err)
	}
	tier := &v1alpha1.Tier{ObjectMeta: metav1.ObjectMeta{Name: "security"}}
	if err := admin.Create(ctx, tier.DeepCopy()); !meta.IsNoMatchError(err) {
		t.Errorf("creating a tier before the CRDs: %v, want no match", err)
	}
	if err := e.InstallCRDs(); err != nil {
		t.Fatal(err)
	}
	if err := admin.Create(ctx, tier.DeepCopy()); err != nil {
		t.Errorf("creating a tier: %v", err)
	}
	if err := e.InstallClusterNetworkPolicyCRD(); err != nil {
		t.Fatal(err)
	}
	if err := admin.List(ctx, &policyv1alpha2.ClusterNetworkPolicyList{}); err != nil {
		t.Errorf("listing ClusterNetworkPolicies: %v", err)
	}
	nobody, err := e.Client(e.As("nobody"))
	if err != nil {
		t.Fatal(err)
	}
	if err := nobody.List(ctx, &v1alpha1.TierList{}); !apierrors.IsForbidden(err) {
		t.Errorf("a user without roles lists tiers: %v, want forbidden", err)
	}
	if err := e.Apply(ctx, "config/samples/00-cluster/namespaces.yaml", "config/samples/10-tierwall/tiers.yaml"); err != nil {
		t.Error(err)
	}
	if err := admin.Get(ctx, client.ObjectKey{Name: "shop"}, &corev1.Namespace{}); err != nil {
		t.Errorf("namespace of the samples: %v", err)
	}
	if kubeconfig, err := e.Kubeconfig("alice"); err != nil || !strings.Contains(string(kubeconfig), "client-certificate-data") {
		t.Errorf("kubeconfig of a user: %q, %v", kubeconfig, err)
	}
	restart(ctx, t, e, admin)
}

// restart takes the server down and up again and expects the data to be there.
func restart(ctx context.Context, t *testing.T, e *Env, c client.Client) {
	t.Helper()
	if err := e.StopServer(); err != nil {
		t.Fatal(err)
	}
	if err := c.List(ctx, &v1alpha1.TierList{}); err == nil {
		t.Error("a stopped server answers")
	}
	if err := e.StartServer(); err != nil {
		t.Fatal(err)
	}
	if err := c.Get(ctx, client.ObjectKey{Name: "security"}, &v1alpha1.Tier{}); err != nil {
		t.Errorf("the tier after a restart of the server: %v", err)
	}
}

// TestMissingPrograms: who has no programs is told how to get them.
func TestMissingPrograms(t *testing.T) {
	t.Setenv("KUBEBUILDER_ASSETS", t.TempDir())
	_, err := Start(Options{})
	if err == nil || !strings.Contains(err.Error(), "run hack/kube.sh once") {
		t.Errorf("got %v, want advice to run hack/kube.sh", err)
	}
}
