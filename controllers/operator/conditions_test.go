package operator

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

func rollout(desired, updated, available int32) *appsv1.DaemonSet {
	ds := &appsv1.DaemonSet{}
	ds.Generation = 3
	ds.Status = appsv1.DaemonSetStatus{
		ObservedGeneration: 3, DesiredNumberScheduled: desired, UpdatedNumberScheduled: updated,
		NumberAvailable: available, NumberUnavailable: desired - available,
	}
	return ds
}

// agentPod is an agent that is ready, or not for so long.
func agentPod(node string, notReady time.Duration, waiting string) corev1.Pod {
	p := corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p-" + node, Namespace: "ns", Labels: map[string]string{modeLabel: modeEnforce}}}
	p.Spec.NodeName = node
	c := corev1.PodCondition{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(noon.Add(-notReady))}
	if notReady > 0 {
		c.Status = corev1.ConditionFalse
	}
	p.Status.Conditions = []corev1.PodCondition{c}
	if waiting != "" {
		p.Status.ContainerStatuses = []corev1.ContainerStatus{{State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: waiting}}}}
	}
	return p
}

func TestAssess(t *testing.T) {
	stale := rollout(3, 3, 3)
	stale.Generation++
	fresh := rollout(0, 0, 0)
	fresh.Status.ObservedGeneration = 0
	refused := errors.New("DaemonSet/a/b cannot be applied: no")
	var many []corev1.Pod
	for i := range 12 {
		many = append(many, agentPod(fmt.Sprintf("n%02d", 11-i), time.Second, "ErrImagePull"))
	}
	tests := []struct {
		name  string
		s     situation
		want  [3]string
		again time.Duration
	}{
		{"nothing yet", situation{}, [3]string{"False RollingOut", "True RollingOut", "False AsDesired"}, 0},
		{"not observed yet", situation{ds: fresh}, [3]string{"False RollingOut", "True RollingOut", "False AsDesired"}, 0},
		{"refused, nothing there", situation{applyErr: refused}, [3]string{"False RollingOut", "True NotApplied", "True NotApplied: DaemonSet/a/b cannot be applied: no"}, 0},
		{"refused, the old one there", situation{ds: rollout(2, 2, 2), applyErr: refused}, [3]string{"True AgentsAvailable", "False RolledOut", "True NotApplied"}, 0},
		{"no nodes", situation{ds: rollout(0, 0, 0)}, [3]string{"False NoNodes", "False RolledOut", "False AsDesired"}, 0},
		{"changed a moment ago", situation{ds: stale}, [3]string{"True AgentsAvailable", "True RollingOut", "False AsDesired"}, 0},
		{"one node, not there", situation{ds: rollout(1, 1, 0)}, [3]string{"False AgentsUnavailable: 0 of 1 agents are available", "True RollingOut", "False AsDesired"}, 0},
		{"one of two", situation{ds: rollout(2, 1, 1)}, [3]string{"True AgentsAvailable: 1 of 2", "True RollingOut: 1 of 2 agents are of the current version", "False AsDesired"}, 0},
		{"a tenth away", situation{ds: rollout(20, 20, 18)}, [3]string{"True AgentsAvailable", "True RollingOut: 18 of 20 agents are available", "False AsDesired"}, 0},
		{"more than a tenth away", situation{ds: rollout(20, 20, 17)}, [3]string{"False AgentsUnavailable", "True RollingOut", "False AsDesired"}, 0},
		{"all", situation{ds: rollout(5000, 5000, 5000)}, [3]string{"True AgentsAvailable: 5000 of 5000", "False RolledOut", "False AsDesired"}, 0},
		{"patience", situation{ds: rollout(3, 3, 1), pods: []corev1.Pod{agentPod("a", 0, ""), agentPod("b", time.Minute, ""), agentPod("c", 2*time.Minute, "")}},
			[3]string{"False AgentsUnavailable", "True RollingOut", "False AsDesired"}, 3 * time.Minute},
		{"no patience left", situation{ds: rollout(3, 3, 1), pods: []corev1.Pod{agentPod("a", 0, ""), agentPod("c", time.Minute, ""), agentPod("b", 5*time.Minute, "")}},
			[3]string{"False AgentsUnavailable", "True RollingOut", "True AgentsFailing: 1 of 3 agents fail: b (not ready for 5m0s)"}, 4 * time.Minute},
		{"many", situation{ds: rollout(12, 12, 0), pods: many},
			[3]string{"False AgentsUnavailable", "True RollingOut", "True AgentsFailing: 12 of 12 agents fail: n00 (ErrImagePull), n01"}, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.s.now, tt.s.generation = noon, 7
			got, again := assess(tt.s)
			for i, c := range got {
				text := fmt.Sprintf("%s %s: %s", c.Status, c.Reason, c.Message)
				if !strings.HasPrefix(text, tt.want[i]) {
					t.Errorf("%s is %q, want %q", c.Type, text, tt.want[i])
				}
				if c.ObservedGeneration != 7 || !c.LastTransitionTime.Time.Equal(noon) || c.Message == "" {
					t.Errorf("%+v", c)
				}
			}
			if again != tt.again {
				t.Errorf("again after %s, want %s", again, tt.again)
			}
			if tt.name == "many" && !strings.HasSuffix(got[2].Message, "n09 (ErrImagePull) and 2 more") {
				t.Error(got[2].Message)
			}
		})
	}
}

func TestNodeOf(t *testing.T) {
	pending := corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "p"}}
	if got := nodeOf(&pending); got != "Pod/ns/p" {
		t.Errorf("a pod of no node is called %q", got)
	}
	pending.Spec.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{
		NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchFields: []corev1.NodeSelectorRequirement{{Key: "metadata.name", Operator: "In", Values: []string{"n7"}}}}},
	}}}
	if got := nodeOf(&pending); got != "n7" {
		t.Errorf("got %q, want n7", got)
	}
}

func TestCleaned(t *testing.T) {
	in := func(mode string, p corev1.Pod, leaving bool) corev1.Pod {
		p.Labels = map[string]string{modeLabel: mode}
		if leaving {
			p.DeletionTimestamp = &metav1.Time{Time: noon}
		}
		return p
	}
	ds := func(desired int32) *appsv1.DaemonSet {
		ds := rollout(desired, 0, 0)
		ds.Spec.Template.Labels = map[string]string{modeLabel: modeCleanup}
		return ds
	}
	behind := ds(1)
	behind.Generation++
	done := in(modeCleanup, agentPod("a", 0, ""), false)
	tests := []struct {
		name         string
		ds           *appsv1.DaemonSet
		pods         []corev1.Pod
		clean, dirty []string
	}{
		{"no DaemonSet", nil, nil, nil, []string{"all nodes"}},
		{"not seen by its controller", behind, []corev1.Pod{done}, nil, []string{"all nodes"}},
		{"still of the old kind", rollout(1, 1, 1), []corev1.Pod{done}, nil, []string{"all nodes"}},
		{"no nodes", ds(0), nil, nil, nil},
		{"done", ds(1), []corev1.Pod{done}, []string{"a"}, nil},
		{"an agent that enforces is not clean, though ready", ds(1), []corev1.Pod{in(modeEnforce, agentPod("a", 0, ""), false)}, nil, []string{"a"}},
		{"not ready", ds(1), []corev1.Pod{in(modeCleanup, agentPod("a", time.Second, ""), false)}, nil, []string{"a"}},
		{"the old pod is still leaving", ds(1), []corev1.Pod{done, in(modeEnforce, agentPod("a", 0, ""), true)}, nil, []string{"a"}},
		{"a dead node", ds(2), []corev1.Pod{done, in(modeEnforce, agentPod("b", time.Hour, ""), true)}, []string{"a"}, []string{"b"}},
		{"nodes without a pod", ds(3), []corev1.Pod{done}, []string{"a"}, []string{"2 nodes that have no agent at the moment"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			clean, dirty := cleaned(tt.ds, tt.pods)
			if !slices.Equal(clean, tt.clean) || !slices.Equal(dirty, tt.dirty) {
				t.Errorf("got %q and %q, want %q and %q", clean, dirty, tt.clean, tt.dirty)
			}
		})
	}
}
