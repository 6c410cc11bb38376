package install

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/controllers/operator"
)

func TestNamespace(t *testing.T) {
	objects, err := Render("config/default")
	if err != nil {
		t.Fatal(err)
	}
	var ns corev1.Namespace
	find(t, objects, "Namespace", operator.DefaultNamespace, &ns)
	for _, mode := range []string{"enforce", "audit", "warn"} {
		if got := ns.Labels["pod-security.kubernetes.io/"+mode]; got != "privileged" {
			t.Errorf("%s is %q", mode, got)
		}
	}
	for _, o := range objects {
		if got := o.GetNamespace(); got != "" && got != operator.DefaultNamespace {
			t.Errorf("%s/%s is in namespace %s", o.GetKind(), o.GetName(), got)
		}
		if o.GetLabels()["app.kubernetes.io/part-of"] != "tierwall" && o.GetKind() != "CustomResourceDefinition" {
			t.Errorf("%s/%s is not labelled as a part of Tierwall", o.GetKind(), o.GetName())
		}
		if o.GetKind() == "Tierwall" || o.GetKind() == "Secret" {
			t.Errorf("%s/%s is installed", o.GetKind(), o.GetName())
		}
	}
}

// The manager satisfies the pod security level "restricted", and survives a drain.
func TestManager(t *testing.T) {
	objects, err := Render("config/default")
	if err != nil {
		t.Fatal(err)
	}
	var d appsv1.Deployment
	find(t, objects, "Deployment", operator.ManagerName, &d)
	pod := d.Spec.Template.Spec
	if *d.Spec.Replicas < 2 || pod.Affinity == nil || pod.Affinity.PodAntiAffinity == nil {
		t.Error("one failing node takes all replicas")
	}
	if pod.HostNetwork || pod.HostPID || pod.HostIPC {
		t.Error("the manager shares the node's namespaces")
	}
	if s := pod.SecurityContext; !*s.RunAsNonRoot || *s.RunAsUser == 0 || s.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault {
		t.Errorf("%+v", s)
	}
	for _, v := range pod.Volumes {
		if v.HostPath != nil {
			t.Errorf("volume %s is the node's", v.Name)
		}
	}
	if len(pod.Containers) != 1 || len(pod.InitContainers) != 0 {
		t.Fatalf("%d containers", len(pod.Containers))
	}
	c := pod.Containers[0]
	if c.Name != operator.ManagerContainer {
		t.Errorf("the container is called %s", c.Name)
	}
	if s := c.SecurityContext; *s.AllowPrivilegeEscalation || !*s.ReadOnlyRootFilesystem || !slices.Equal(s.Capabilities.Drop, []corev1.Capability{"ALL"}) || len(s.Capabilities.Add) > 0 {
		t.Errorf("%+v", s)
	}
	if c.LivenessProbe == nil || c.ReadinessProbe == nil || c.Resources.Requests.Memory().IsZero() {
		t.Error("probes or requests are missing")
	}
	var budget policyv1.PodDisruptionBudget
	find(t, objects, "PodDisruptionBudget", operator.ManagerName, &budget)
	var service corev1.Service
	find(t, objects, "Service", operator.ManagerName, &service)
	selector, err := metav1.LabelSelectorAsSelector(budget.Spec.Selector)
	if err != nil {
		t.Fatal(err)
	}
	for what, s := range map[string]labels.Selector{"budget": selector, "service": labels.SelectorFromSet(service.Spec.Selector)} {
		if !s.Matches(labels.Set(d.Spec.Template.Labels)) {
			t.Errorf("the %s does not select the manager", what)
		}
		if s.Matches(labels.Set(agents(t).Spec.Template.Labels)) {
			t.Errorf("the %s selects the agents", what)
		}
	}
}

// agents is the agents' DaemonSet of the default settings.
func agents(t *testing.T) *appsv1.DaemonSet {
	t.Helper()
	return agentsOf(t, &v1alpha1.Tierwall{})
}

func agentsOf(t *testing.T, tw *v1alpha1.Tierwall) *appsv1.DaemonSet {
	t.Helper()
	for _, o := range operator.Desired(tw, operator.Settings{Image: "x"}) {
		if ds, ok := o.(*appsv1.DaemonSet); ok {
			return ds
		}
	}
	t.Fatal("no DaemonSet")
	return nil
}

// mounted are the folders of the node that a pod has, and whether it only reads
// them. A volume that is not such a folder goes by its name.
func mounted(pod *corev1.PodSpec) map[string]bool {
	out := map[string]bool{}
	for _, v := range pod.Volumes {
		path := v.Name
		if v.HostPath != nil {
			path = v.HostPath.Path
		}
		out[path] = !slices.ContainsFunc(pod.Containers, func(c corev1.Container) bool {
			return slices.ContainsFunc(c.VolumeMounts, func(m corev1.VolumeMount) bool { return m.Name == v.Name && !m.ReadOnly })
		})
	}
	return out
}

// The agents have the one capability that they need, and nothing of the node's
// but its network, a folder of their own for what they keep, which they alone write
// to, and that of the container runtime's socket, which is left out if it is not used.
func TestAgents(t *testing.T) {
	pod := agents(t).Spec.Template.Spec
	const state, nri = "/var/lib/tierwall", "/var/run/nri"
	if got, want := mounted(&pod), (map[string]bool{state: false, nri: true}); !maps.Equal(got, want) {
		t.Errorf("folders of the node, and whether they are only read: %v, want %v", got, want)
	}
	alone := agentsOf(t, &v1alpha1.Tierwall{Spec: v1alpha1.TierwallSpec{PodStartup: v1alpha1.PodStartupOff}}).Spec.Template.Spec
	if got, want := mounted(&alone), (map[string]bool{state: false}); !maps.Equal(got, want) {
		t.Errorf("podStartup Off: folders of the node, and whether they are only read: %v, want %v", got, want)
	}
	if !pod.HostNetwork || pod.HostPID || pod.HostIPC || len(pod.InitContainers) > 0 || len(pod.Containers) != 1 {
		t.Errorf("%+v", pod)
	}
	s := pod.Containers[0].SecurityContext
	if *s.Privileged || *s.AllowPrivilegeEscalation || !*s.ReadOnlyRootFilesystem ||
		!slices.Equal(s.Capabilities.Drop, []corev1.Capability{"ALL"}) || !slices.Equal(s.Capabilities.Add, []corev1.Capability{"NET_ADMIN"}) {
		t.Errorf("%+v", s)
	}
	if pod.SecurityContext.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault {
		t.Errorf("%+v", pod.SecurityContext)
	}
}

// The images are named in one place.
func TestImageIsNamedOnce(t *testing.T) {
	root, err := Root()
	if err != nil {
		t.Fatal(err)
	}
	err = filepath.WalkDir(filepath.Join(root, "config"), func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if strings.Contains(string(data), "ghcr.io/tierwall") && !strings.HasSuffix(path, "config/operator/kustomization.yaml") {
			t.Errorf("%s names the image", path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// The namespace can be another one: the manager is told by its pod.
func TestNamespaceIsNotAnArgument(t *testing.T) {
	objects, err := Render("config/operator")
	if err != nil {
		t.Fatal(err)
	}
	var d appsv1.Deployment
	find(t, objects, "Deployment", operator.ManagerName, &d)
	c := d.Spec.Template.Spec.Containers[0]
	for _, arg := range c.Args {
		if strings.Contains(arg, operator.DefaultNamespace) {
			t.Errorf("argument %s", arg)
		}
	}
	env := map[string]string{}
	for _, e := range c.Env {
		if e.ValueFrom != nil && e.ValueFrom.FieldRef != nil {
			env[e.Name] = e.ValueFrom.FieldRef.FieldPath
		}
	}
	if env["POD_NAMESPACE"] != "metadata.namespace" || env["POD_NAME"] != "metadata.name" {
		t.Errorf("%v", env)
	}
}

// Samples and manifests hold what the Go types know, so that a typing error is found.
func TestManifestsAreStrict(t *testing.T) {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{corev1.AddToScheme, appsv1.AddToScheme, policyv1.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	objects, err := Render("config/default")
	if err != nil {
		t.Fatal(err)
	}
	known := 0
	for _, o := range objects {
		typed, err := scheme.New(o.GroupVersionKind())
		if runtime.IsNotRegisteredError(err) {
			continue // the API server's turn, in test/integration
		}
		if err != nil {
			t.Fatal(err)
		}
		known++
		into, ok := typed.(client.Object)
		if !ok {
			t.Fatalf("%T", typed)
		}
		convert(t, o, into)
	}
	if known < 5 {
		t.Errorf("only %d objects were looked at", known)
	}
}
