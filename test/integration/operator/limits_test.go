package operator

import (
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/controllers/admission"
	"github.com/tierwall/tierwall/controllers/operator"
)

// ownImage is from where the manager's own image comes from.
const ownImage = "ghcr.io/tierwall/tierwall:v9"

// agentsOf is the DaemonSet of some settings.
func agentsOf(tw *v1alpha1.Tierwall, s operator.Settings) *appsv1.DaemonSet {
	GinkgoHelper()
	for _, o := range operator.Desired(tw, s) {
		if ds, ok := o.(*appsv1.DaemonSet); ok {
			return ds
		}
	}
	Fail("no DaemonSet")
	return nil
}

// put has the holder of the manager's token apply an object, which is not stored.
func put(as client.Client, o client.Object) error {
	GinkgoHelper()
	fields, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o)
	Expect(err).NotTo(HaveOccurred())
	u := &unstructured.Unstructured{Object: fields}
	unstructured.RemoveNestedField(fields, "status")
	unstructured.RemoveNestedField(fields, "metadata", "creationTimestamp")
	unstructured.RemoveNestedField(fields, "metadata", "managedFields")
	unstructured.RemoveNestedField(fields, "metadata", "resourceVersion")
	unstructured.RemoveNestedField(fields, "metadata", "uid")
	unstructured.RemoveNestedField(fields, "metadata", "generation")
	return as.Apply(ctx(), client.ApplyConfigurationFromUnstructured(u), client.FieldOwner(operator.FieldOwner), client.ForceOwnership, client.DryRunAll)
}

// limit applies what limits the manager, and waits until the API server goes by it.
func limit(as client.Client) {
	GinkgoHelper()
	for _, o := range installed {
		if strings.HasPrefix(o.GetKind(), "ValidatingAdmissionPolicy") {
			Eventually(func() error { return apply(o) }).Should(Succeed())
		}
	}
	bad := agentsOf(&v1alpha1.Tierwall{}, operator.Settings{Image: ownImage})
	pod(bad).HostPID = true
	Eventually(func() error { return put(as, bad) }).Should(limited)
	hook := webhook()
	hook.Webhooks[0].Rules[0].APIGroups = []string{"*"}
	Eventually(func() error { return put(as, hook) }).Should(limited)
}

// limited matches the refusal of a policy that limits the manager.
var limited = MatchError(ContainSubstring("ValidatingAdmissionPolicy 'tierwall-manager-"))

// webhook is the webhook's configuration as it is installed.
func webhook() *admissionv1.ValidatingWebhookConfiguration {
	GinkgoHelper()
	w := &admissionv1.ValidatingWebhookConfiguration{}
	for _, o := range installed {
		if o.GetKind() == "ValidatingWebhookConfiguration" {
			Expect(runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, w)).To(Succeed())
		}
	}
	Expect(w.Name).To(Equal(admission.WebhookName))
	return w
}

var _ = Describe("The manager's token", Ordered, ContinueOnFailure, func() {
	var thief client.Client

	BeforeAll(func() {
		fresh()
		var err error
		thief, err = server.Client(managerUser())
		Expect(err).NotTo(HaveOccurred())
		for _, o := range operator.Desired(&v1alpha1.Tierwall{}, operator.Settings{}) {
			if role, ok := o.(*rbacv1.ClusterRole); ok {
				Expect(admin.Create(ctx(), role)).To(Succeed())
			}
		}
		limit(thief)
	})

	It("is good for every variant of the agents", func() {
		for _, plane := range []v1alpha1.Dataplane{"", v1alpha1.DataplaneAuto, v1alpha1.DataplaneNFTables, v1alpha1.DataplaneIPTables} {
			for _, startup := range []v1alpha1.PodStartup{"", v1alpha1.PodStartupWait, v1alpha1.PodStartupRequire, v1alpha1.PodStartupOff} {
				for _, access := range []v1alpha1.MetricsAccess{"", v1alpha1.MetricsAuthenticated, v1alpha1.MetricsLoopback, v1alpha1.MetricsOpen} {
					for _, image := range []string{"", "ghcr.io/tierwall/tierwall", "ghcr.io/tierwall/tierwall@sha256:0123456789012345678901234567890123456789012345678901234567890123"} {
						for _, cleanup := range []bool{false, true} {
							tw := &v1alpha1.Tierwall{}
							tw.Spec.Dataplane, tw.Spec.PodStartup = plane, startup
							tw.Spec.Metrics = v1alpha1.MetricsSpec{Access: access, Port: ptr.To[int32](9999)}
							tw.Spec.Agent.Image = image
							tw.Spec.Agent.NodeSelector = map[string]string{"pool": "workers"}
							tw.Spec.Agent.Tolerations = []corev1.Toleration{{Key: "a", Operator: corev1.TolerationOpExists}}
							Expect(put(thief, agentsOf(tw, operator.Settings{Image: ownImage, Cleanup: cleanup}))).To(Succeed(),
								"dataplane %q, podStartup %q, access %q, image %q, cleanup %v", plane, startup, access, image, cleanup)
						}
					}
				}
			}
		}
	})

	DescribeTable("does not turn the agents into something else", func(how func(*corev1.PodSpec, *corev1.Container), why string) {
		tw := &v1alpha1.Tierwall{}
		tw.Spec.Dataplane = v1alpha1.DataplaneIPTables // which has the most
		ds := agentsOf(tw, operator.Settings{Image: ownImage})
		Expect(put(thief, ds)).To(Succeed())
		how(pod(ds), &pod(ds).Containers[0])
		Expect(put(thief, ds)).To(And(limited, MatchError(ContainSubstring(why))))
	},
		Entry("privileged", func(_ *corev1.PodSpec, c *corev1.Container) {
			c.SecurityContext.Privileged, c.SecurityContext.AllowPrivilegeEscalation = ptr.To(true), nil
		}, "no capability but NET_ADMIN"),
		Entry("a capability", func(_ *corev1.PodSpec, c *corev1.Container) {
			c.SecurityContext.Capabilities.Add = append(c.SecurityContext.Capabilities.Add, "SYS_ADMIN")
		}, "no capability but NET_ADMIN"),
		Entry("all capabilities", func(_ *corev1.PodSpec, c *corev1.Container) { c.SecurityContext.Capabilities.Drop = nil }, "no capability but NET_ADMIN"),
		Entry("no security context", func(_ *corev1.PodSpec, c *corev1.Container) { c.SecurityContext = nil }, "no capability but NET_ADMIN"),
		Entry("privilege escalation", func(_ *corev1.PodSpec, c *corev1.Container) { c.SecurityContext.AllowPrivilegeEscalation = nil }, "privilege escalation"),
		Entry("a root that can be written", func(_ *corev1.PodSpec, c *corev1.Container) { c.SecurityContext.ReadOnlyRootFilesystem = nil }, "read-only root"),
		Entry("no seccomp", func(p *corev1.PodSpec, _ *corev1.Container) { p.SecurityContext.SeccompProfile = nil }, "RuntimeDefault"),
		Entry("unconfined", func(_ *corev1.PodSpec, c *corev1.Container) {
			c.SecurityContext.SeccompProfile = &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeUnconfined}
		}, "no capability but NET_ADMIN"),
		Entry("without AppArmor", func(p *corev1.PodSpec, _ *corev1.Container) {
			p.SecurityContext.AppArmorProfile = &corev1.AppArmorProfile{Type: corev1.AppArmorProfileTypeUnconfined}
		}, "no other security setting"),
		Entry("SELinux", func(p *corev1.PodSpec, _ *corev1.Container) {
			p.SecurityContext.SELinuxOptions = &corev1.SELinuxOptions{Type: "spc_t"}
		}, "no other security setting"),
		Entry("sysctls", func(p *corev1.PodSpec, _ *corev1.Container) {
			p.SecurityContext.Sysctls = []corev1.Sysctl{{Name: "kernel.msgmax", Value: "1"}}
		}, "no other security setting"),
		Entry("another runtime", func(p *corev1.PodSpec, _ *corev1.Container) { p.RuntimeClassName = ptr.To("other") }, "no other security setting"),
		Entry("the node's processes", func(p *corev1.PodSpec, _ *corev1.Container) { p.HostPID = true }, "no other namespace"),
		Entry("the node's IPC", func(p *corev1.PodSpec, _ *corev1.Container) { p.HostIPC = true }, "no other namespace"),
		Entry("the node's root", func(p *corev1.PodSpec, _ *corev1.Container) { p.Volumes[0].HostPath.Path = "/" }, "no other volume"),
		Entry("more of /var/run", func(p *corev1.PodSpec, _ *corev1.Container) { p.Volumes[0].HostPath.Path = "/var/run" }, "no other volume"),
		Entry("a secret", func(p *corev1.PodSpec, _ *corev1.Container) {
			p.Volumes[0].VolumeSource = corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: admission.SecretName}}
		}, "no other volume"),
		Entry("the runtime's socket to be replaced", func(_ *corev1.PodSpec, c *corev1.Container) {
			for i := range c.VolumeMounts {
				c.VolumeMounts[i].ReadOnly = false
			}
		}, "only read /var/run/nri"),
		Entry("mounts that reach the node", func(_ *corev1.PodSpec, c *corev1.Container) {
			c.VolumeMounts[0].MountPropagation = ptr.To(corev1.MountPropagationHostToContainer)
		}, "mount whole volumes"),
		Entry("another registry", func(_ *corev1.PodSpec, c *corev1.Container) { c.Image = "evil.example/tierwall/tierwall:v9" }, "tierwall.io/agent-images"),
		Entry("a registry whose name begins so", func(_ *corev1.PodSpec, c *corev1.Container) { c.Image = "ghcr.io.evil.example/tierwall/tierwall:v9" }, "tierwall.io/agent-images"),
		Entry("a repository whose name begins so", func(_ *corev1.PodSpec, c *corev1.Container) { c.Image = "ghcr.io/tierwall/tierwall-evil:v9" }, "tierwall.io/agent-images"),
		Entry("the registry's name as a repository", func(_ *corev1.PodSpec, c *corev1.Container) { c.Image = "ghcr.io" }, "tierwall.io/agent-images"),
		Entry("another program", func(_ *corev1.PodSpec, c *corev1.Container) { c.Command = []string{"/bin/sh", "-c", "id"} }, "command agent"),
		Entry("another command", func(_ *corev1.PodSpec, c *corev1.Container) { c.Args[0] = "manager" }, "command agent"),
		Entry("no command", func(_ *corev1.PodSpec, c *corev1.Container) { c.Args = nil }, "command agent"),
		Entry("another argument", func(_ *corev1.PodSpec, c *corev1.Container) {
			c.Args = append(c.Args, "--kubeconfig=/var/lib/tierwall/x")
		}, "command agent"),
		Entry("metrics elsewhere", func(_ *corev1.PodSpec, c *corev1.Container) {
			c.Args = append(c.Args, "--metrics-addr=:1\n--state-dir=/")
		}, "command agent"),
		Entry("a variable", func(_ *corev1.PodSpec, c *corev1.Container) {
			c.Env = append(c.Env, corev1.EnvVar{Name: "LD_PRELOAD", Value: "/var/lib/tierwall/x.so"})
		}, "environment"),
		Entry("a secret's content", func(_ *corev1.PodSpec, c *corev1.Container) {
			c.EnvFrom = []corev1.EnvFromSource{{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "x"}}}}
		}, "environment"),
		Entry("a second container", func(p *corev1.PodSpec, c *corev1.Container) {
			p.Containers = append(p.Containers, corev1.Container{Name: "more", Image: c.Image})
		}, "one container"),
		Entry("a container before", func(p *corev1.PodSpec, c *corev1.Container) {
			p.InitContainers = []corev1.Container{{Name: "first", Image: c.Image}}
		}, "one container"),
		Entry("a hook", func(_ *corev1.PodSpec, c *corev1.Container) {
			c.Lifecycle = &corev1.Lifecycle{PostStart: &corev1.LifecycleHandler{Exec: &corev1.ExecAction{Command: []string{"id"}}}}
		}, "nothing is executed"),
		Entry("a probe that executes", func(_ *corev1.PodSpec, c *corev1.Container) {
			c.LivenessProbe.ProbeHandler = corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{"id"}}}
		}, "nothing is executed"),
		Entry("another account", func(p *corev1.PodSpec, _ *corev1.Container) { p.ServiceAccountName = operator.ManagerName }, "ServiceAccount tierwall-agent"),
	)

	DescribeTable("does not change what else it may write", func(o func() client.Object, why string) {
		Expect(put(thief, o())).To(And(limited, MatchError(ContainSubstring(why))))
	},
		Entry("a webhook for all that is stored", func() client.Object {
			w := webhook()
			w.Webhooks[0].Rules[0].APIGroups, w.Webhooks[0].Rules[0].Resources = []string{"*"}, []string{"*"}
			return w
		}, "the webhook is for the kinds of tierwall.io"),
		Entry("a webhook for secrets beside", func() client.Object {
			w := webhook()
			more := *w.Webhooks[0].DeepCopy()
			more.Name, more.Rules[0].APIGroups, more.Rules[0].Resources = "more.tierwall.io", []string{""}, []string{"secrets"}
			w.Webhooks = append(w.Webhooks, more)
			return w
		}, "the webhook is for the kinds of tierwall.io"),
		Entry("a webhook elsewhere", func() client.Object {
			w := webhook()
			w.Webhooks[0].ClientConfig.Service.Namespace = "default"
			return w
		}, "the webhook is for the kinds of tierwall.io"),
		Entry("a webhook that stops everything", func() client.Object {
			w := webhook()
			w.Webhooks[0].FailurePolicy = ptr.To(admissionv1.Fail)
			return w
		}, "the webhook is for the kinds of tierwall.io"),
		Entry("others' traffic", func() client.Object {
			return &corev1.Service{
				TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Service"}, ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: admission.ServiceName},
				Spec: corev1.ServiceSpec{Selector: map[string]string{"app.kubernetes.io/name": "tierwall"}, ExternalIPs: []string{"203.0.113.1"}, Ports: []corev1.ServicePort{{Name: "webhook", Port: 443, Protocol: corev1.ProtocolTCP, TargetPort: intstr.FromInt32(9443)}}},
			}
		}, "no external addresses"),
		Entry("the agents' role for others", func() client.Object {
			return &rbacv1.ClusterRoleBinding{
				TypeMeta: metav1.TypeMeta{APIVersion: "rbac.authorization.k8s.io/v1", Kind: "ClusterRoleBinding"}, ObjectMeta: metav1.ObjectMeta{Name: operator.AgentName},
				RoleRef:  rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: operator.AgentName},
				Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "Group", Name: "system:authenticated"}},
			}
		}, "the agents' ServiceAccount alone"),
		Entry("a tier of its own", func() client.Object {
			return &v1alpha1.Tier{TypeMeta: metav1.TypeMeta{APIVersion: "tierwall.io/v1alpha1", Kind: "Tier"}, ObjectMeta: metav1.ObjectMeta{Name: "first"}, Spec: v1alpha1.TierSpec{Order: ptr.To(1.0)}}
		}, "the manager changes no tier"),
		Entry("settings", func() client.Object {
			return &v1alpha1.Tierwall{TypeMeta: metav1.TypeMeta{APIVersion: "tierwall.io/v1alpha1", Kind: "Tierwall"}, ObjectMeta: metav1.ObjectMeta{Name: v1alpha1.TierwallName}, Spec: v1alpha1.TierwallSpec{UnknownWorkloads: v1alpha1.Allow}}
		}, "the manager changes no setting"),
	)

	It("does not change people's tiers and settings", func() {
		tier := &v1alpha1.Tier{ObjectMeta: metav1.ObjectMeta{Name: "security"}, Spec: v1alpha1.TierSpec{Order: ptr.To(10.0)}}
		tw := &v1alpha1.Tierwall{ObjectMeta: metav1.ObjectMeta{Name: v1alpha1.TierwallName}}
		for _, o := range []client.Object{tier, tw} {
			Expect(admin.Create(ctx(), o)).To(Succeed())
			DeferCleanup(func() { Expect(client.IgnoreNotFound(admin.Delete(ctx(), o))).To(Succeed()) })
		}
		try := func(o client.Object, patch string) error {
			return thief.Patch(ctx(), o, client.RawPatch(types.MergePatchType, []byte(patch)), client.DryRunAll)
		}
		Expect(try(tier.DeepCopy(), `{"spec":{"defaultAction":"Pass"}}`)).To(limited)
		Expect(try(tier.DeepCopy(), `{"metadata":{"finalizers":["tierwall.io/policies"]}}`)).To(Succeed())
		Expect(try(tw.DeepCopy(), `{"spec":{"agent":{"image":"evil.example/x"}}}`)).To(limited)
		Expect(try(tw.DeepCopy(), `{"spec":{"sourceGuard":"Off"}}`)).To(limited)
		Expect(try(tw.DeepCopy(), `{"metadata":{"finalizers":["`+operator.Finalizer+`"]}}`)).To(Succeed())
	})

	It("does not touch the policies that limit it, and starts nothing else", func() {
		forbidden := Satisfy(apierrors.IsForbidden)
		for _, o := range installed {
			if !strings.HasPrefix(o.GetKind(), "ValidatingAdmissionPolicy") {
				continue
			}
			Expect(thief.Delete(ctx(), o.DeepCopy(), client.DryRunAll)).To(forbidden, o.GetName())
			Expect(thief.Patch(ctx(), o.DeepCopy(), client.RawPatch(types.MergePatchType, []byte(`{"spec":{"validations":[]}}`)), client.DryRunAll)).To(forbidden, o.GetName())
			Expect(put(thief, o)).To(forbidden, o.GetName())
			Expect(thief.Get(ctx(), client.ObjectKeyFromObject(o), o.DeepCopy())).To(Succeed(), o.GetName())
		}
		template := corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"a": "b"}}, Spec: corev1.PodSpec{
			RestartPolicy: corev1.RestartPolicyNever, Containers: []corev1.Container{{Name: "c", Image: ownImage}},
		}}
		here, selector := metav1.ObjectMeta{Namespace: namespace, Name: "other"}, &metav1.LabelSelector{MatchLabels: template.Labels}
		for _, o := range []client.Object{
			&corev1.Pod{ObjectMeta: here, Spec: template.Spec},
			&appsv1.Deployment{ObjectMeta: here, Spec: appsv1.DeploymentSpec{Selector: selector, Template: template}},
			&appsv1.DaemonSet{ObjectMeta: here, Spec: appsv1.DaemonSetSpec{Selector: selector, Template: template}},
			&batchv1.Job{ObjectMeta: here, Spec: batchv1.JobSpec{Template: template}},
			&corev1.Secret{ObjectMeta: here},
			&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "other"}},
		} {
			Expect(thief.Create(ctx(), o, client.DryRunAll)).To(forbidden, "%T", o)
		}
		ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}
		Expect(thief.Patch(ctx(), ns, client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"annotations":{"tierwall.io/agent-images":"evil.example/x"}}}`)), client.DryRunAll)).To(forbidden)
	})
})

var _ = Describe("An operator that is limited", func() {
	BeforeEach(fresh)

	It("installs, changes, repairs and removes as one that is not", func() {
		thief, err := server.Client(managerUser())
		Expect(err).NotTo(HaveOccurred())
		limit(thief)
		f := newFleet(1)
		start(operator.Options{Image: ownImage, Clock: f.clock})
		allInstalled()
		Eventually(state(operator.ConditionDegraded)).Should(HavePrefix("False AsDesired"))
		for _, plane := range []v1alpha1.Dataplane{v1alpha1.DataplaneIPTables, v1alpha1.DataplaneNFTables} {
			change(func(tw *v1alpha1.Tierwall) { tw.Spec.Dataplane = plane })
			Eventually(daemonSet).Should(HaveField("Spec.Template.Spec.Containers", ContainElement(HaveField("Args", ContainElement("--dataplane="+strings.ToLower(string(plane)))))))
		}
		deleted(&appsv1.DaemonSet{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: operator.AgentName}})
		Eventually(daemonSet).Should(enforcing)
		Eventually(state(operator.ConditionDegraded)).Should(HavePrefix("False AsDesired"))
		f.roll(f.nodes...)
		tw, err := tierwall()
		Expect(err).NotTo(HaveOccurred())
		deleted(tw)
		Eventually(daemonSet).Should(HaveField("Spec.Template.Spec.Containers", ContainElement(HaveField("Args", ContainElement("--cleanup")))))
		f.roll(f.nodes...)
		Eventually(gone).WithArguments(client.Object(tw)).Should(BeTrue())
	})

	It("goes on with the repository of before, and takes another one where an administrator names it", func() {
		thief, err := server.Client(managerUser())
		Expect(err).NotTo(HaveOccurred())
		start(operator.Options{Image: "mirror.example:5000/tierwall:v1"}) // before there were limits
		allInstalled()
		limit(thief)
		change(func(tw *v1alpha1.Tierwall) { tw.Spec.Metrics.Port = ptr.To[int32](9999) })
		Eventually(daemonSet).Should(HaveField("Spec.Template.Spec.Containers", ContainElement(HaveField("Args", ContainElement("--metrics-addr=:9999")))))
		Eventually(state(operator.ConditionDegraded)).Should(HavePrefix("False AsDesired"))

		change(func(tw *v1alpha1.Tierwall) { tw.Spec.Agent.Image = "mirror.example:5000/tierwall:v2" })
		Eventually(daemonSet).Should(HaveField("Spec.Template.Spec.Containers", ContainElement(HaveField("Image", "mirror.example:5000/tierwall:v2"))))

		change(func(tw *v1alpha1.Tierwall) { tw.Spec.Agent.Image = "other.example/tierwall:v2" })
		Eventually(state(operator.ConditionDegraded)).Should(And(HavePrefix("True "), ContainSubstring(
			"name other.example/tierwall in the annotation tierwall.io/agent-images of Namespace "+namespace)))
		annotate := func(value string) {
			ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}
			Expect(admin.Patch(ctx(), ns, client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"annotations":{"tierwall.io/agent-images":"`+value+`"}}}`)))).To(Succeed())
		}
		annotate("ghcr.io/tierwall/tierwall, other.example/tierwall")
		DeferCleanup(annotate, "ghcr.io/tierwall/tierwall")
		change(func(tw *v1alpha1.Tierwall) { tw.Spec.Metrics.Port = ptr.To[int32](9998) })
		Eventually(daemonSet).Should(HaveField("Spec.Template.Spec.Containers", ContainElement(HaveField("Image", "other.example/tierwall:v2"))))
	})
})
