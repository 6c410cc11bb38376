package operator

import (
	"context"
	"fmt"
	"sync"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	clocktesting "k8s.io/utils/clock/testing"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/controllers/operator"
	"github.com/tierwall/tierwall/test/integration/env"
)

const (
	namespace = operator.DefaultNamespace
	image     = "registry.example/tierwall:v1"
)

// managerUser is whom config/rbac gives its permissions.
func managerUser() *rest.Config {
	c := server.As("system:serviceaccount:"+namespace+":tierwall-manager", "system:serviceaccounts", "system:serviceaccounts:"+namespace)
	c.QPS = -1
	return c
}

// running is a manager with nothing but the operator.
type running struct {
	cancel context.CancelFunc
	ended  chan error
	once   sync.Once
}

// start runs an operator until the spec ends, or stop.
func start(o operator.Options) *running {
	GinkgoHelper()
	if o.Image == "" && o.Pod == "" {
		o.Image = image
	}
	mgr, err := ctrl.NewManager(managerUser(), ctrl.Options{
		Scheme:  env.Scheme(),
		Cache:   cache.Options{ByObject: operator.Cache(namespace)},
		Metrics: metricsserver.Options{BindAddress: "0"},
		// Managers come one after another in this process.
		Controller: config.Controller{SkipNameValidation: ptr.To(true)},
	})
	Expect(err).NotTo(HaveOccurred())
	Expect(operator.Add(mgr, o)).To(Succeed())
	c, cancel := context.WithCancel(context.Background())
	r := &running{cancel: cancel, ended: make(chan error, 1)}
	go func() { r.ended <- mgr.Start(c) }()
	DeferCleanup(r.stop)
	return r
}

func (r *running) stop() {
	r.once.Do(func() {
		r.cancel()
		Eventually(r.ended).Should(Receive(Not(HaveOccurred())))
	})
}

// fresh leaves a cluster in which nothing was ever installed. Specs call it
// before they start an operator.
func fresh() {
	GinkgoHelper()
	wipe := func() {
		tw := &v1alpha1.Tierwall{}
		if err := admin.Get(ctx(), client.ObjectKey{Name: v1alpha1.TierwallName}, tw); err == nil {
			tw.Finalizers = nil
			Expect(client.IgnoreNotFound(admin.Update(ctx(), tw))).To(Succeed())
			Expect(client.IgnoreNotFound(admin.Delete(ctx(), tw))).To(Succeed())
		}
		// Nobody can delete a built-in tier while this binding is there; the server
		// takes a moment to see that it is not.
		Expect(admin.DeleteAllOf(ctx(), &admissionv1.ValidatingAdmissionPolicyBinding{})).To(Succeed())
		now := client.GracePeriodSeconds(0)
		for _, o := range objects() {
			Eventually(func() error { return client.IgnoreNotFound(admin.Delete(ctx(), o, now)) }).Should(Succeed())
		}
		Expect(admin.DeleteAllOf(ctx(), &corev1.Pod{}, client.InNamespace(namespace), now)).To(Succeed())
		Expect(admin.DeleteAllOf(ctx(), &v1alpha1.NodeReport{})).To(Succeed())
		Expect(client.IgnoreNotFound(admin.Delete(ctx(), mark()))).To(Succeed())
	}
	wipe()
	DeferCleanup(wipe)
}

func mark() *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: operator.MarkName}}
}

// objects are all that the operator installs.
func objects() []client.Object {
	here := metav1.ObjectMeta{Namespace: namespace, Name: operator.AgentName}
	all := metav1.ObjectMeta{Name: operator.AgentName}
	out := []client.Object{
		&appsv1.DaemonSet{ObjectMeta: here}, &corev1.Service{ObjectMeta: here}, &corev1.ServiceAccount{ObjectMeta: here},
		&rbacv1.ClusterRole{ObjectMeta: all}, &rbacv1.ClusterRoleBinding{ObjectMeta: all},
	}
	for _, name := range tiers {
		out = append(out, &v1alpha1.Tier{ObjectMeta: metav1.ObjectMeta{Name: name}})
	}
	return out
}

var tiers = []string{"kube-admin", "default", "kube-baseline"}

// read reads an object anew.
func read[T client.Object](o T) (T, error) {
	err := admin.Get(ctx(), client.ObjectKeyFromObject(o), o)
	return o, err
}

func daemonSet() (*appsv1.DaemonSet, error) {
	return read(&appsv1.DaemonSet{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: operator.AgentName}})
}

func tierwall() (*v1alpha1.Tierwall, error) {
	return read(&v1alpha1.Tierwall{ObjectMeta: metav1.ObjectMeta{Name: v1alpha1.TierwallName}})
}

// gone says whether an object is not there.
func gone(o client.Object) bool {
	return apierrors.IsNotFound(admin.Get(ctx(), client.ObjectKeyFromObject(o), o))
}

// allInstalled waits until everything is there.
func allInstalled() {
	GinkgoHelper()
	for _, o := range objects() {
		Eventually(read[client.Object]).WithArguments(o).Should(Not(BeNil()), "%T", o)
	}
}

// state is a condition in short: True Reason.
func state(kind string) func() string {
	return func() string {
		tw, err := tierwall()
		if err != nil {
			return err.Error()
		}
		c := meta.FindStatusCondition(tw.Status.Conditions, kind)
		if c == nil {
			return "none"
		}
		return fmt.Sprintf("%s %s: %s", c.Status, c.Reason, c.Message)
	}
}

// fleet plays the DaemonSet's controller and the kubelets of some nodes.
type fleet struct {
	clock *clocktesting.FakeClock
	nodes []string
}

// roll replaces the pods of these nodes by ones of the current template, which
// are ready, and reports on all. Pods of other nodes stay as they are.
func (f fleet) roll(nodes ...string) {
	GinkgoHelper()
	ds, err := daemonSet()
	Expect(err).NotTo(HaveOccurred())
	for _, n := range nodes {
		name := metav1.ObjectMeta{Namespace: namespace, Name: operator.AgentName + "-" + n}
		Expect(client.IgnoreNotFound(admin.Delete(ctx(), &corev1.Pod{ObjectMeta: name}, client.GracePeriodSeconds(0)))).To(Succeed())
		name.Labels = ds.Spec.Template.Labels
		p := &corev1.Pod{ObjectMeta: name, Spec: *ds.Spec.Template.Spec.DeepCopy()}
		p.Spec.NodeName = n
		p.Spec.NodeSelector = nil
		Expect(admin.Create(ctx(), p)).To(Succeed())
		f.set(n, corev1.ConditionTrue, "")
	}
	f.report()
}

// set says how the agent of a node is; waiting is why it does not start.
func (f fleet) set(node string, isReady corev1.ConditionStatus, waiting string) {
	GinkgoHelper()
	p, err := read(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: operator.AgentName + "-" + node}})
	Expect(err).NotTo(HaveOccurred())
	p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: isReady, LastTransitionTime: metav1.NewTime(f.clock.Now())}}
	s := corev1.ContainerStatus{Name: operator.AgentContainer, Image: image, ImageID: image}
	if waiting != "" {
		s.State.Waiting = &corev1.ContainerStateWaiting{Reason: waiting}
	}
	p.Status.ContainerStatuses = []corev1.ContainerStatus{s}
	Expect(admin.Status().Update(ctx(), p)).To(Succeed())
}

// report writes the DaemonSet's status from the pods that there are.
func (f fleet) report() {
	GinkgoHelper()
	ds, err := daemonSet()
	Expect(err).NotTo(HaveOccurred())
	pods := &corev1.PodList{}
	Expect(admin.List(ctx(), pods, client.InNamespace(namespace))).To(Succeed())
	s := appsv1.DaemonSetStatus{ObservedGeneration: ds.Generation, DesiredNumberScheduled: int32(len(f.nodes))}
	for _, p := range pods.Items {
		s.CurrentNumberScheduled++
		if p.Spec.Containers[0].Image == ds.Spec.Template.Spec.Containers[0].Image && fmt.Sprint(p.Spec.Containers[0].Args) == fmt.Sprint(ds.Spec.Template.Spec.Containers[0].Args) {
			s.UpdatedNumberScheduled++
		}
		if len(p.Status.Conditions) > 0 && p.Status.Conditions[0].Status == corev1.ConditionTrue {
			s.NumberReady++
			s.NumberAvailable++
		}
	}
	s.NumberUnavailable = s.DesiredNumberScheduled - s.NumberAvailable
	ds.Status = s
	Expect(admin.Status().Update(ctx(), ds)).To(Succeed())
}

// newFleet makes a fleet of nodes n0, n1… and the clock that its operator shares.
func newFleet(nodes int) fleet {
	f := fleet{clock: clocktesting.NewFakeClock(time.Now())}
	for i := range nodes {
		f.nodes = append(f.nodes, fmt.Sprintf("n%d", i))
	}
	return f
}
