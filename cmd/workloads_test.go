package cmd

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// writeFiles writes a file of each text and returns their paths.
func writeFiles(t *testing.T, texts ...string) []string {
	t.Helper()
	dir := t.TempDir()
	var paths []string
	for i, text := range texts {
		path := filepath.Join(dir, string(rune('a'+i))+".yaml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		paths = append(paths, path)
	}
	return paths
}

const (
	cronJob = `
apiVersion: batch/v1
kind: CronJob
metadata: {name: backup, namespace: q, uid: c}
spec: {schedule: "@daily", jobTemplate: {spec: {template: {metadata: {labels: {app: backup}}, spec: {restartPolicy: Never, containers: [{name: c, image: i}]}}}}}
`
	deployment = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: q}
spec: {selector: {matchLabels: {app: backup}}, template: {metadata: {labels: {app: backup, tier: back}}, spec: {containers: [{name: c, image: i}]}}}
`
	denyBackup = `
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: deny, namespace: q}
spec: {podSelector: {matchLabels: {SELECTED}}, policyTypes: [Ingress]}
`
)

// TestDiffSeesWorkloads: pods that have finished, or that are not a workload's, do not
// hide what the workload gains.
func TestDiffSeesWorkloads(t *testing.T) {
	pod := func(name, labels, phase string) string {
		return "---\napiVersion: v1\nkind: Pod\nmetadata: {name: " + name + ", namespace: q, labels: {" + labels + "}}\nspec: {containers: [{name: c, image: i}]}\nstatus: {phase: " + phase + ", podIP: 10.0.0.9}\n"
	}
	for _, test := range []struct{ name, objects, selected, target string }{
		{"CronJob alone", cronJob, "app: backup", "q/backup"},
		{"CronJob between two runs", cronJob + "---\napiVersion: batch/v1\nkind: Job\nmetadata: {name: backup-1, namespace: q, uid: j, ownerReferences: [{apiVersion: batch/v1, kind: CronJob, name: backup, uid: c}]}\n" +
			"spec: {template: {metadata: {labels: {app: backup}}, spec: {restartPolicy: Never, containers: [{name: c, image: i}]}}}\n" +
			strings.Replace(pod("backup-1-x", "app: backup", "Succeeded"), "namespace: q", "namespace: q, ownerReferences: [{apiVersion: batch/v1, kind: Job, name: backup-1, uid: j}]", 1), "app: backup", "cronjob/backup"},
		{"Deployment beside a bare pod with the labels of its selector", deployment + pod("x", "app: backup", "Running"), "tier: back", "deploy/web"},
		{"Deployment whose pod was evicted", deployment + pod("web-1-x", "app: backup, tier: back", "Failed"), "app: backup", "q/web"},
		{"Deployment beside an evicted pod of its name", deployment + pod("web", "app: backup, tier: back", "Failed"), "app: backup", "q/web"},
	} {
		t.Run(test.name, func(t *testing.T) {
			files := writeFiles(t, test.objects+strings.Replace(denyBackup, "SELECTED", test.selected, 1), test.objects)
			if got := runMain(t, "", "diff", files[0], files[1]); got.status != exitNegative || !strings.Contains(got.out, "Gained") {
				t.Errorf("diff: status %d\n%s%s", got.status, got.out, got.errOut)
			}
			for i, want := range []int{exitNegative, exitOK} {
				if got := runMain(t, "", "explain", "-f", files[i], "--from", "203.0.113.1", "--to", test.target, "--port", "80"); got.status != want {
					t.Errorf("explain: status %d, want %d\n%s%s", got.status, want, got.out, got.errOut)
				}
			}
			if got := runMain(t, "", "effective", "-f", files[0], test.target); got.status != exitOK || !strings.Contains(got.out, "NetworkPolicy/q/deny") {
				t.Errorf("effective: status %d\n%s%s", got.status, got.out, got.errOut)
			}
		})
	}
}

// TestLabelsThatControllersAdd: policies that select by them see the stand-ins.
func TestLabelsThatControllersAdd(t *testing.T) {
	set := `
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db, namespace: q}
spec: {replicas: 2, selector: {matchLabels: {app: db}}, template: {metadata: {labels: {app: db}}, spec: {containers: [{name: c, image: i}]}}}
`
	job := `
apiVersion: batch/v1
kind: Job
metadata: {name: once, namespace: q}
spec: {template: {metadata: {labels: {app: once}}, spec: {restartPolicy: Never, containers: [{name: c, image: i}]}}}
`
	for _, test := range []struct {
		objects, selected, target string
		want                      int
	}{
		{set, "matchLabels: {statefulset.kubernetes.io/pod-name: db-0}", "q/db", exitNegative},
		{set, "matchLabels: {statefulset.kubernetes.io/pod-name: db-1}", "q/db", exitOK},
		{set, "matchLabels: {statefulset.kubernetes.io/pod-name: db-1}", "q/db-1", exitNegative},
		{set, `matchLabels: {apps.kubernetes.io/pod-index: "0"}`, "q/db", exitNegative},
		{set, "matchExpressions: [{key: statefulset.kubernetes.io/pod-name, operator: DoesNotExist}]", "q/db", exitOK},
		{job, "matchLabels: {job-name: once}", "q/once", exitNegative},
		{job, "matchLabels: {batch.kubernetes.io/job-name: once}", "q/once", exitNegative},
		{job, "matchExpressions: [{key: controller-uid, operator: DoesNotExist}]", "q/once", exitOK},
		{job, "matchExpressions: [{key: job-name, operator: Exists}]", "q/once", exitNegative},
		{cronJob, "matchExpressions: [{key: batch.kubernetes.io/job-name, operator: Exists}]", "q/backup", exitNegative},
		{cronJob, "matchExpressions: [{key: job-name, operator: DoesNotExist}]", "q/backup", exitOK},
		{deployment, "matchExpressions: [{key: pod-template-hash, operator: DoesNotExist}]", "q/web", exitOK},
	} {
		deny := strings.Replace(denyBackup, "matchLabels: {SELECTED}", test.selected, 1)
		file := writeFiles(t, test.objects+deny)[0]
		if got := runMain(t, "", "explain", "-f", file, "--from", "203.0.113.1", "--to", test.target, "--port", "80"); got.status != test.want {
			t.Errorf("%s of %s: status %d, want %d\n%s%s", test.target, test.selected, got.status, test.want, got.out, got.errOut)
		}
	}
}
