package bench

import (
	"fmt"
	"hash/fnv"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// strangerBits is how many bits the number of a pod of Strangers has in its namespace.
const strangerBits = 7

// workloads are Deployments of a namespace, with all that a cluster makes of them, and
// a Service for each.
func (c *cluster) workloads(ns string, sizes ...int) {
	for i, size := range sizes {
		name, hash := app(i), digest(ns, app(i))
		labels := map[string]string{"app": name, "app.kubernetes.io/name": name, "app.kubernetes.io/part-of": ns}
		selector := &metav1.LabelSelector{MatchLabels: map[string]string{"app": name}}
		spec := podSpec(name)
		replicas := int32(size)
		meta := metav1.ObjectMeta{Name: name, Namespace: ns, Labels: labels, UID: types.UID(digest("deployment", ns, name))}
		c.add(&appsv1.Deployment{ObjectMeta: meta, Spec: appsv1.DeploymentSpec{Replicas: &replicas, Selector: selector, Template: corev1.PodTemplateSpec{
			ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: spec,
		}}})
		hashed := map[string]string{"pod-template-hash": hash}
		for k, v := range labels {
			hashed[k] = v
		}
		replicaSet := metav1.ObjectMeta{
			Name: name + "-" + hash, Namespace: ns, Labels: hashed, UID: types.UID(digest("replicaset", ns, name)),
			OwnerReferences: []metav1.OwnerReference{controller("apps/v1", "Deployment", &meta)},
		}
		c.add(&appsv1.ReplicaSet{ObjectMeta: replicaSet, Spec: appsv1.ReplicaSetSpec{
			Replicas: &replicas, Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": name, "pod-template-hash": hash}},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: hashed}, Spec: spec},
		}})
		for j := range size {
			pod := c.pod(ns, fmt.Sprintf("%s-%s-%s", name, hash, digest(ns, name, fmt.Sprint(j))[:5]), hashed, spec)
			pod.GenerateName = name + "-" + hash + "-"
			pod.OwnerReferences = []metav1.OwnerReference{controller("apps/v1", "ReplicaSet", &replicaSet)}
		}
		c.add(&corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: ns, Labels: labels}, Spec: corev1.ServiceSpec{
			ClusterIP: fmt.Sprintf("172.20.%d.%d", len(c.objects)>>8&0xff, len(c.objects)&0xff), Selector: selector.MatchLabels,
			Ports: []corev1.ServicePort{{Name: "http", Protocol: corev1.ProtocolTCP, Port: 80, TargetPort: intstr.FromString("http")}},
		}})
	}
}

// strangers are pods that belong to no workload; see Strangers.
func (c *cluster) strangers(ns string, n int) {
	for i := range n {
		labels := map[string]string{"app": app(i % 5), "id": fmt.Sprintf("%s-%d", ns, i)}
		for bit := range strangerBits {
			labels[fmt.Sprintf("bit-%d", bit)] = fmt.Sprint(i >> bit & 1)
		}
		c.pod(ns, fmt.Sprintf("pod-%02d", i), labels, podSpec("pod"))
	}
}

// pod adds a running pod, with what the API server shows of one.
func (c *cluster) pod(ns, name string, labels map[string]string, spec corev1.PodSpec) *corev1.Pod {
	c.addr = c.addr.Next()
	spec.NodeName = nodeName(c.pods % nodes)
	begin := metav1.NewTime(time.Date(2026, 3, 1, 10, c.pods/60%60, c.pods%60, 0, time.UTC))
	status := corev1.PodStatus{
		Phase: corev1.PodRunning, HostIP: fmt.Sprintf("192.168.0.%d", c.pods%nodes+1), PodIP: c.addr.String(), PodIPs: []corev1.PodIP{{IP: c.addr.String()}},
		StartTime: &begin, QOSClass: corev1.PodQOSBurstable,
	}
	for _, condition := range []corev1.PodConditionType{corev1.PodScheduled, corev1.PodInitialized, corev1.ContainersReady, corev1.PodReady} {
		status.Conditions = append(status.Conditions, corev1.PodCondition{Type: condition, Status: corev1.ConditionTrue, LastTransitionTime: begin})
	}
	for i := range spec.Containers {
		started := true
		status.ContainerStatuses = append(status.ContainerStatuses, corev1.ContainerStatus{
			Name: spec.Containers[i].Name, Image: spec.Containers[i].Image, ImageID: spec.Containers[i].Image + "@sha256:" + digest(name, "image"),
			ContainerID: "containerd://" + digest(name, "container"), Ready: true, Started: &started,
			State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: begin}},
		})
	}
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: ns, Labels: labels, UID: types.UID(digest("pod", ns, name)), CreationTimestamp: begin, ResourceVersion: fmt.Sprint(100_000 + c.pods)},
		Spec:       spec, Status: status,
	}
	c.pods++
	c.add(p)
	return p
}

// podSpec is a container as people write it, and what the API server adds.
func podSpec(name string) corev1.PodSpec {
	grace := int64(30)
	token := "kube-api-access"
	return corev1.PodSpec{
		ServiceAccountName: "default", RestartPolicy: corev1.RestartPolicyAlways, DNSPolicy: corev1.DNSClusterFirst,
		SchedulerName: "default-scheduler", TerminationGracePeriodSeconds: &grace, SecurityContext: &corev1.PodSecurityContext{},
		Containers: []corev1.Container{{
			Name: name, Image: "registry.example.com/" + name + ":1.4.2", ImagePullPolicy: corev1.PullIfNotPresent,
			Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: 8080, Protocol: corev1.ProtocolTCP}, {Name: "metrics", ContainerPort: 9100, Protocol: corev1.ProtocolTCP}},
			Env: []corev1.EnvVar{
				{Name: "LOG_LEVEL", Value: "info"},
				{Name: "POD_NAME", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{APIVersion: "v1", FieldPath: "metadata.name"}}},
			},
			Resources: corev1.ResourceRequirements{
				Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("100m"), corev1.ResourceMemory: resource.MustParse("128Mi")},
				Limits:   corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("256Mi")},
			},
			ReadinessProbe: &corev1.Probe{
				ProbeHandler:  corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/ready", Port: intstr.FromString("http"), Scheme: corev1.URISchemeHTTP}},
				PeriodSeconds: 10, TimeoutSeconds: 1, SuccessThreshold: 1, FailureThreshold: 3,
			},
			VolumeMounts: []corev1.VolumeMount{{Name: token, MountPath: "/var/run/secrets/kubernetes.io/serviceaccount", ReadOnly: true}},
		}},
		Volumes: []corev1.Volume{{Name: token, VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "kube-root-ca.crt"}}}}},
		Tolerations: []corev1.Toleration{
			{Key: "node.kubernetes.io/not-ready", Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute},
			{Key: "node.kubernetes.io/unreachable", Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute},
		},
	}
}

func controller(apiVersion, kind string, owner *metav1.ObjectMeta) metav1.OwnerReference {
	yes := true
	return metav1.OwnerReference{APIVersion: apiVersion, Kind: kind, Name: owner.Name, UID: owner.UID, Controller: &yes, BlockOwnerDeletion: &yes}
}

// digest is sixteen letters that follow from texts.
func digest(texts ...string) string {
	h := fnv.New64a()
	for _, t := range texts {
		_, _ = h.Write([]byte(t + "\x00"))
	}
	return fmt.Sprintf("%016x", h.Sum64())
}
