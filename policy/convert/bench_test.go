package convert

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/tierwall/tierwall/api/v1alpha1"
)

func BenchmarkPod(b *testing.B) {
	o := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "web-7d4b9c-x2x4z", Namespace: "shop", Labels: map[string]string{}},
		Spec:       corev1.PodSpec{NodeName: "n1", Containers: []corev1.Container{{Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: 80}}}}},
		Status:     corev1.PodStatus{PodIP: "10.0.0.1", PodIPs: []corev1.PodIP{{IP: "10.0.0.1"}, {IP: "fd00::1"}}},
	}
	for i := range 6 {
		o.Labels[fmt.Sprintf("example.com/label-%d", i)] = "value"
	}
	b.ReportAllocs()
	for b.Loop() {
		Object(o)
	}
}

func BenchmarkPolicy(b *testing.B) {
	o := &v1alpha1.GlobalNetworkPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: "x"},
		Spec:       v1alpha1.GlobalNetworkPolicySpec{Selector: "has(marker-1)"},
	}
	for i := range 5 {
		o.Spec.Ingress = append(o.Spec.Ingress, v1alpha1.Rule{
			Action: v1alpha1.Allow, Source: v1alpha1.EntityRule{Selector: fmt.Sprintf("has(marker-%d)", i)},
		})
	}
	b.ReportAllocs()
	for b.Loop() {
		Object(o)
	}
}
