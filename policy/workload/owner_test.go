package workload_test

import (
	"testing"

	"github.com/tierwall/tierwall/policy/workload"
)

func TestOwnerOf(t *testing.T) {
	for _, c := range []struct {
		pod    string
		labels map[string]string
		want   string
	}{
		{"web-5d8f7c9b6-abcde", map[string]string{"pod-template-hash": "5d8f7c9b6"}, "Deployment/ns/web"},
		{"web-abcde", map[string]string{"pod-template-hash": "5d8f7c9b6"}, "ReplicaSet/ns/web"},
		{"db-0", map[string]string{"statefulset.kubernetes.io/pod-name": "db-0", "controller-revision-hash": "db-1"}, "StatefulSet/ns/db"},
		{"proxy-abcde", map[string]string{"controller-revision-hash": "1"}, "DaemonSet/ns/proxy"},
		{"backup-abcde", map[string]string{"batch.kubernetes.io/job-name": "backup", "job-name": "backup"}, "Job/ns/backup"},
		{"backup-29000000-abcde", map[string]string{"job-name": "backup-29000000"}, "CronJob/ns/backup"},
		{"alone", nil, "Pod/ns/alone"},
		{"web-1", nil, "Pod/ns/web-1"},
		{"alone", map[string]string{"pod-template-hash": "1"}, "Pod/ns/alone"},
		// Labels alone make no pod another's.
		{"mine", map[string]string{"job-name": "theirs"}, "Pod/ns/mine"},
		{"mine-1", map[string]string{"statefulset.kubernetes.io/pod-name": "theirs-1"}, "Pod/ns/mine-1"},
		{"-1", map[string]string{"controller-revision-hash": "1"}, "Pod/ns/-1"},
	} {
		if got := workload.OwnerOf("ns", c.pod, c.labels).String(); got != c.want {
			t.Errorf("%s with %v: %s, want %s", c.pod, c.labels, got, c.want)
		}
	}
}
