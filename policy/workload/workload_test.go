package workload

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"
)

// read decodes documents, of the kinds that their first lines name.
func read(t *testing.T, docs string) []runtime.Object {
	t.Helper()
	var out []runtime.Object
	for _, doc := range strings.Split(strings.TrimSpace(docs), "\n---\n") {
		var o runtime.Object
		switch kind, _, _ := strings.Cut(strings.TrimPrefix(doc, "kind: "), "\n"); kind {
		case "Pod":
			o = &corev1.Pod{}
		case "Deployment":
			o = &appsv1.Deployment{}
		case "ReplicaSet":
			o = &appsv1.ReplicaSet{}
		case "StatefulSet":
			o = &appsv1.StatefulSet{}
		case "DaemonSet":
			o = &appsv1.DaemonSet{}
		case "Job":
			o = &batchv1.Job{}
		case "CronJob":
			o = &batchv1.CronJob{}
		default:
			t.Fatalf("kind %q", kind)
		}
		if err := yaml.Unmarshal([]byte(doc), o); err != nil {
			t.Fatal(err)
		}
		out = append(out, o)
	}
	return out
}

func TestPods(t *testing.T) {
	const (
		web = `kind: Deployment
metadata: {name: web, namespace: q}
spec: {selector: {matchLabels: {app: web}}, template: {metadata: {labels: {app: web, tier: front}}}}
`
		backup = `kind: CronJob
metadata: {name: backup, namespace: q}
spec: {jobTemplate: {spec: {template: {metadata: {labels: {app: backup}}}}}}
`
	)
	pod := func(name, meta, status string) string {
		return "---\nkind: Pod\nmetadata: {name: " + name + ", namespace: q, " + meta + "}\nstatus: {phase: " + status + "}\n"
	}
	for _, test := range []struct{ name, docs, want string }{
		{"all labels of the template", web + pod("a", "labels: {app: web, tier: front, x: y}", "Running"), "a"},
		{"those of the selector only", web + pod("a", "labels: {app: web}", "Running"), ""},
		{"finished", web + pod("a", "labels: {app: web, tier: front}", "Succeeded"), ""},
		{"evicted", web + pod("a", "labels: {app: web, tier: front}", "Failed"), ""},
		{"one of two runs", web + pod("b", "labels: {app: web, tier: front}", "Failed") + pod("a", "labels: {app: web, tier: front}", "Running"), "a"},
		{"pending", web + pod("a", "labels: {app: web, tier: front}", "Pending"), "a"},
		{"of another namespace", web + strings.Replace(pod("a", "labels: {app: web, tier: front}", "Running"), "namespace: q", "namespace: r", 1), ""},
		{"of a ReplicaSet that is there", web + "---\nkind: ReplicaSet\nmetadata: {name: web-1, namespace: q, ownerReferences: [{kind: Deployment, name: web}]}\n" +
			pod("a", "ownerReferences: [{kind: ReplicaSet, name: web-1}]", "Running"), "a"},
		{"of a ReplicaSet of nobody's", web + "---\nkind: ReplicaSet\nmetadata: {name: web-1, namespace: q}\n" +
			pod("a", "labels: {app: web, tier: front}, ownerReferences: [{kind: ReplicaSet, name: web-1}]", "Running"), ""},
		{"of a ReplicaSet that is not there, by its name", web + pod("a", "labels: {app: web, pod-template-hash: 5d4f}, ownerReferences: [{kind: ReplicaSet, name: web-5d4f}]", "Running"), "a"},
		{"of another Deployment's ReplicaSet that is not there", web + pod("a", "labels: {app: web, tier: front, pod-template-hash: 5d4f}, ownerReferences: [{kind: ReplicaSet, name: web-api-5d4f}]", "Running"), ""},
		{"of a ReplicaSet that is not there, by its labels", web + pod("a", "labels: {app: web, tier: front}, ownerReferences: [{kind: ReplicaSet, name: web-x}]", "Running"), "a"},
		{"of another kind", web + pod("a", "labels: {app: web, tier: front}, ownerReferences: [{kind: DaemonSet, name: web}]", "Running"), ""},
		{"of an earlier one of the name", strings.Replace(web, "name: web", "uid: new, name: web", 1) + pod("a", "labels: {app: web, tier: front}, ownerReferences: [{kind: Deployment, name: web, uid: old}]", "Running"), ""},
		{"of a CronJob by its Job", backup + "---\nkind: Job\nmetadata: {name: backup-1, namespace: q, ownerReferences: [{kind: CronJob, name: backup}]}\n" +
			pod("a", "ownerReferences: [{kind: Job, name: backup-1}]", "Running"), "a"},
		{"of a CronJob whose Job is not there", backup + pod("a", "ownerReferences: [{kind: Job, name: backup-28391001}]", "Running"), "a"},
		{"of a CronJob, between two runs", backup + pod("a", "ownerReferences: [{kind: Job, name: backup-28391001}]", "Succeeded"), ""},
		{"of another CronJob", backup + pod("a", "ownerReferences: [{kind: Job, name: backup-db-28391001}]", "Running"), ""},
		{"a template without labels", "kind: Job\nmetadata: {name: j, namespace: q}\n" + pod("a", "labels: {app: j}", "Running"), ""},
	} {
		objects := read(t, test.docs)
		w, ok := Of(objects[0])
		if !ok {
			t.Fatal("no workload")
		}
		var got []string
		for _, p := range NewSet(objects).Pods(w) {
			got = append(got, p.Name)
		}
		if strings.Join(got, " ") != test.want {
			t.Errorf("%s: got %v, want %q", test.name, got, test.want)
		}
	}
}

func TestPodLabels(t *testing.T) {
	const template = "template: {metadata: {labels: {app: x}}}"
	for _, test := range []struct {
		name, doc string
		want      []string
	}{
		{"Deployment", "kind: Deployment\nmetadata: {name: w}\nspec: {" + template + "}", []string{"app=x pod-template-hash=unknown"}},
		{"ReplicaSet", "kind: ReplicaSet\nmetadata: {name: w}\nspec: {" + template + "}", []string{"app=x"}},
		{"DaemonSet", "kind: DaemonSet\nmetadata: {name: w}\nspec: {" + template + "}", []string{"app=x controller-revision-hash=unknown pod-template-generation=unknown"}},
		{"StatefulSet", "kind: StatefulSet\nmetadata: {name: w}\nspec: {" + template + "}", []string{
			"app=x apps.kubernetes.io/pod-index=0 controller-revision-hash=unknown statefulset.kubernetes.io/pod-name=w-0"}},
		{"StatefulSet of two, from 5", "kind: StatefulSet\nmetadata: {name: w}\nspec: {replicas: 2, ordinals: {start: 5}, " + template + "}", []string{
			"app=x apps.kubernetes.io/pod-index=5 controller-revision-hash=unknown statefulset.kubernetes.io/pod-name=w-5",
			"app=x apps.kubernetes.io/pod-index=6 controller-revision-hash=unknown statefulset.kubernetes.io/pod-name=w-6"}},
		{"Job", "kind: Job\nmetadata: {name: w}\nspec: {" + template + "}", []string{
			"app=x batch.kubernetes.io/controller-uid=unknown batch.kubernetes.io/job-name=w controller-uid=unknown job-name=w"}},
		{"Job of a cluster", "kind: Job\nmetadata: {name: w, uid: u}\nspec: {" + template + "}", []string{
			"app=x batch.kubernetes.io/controller-uid=u batch.kubernetes.io/job-name=w controller-uid=u job-name=w"}},
		{"Job with a selector of its own", "kind: Job\nmetadata: {name: w}\nspec: {manualSelector: true, " + template + "}", []string{"app=x"}},
		{"indexed Job", "kind: Job\nmetadata: {name: w}\nspec: {completionMode: Indexed, manualSelector: true, " + template + "}", []string{
			"app=x batch.kubernetes.io/job-completion-index=0"}},
		{"CronJob", "kind: CronJob\nmetadata: {name: w}\nspec: {jobTemplate: {spec: {" + template + "}}}", []string{
			"app=x batch.kubernetes.io/controller-uid=unknown batch.kubernetes.io/job-name=w-unknown controller-uid=unknown job-name=w-unknown"}},
		{"no labels", "kind: ReplicaSet\nmetadata: {name: w}\nspec: {}", []string{""}},
	} {
		w, _ := Of(read(t, test.doc)[0])
		var got []string
		for _, l := range w.PodLabels() {
			var words []string
			for _, k := range slices.Sorted(maps.Keys(l)) {
				words = append(words, fmt.Sprintf("%s=%s", k, l[k]))
			}
			got = append(got, strings.Join(words, " "))
		}
		if !slices.Equal(got, test.want) {
			t.Errorf("%s: got\n%s\nwant\n%s", test.name, strings.Join(got, "\n"), strings.Join(test.want, "\n"))
		}
	}
	huge, _ := Of(read(t, "kind: StatefulSet\nmetadata: {name: w}\nspec: {replicas: 2147483647, "+template+"}")[0])
	if n := len(huge.PodLabels()); n != maxOrdinals {
		t.Errorf("%d pods", n)
	}
}

func TestNamedPort(t *testing.T) {
	p := read(t, `kind: Pod
metadata: {name: a}
spec:
  initContainers:
  - {name: once, ports: [{name: once, containerPort: 1}, {name: both, containerPort: 2}]}
  - {name: sidecar, restartPolicy: Always, ports: [{name: metrics, containerPort: 3}, {name: web, containerPort: 4}]}
  containers:
  - {name: main, ports: [{name: web, containerPort: 5}, {name: both, containerPort: 6, protocol: UDP}]}
`)[0].(*corev1.Pod)
	for _, test := range []struct {
		name     string
		protocol corev1.Protocol
		want     int32
	}{
		{"once", corev1.ProtocolTCP, 0},
		{"both", corev1.ProtocolTCP, 0},
		{"both", corev1.ProtocolUDP, 6},
		{"metrics", corev1.ProtocolTCP, 3},
		{"web", corev1.ProtocolTCP, 5},
		{"none", corev1.ProtocolTCP, 0},
	} {
		if got := NamedPort(p, test.name, test.protocol); got != test.want {
			t.Errorf("%s/%s: got %d, want %d", test.name, test.protocol, got, test.want)
		}
	}
}
