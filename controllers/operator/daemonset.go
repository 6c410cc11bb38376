package operator

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/tierwall/tierwall/api/v1alpha1"
)

// priorityClass of the agents: the cluster's own for what a node cannot do
// without. A class of Tierwall's could not be as high, and the kubelet makes room
// only for these.
const priorityClass = "system-node-critical"

// loopback is where the kubelet probes the agent. The agent shares the node's network,
// so neither policies nor address families get in the way.
const loopback = "127.0.0.1"

// daemonSet is the agents.
func daemonSet(tw *v1alpha1.Tierwall, s Settings) client.Object {
	labels := ownLabels()
	labels[modeLabel] = modeEnforce
	// Agents leave the kernel's rules in place while they are replaced: a tenth
	// of the nodes at a time is no risk, and a bad version stops at that.
	unavailable := intstr.FromString("10%")
	if s.Cleanup {
		labels[modeLabel] = modeCleanup
		unavailable = intstr.FromString("100%")
	}
	ds := &appsv1.DaemonSet{
		ObjectMeta: metav1.ObjectMeta{Name: AgentName, Namespace: s.Namespace, Labels: ownLabels()},
		Spec: appsv1.DaemonSetSpec{
			Selector: &metav1.LabelSelector{MatchLabels: AgentSelector()},
			UpdateStrategy: appsv1.DaemonSetUpdateStrategy{
				Type:          appsv1.RollingUpdateDaemonSetStrategyType,
				RollingUpdate: &appsv1.RollingUpdateDaemonSet{MaxUnavailable: &unavailable},
			},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{
					Labels:      labels,
					Annotations: map[string]string{"kubectl.kubernetes.io/default-container": AgentContainer, startsAloneAnnotation: "true"},
				},
				Spec: podSpec(tw, s),
			},
		},
	}
	ds.SetGroupVersionKind(appsv1.SchemeGroupVersion.WithKind("DaemonSet"))
	return ds
}

func podSpec(tw *v1alpha1.Tierwall, s Settings) corev1.PodSpec {
	a := tw.Spec.Agent
	nodes := map[string]string{}
	maps.Copy(nodes, a.NodeSelector)
	nodes[corev1.LabelOSStable] = string(corev1.Linux)
	tolerations := a.Tolerations
	if len(tolerations) == 0 {
		tolerations = []corev1.Toleration{{Operator: corev1.TolerationOpExists}}
	}
	return corev1.PodSpec{
		ServiceAccountName: AgentName,
		HostNetwork:        true, // the kernel's table is that of the node's network namespace
		DNSPolicy:          corev1.DNSDefault,
		PriorityClassName:  priorityClass,
		NodeSelector:       nodes,
		Tolerations:        tolerations,
		// The kernel goes on by itself; what is kept for the next boot is a small file.
		TerminationGracePeriodSeconds: ptr.To[int64](10),
		SecurityContext: &corev1.PodSecurityContext{
			SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
		},
		Containers: []corev1.Container{agentContainer(tw, s)},
		Volumes:    slices.Concat(stateVolumes(), lockVolumes(tw), runtimeVolumes(tw, s)),
	}
}

// stateFolder is where an agent keeps what its node enforces after the next boot
// until the cluster has been read.
const stateFolder = "/var/lib/tierwall"

func stateVolumes() []corev1.Volume {
	return []corev1.Volume{{Name: "state", VolumeSource: corev1.VolumeSource{
		HostPath: &corev1.HostPathVolumeSource{Path: stateFolder, Type: ptr.To(corev1.HostPathDirectoryOrCreate)},
	}}}
}

func stateMounts() []corev1.VolumeMount {
	return []corev1.VolumeMount{{Name: "state", MountPath: stateFolder}}
}

// lockFile is what all users of the older iptables on a node lock while they change it.
const lockFile = "/run/xtables.lock"

// mayUseIPTables reports whether agents get what the commands of iptables need. With
// Auto, each agent checks whether its node has nftables; only a custom image can have
// the commands for nodes without it.
func mayUseIPTables(tw *v1alpha1.Tierwall) bool {
	switch tw.Spec.Dataplane {
	case v1alpha1.DataplaneIPTables:
		return true
	case v1alpha1.DataplaneNFTables:
		return false
	}
	return tw.Spec.Agent.Image != ""
}

func lockVolumes(tw *v1alpha1.Tierwall) []corev1.Volume {
	if !mayUseIPTables(tw) {
		return nil
	}
	return []corev1.Volume{{Name: "xtables-lock", VolumeSource: corev1.VolumeSource{
		HostPath: &corev1.HostPathVolumeSource{Path: lockFile, Type: ptr.To(corev1.HostPathFileOrCreate)},
	}}}
}

func lockMounts(tw *v1alpha1.Tierwall) []corev1.VolumeMount {
	if !mayUseIPTables(tw) {
		return nil
	}
	return []corev1.VolumeMount{{Name: "xtables-lock", MountPath: lockFile}}
}

// runtimeFolder is where container runtimes have the socket of their plugins
// (NRI). The folder and not the socket: a runtime that starts makes a new one.
const runtimeFolder = "/var/run/nri"

// asksRuntime reports whether agents make pods wait for their policy.
func asksRuntime(tw *v1alpha1.Tierwall, s Settings) bool {
	return tw.Spec.PodStartup != v1alpha1.PodStartupOff && !s.Cleanup
}

func runtimeVolumes(tw *v1alpha1.Tierwall, s Settings) []corev1.Volume {
	if !asksRuntime(tw, s) {
		return nil
	}
	return []corev1.Volume{{Name: "runtime", VolumeSource: corev1.VolumeSource{
		HostPath: &corev1.HostPathVolumeSource{Path: runtimeFolder, Type: ptr.To(corev1.HostPathDirectoryOrCreate)},
	}}}
}

// runtimeMounts are read-only: that is enough to connect to a socket.
func runtimeMounts(tw *v1alpha1.Tierwall, s Settings) []corev1.VolumeMount {
	if !asksRuntime(tw, s) {
		return nil
	}
	return []corev1.VolumeMount{{Name: "runtime", MountPath: runtimeFolder, ReadOnly: true}}
}

func agentContainer(tw *v1alpha1.Tierwall, s Settings) corev1.Container {
	image := tw.Spec.Agent.Image
	if image == "" {
		image = s.Image
	}
	port := metricsPort(tw)
	args := append([]string{"agent", "--node=$(NODE_NAME)"}, metricsArgs(tw)...)
	args = append(args, "--log-format=json")
	if d := tw.Spec.Dataplane; d != "" && d != v1alpha1.DataplaneAuto {
		args = append(args, "--dataplane="+strings.ToLower(string(d)))
	}
	switch tw.Spec.PodStartup {
	case v1alpha1.PodStartupOff:
		args = append(args, "--nri=off")
	case v1alpha1.PodStartupRequire:
		args = append(args, "--require-policy")
	}
	if s.Cleanup { // of every data plane
		args = []string{"agent", "--cleanup", "--stay", "--metrics-addr=" + fmt.Sprintf("%s:%d", loopback, port), "--log-format=json"}
	}
	return corev1.Container{
		Name:  AgentContainer,
		Image: image,
		Args:  args,
		Env: []corev1.EnvVar{{
			Name:      "NODE_NAME",
			ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{APIVersion: "v1", FieldPath: "spec.nodeName"}},
		}},
		Resources: resources(tw),
		// Ready: the kernel holds what the cluster says. At the start, that takes a
		// first sync with the API server. The probe runs often, so that a rollout
		// proceeds.
		ReadinessProbe: probe("/readyz", port, 5, 3),
		// Alive: no transaction hangs. Being out of date is no reason for a restart.
		LivenessProbe:            probe("/healthz", port, 20, 6),
		SecurityContext:          agentSecurity(tw),
		VolumeMounts:             slices.Concat(stateMounts(), lockMounts(tw), runtimeMounts(tw, s)),
		TerminationMessagePolicy: corev1.TerminationMessageFallbackToLogsOnError,
	}
}

// resources are those of the Tierwall object or, if it sets none at all, requests that
// suit a small cluster; without limits, because an agent that is throttled or killed
// enforces late.
func resources(tw *v1alpha1.Tierwall) corev1.ResourceRequirements {
	r := tw.Spec.Agent.Resources
	if len(r.Requests) > 0 || len(r.Limits) > 0 || len(r.Claims) > 0 {
		return *r.DeepCopy()
	}
	return corev1.ResourceRequirements{Requests: corev1.ResourceList{
		corev1.ResourceCPU:    resource.MustParse("50m"),
		corev1.ResourceMemory: resource.MustParse("96Mi"),
	}}
}

// agentSecurity gives an agent what it needs to program nftables and walk conntrack:
// root, with the single capability NET_ADMIN. A user other than root could not be given
// it. The commands of iptables open raw sockets to talk to the kernel.
func agentSecurity(tw *v1alpha1.Tierwall) *corev1.SecurityContext {
	capabilities := []corev1.Capability{"NET_ADMIN"}
	if mayUseIPTables(tw) {
		capabilities = append(capabilities, "NET_RAW")
	}
	return &corev1.SecurityContext{
		RunAsUser:                ptr.To[int64](0),
		RunAsNonRoot:             ptr.To(false),
		Privileged:               ptr.To(false),
		AllowPrivilegeEscalation: ptr.To(false),
		ReadOnlyRootFilesystem:   ptr.To(true),
		Capabilities: &corev1.Capabilities{
			Drop: []corev1.Capability{"ALL"},
			Add:  capabilities,
		},
	}
}

func probe(path string, port, period, failures int32) *corev1.Probe {
	return &corev1.Probe{
		ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{
			Path: path, Port: intstr.FromInt32(port), Host: loopback, Scheme: corev1.URISchemeHTTP,
		}},
		PeriodSeconds: period, FailureThreshold: failures, TimeoutSeconds: 5,
	}
}

// metricsArgs are an agent's arguments for where it serves metrics and probes, and to
// whom. The kubelet's probes use loopback, where they are always open. Defaults are
// omitted, because a custom image may be older than the flag.
func metricsArgs(tw *v1alpha1.Tierwall) []string {
	port := metricsPort(tw)
	switch {
	case onLoopback(tw):
		return []string{fmt.Sprintf("--metrics-addr=%s:%d", loopback, port)}
	case tw.Spec.Metrics.Access == v1alpha1.MetricsOpen:
		return []string{fmt.Sprintf("--metrics-addr=:%d", port), "--metrics-access=open"}
	}
	return []string{fmt.Sprintf("--metrics-addr=:%d", port)}
}

// onLoopback reports whether only the node itself can read metrics.
func onLoopback(tw *v1alpha1.Tierwall) bool {
	return tw.Spec.Metrics.Access == v1alpha1.MetricsLoopback || ptr.Deref(tw.Spec.Metrics.Port, DefaultMetricsPort) == 0
}

// metricsPort is the port of the agents' metrics and probes.
func metricsPort(tw *v1alpha1.Tierwall) int32 {
	if port := ptr.Deref(tw.Spec.Metrics.Port, DefaultMetricsPort); port != 0 {
		return port
	}
	return DefaultMetricsPort // probes need one
}
