package latency

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// podTimeout is how long a pod may take to run, on a crowded machine.
const podTimeout = 2 * time.Minute

// newPod is a pod of one container on a node, which ends at once when it is deleted.
func newPod(namespace, name, node, image string, labels map[string]string, args ...string) *corev1.Pod {
	zero, no := int64(0), false
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: labels},
		Spec: corev1.PodSpec{
			NodeName: node, TerminationGracePeriodSeconds: &zero, AutomountServiceAccountToken: &no, EnableServiceLinks: &no,
			RestartPolicy: corev1.RestartPolicyNever,
			Containers:    []corev1.Container{{Name: "c", Image: image, ImagePullPolicy: corev1.PullIfNotPresent, Args: args}},
		},
	}
}

// running waits until a pod runs and returns where it is.
func running(ctx context.Context, c client.Client, namespace, name string) (End, error) {
	ctx, cancel := context.WithTimeout(ctx, podTimeout)
	defer cancel()
	for {
		p := &corev1.Pod{}
		err := c.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, p)
		if err == nil && p.Status.Phase == corev1.PodRunning && p.Status.PodIP != "" {
			addr, err := netip.ParseAddr(p.Status.PodIP)
			if err != nil {
				return End{}, fmt.Errorf("latency: Pod/%s/%s: status.podIP: %w", namespace, name, err)
			}
			path, err := netnsOf(name)
			if err != nil {
				return End{}, fmt.Errorf("latency: Pod/%s/%s: %w", namespace, name, err)
			}
			return End{Netns: path, Addr: addr}, nil
		}
		select {
		case <-ctx.Done():
			return End{}, fmt.Errorf("latency: Pod/%s/%s does not run: phase %q: %w", namespace, name, p.Status.Phase, errors.Join(ctx.Err(), err))
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// netnsOf finds the network namespace of a pod whose name no other pod of this
// machine has: containers have it for a host name, and say so in their
// environment.
func netnsOf(pod string) (string, error) {
	want := []byte("HOSTNAME=" + pod)
	all, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		return "", err
	}
	for _, file := range all {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // it has ended
		}
		for entry := range bytes.SplitSeq(text, []byte{0}) {
			if bytes.Equal(entry, want) {
				return filepath.Join(filepath.Dir(file), "ns", "net"), nil
			}
		}
	}
	return "", errors.New("no process of it is on this machine")
}
