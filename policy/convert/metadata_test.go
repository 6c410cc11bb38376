package convert

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/tierwall/tierwall/api/v1alpha1"
)

// Metadata that an API server refuses is a problem of every kind, in one fixed order,
// and leaves the object in force.
func TestMetadata(t *testing.T) {
	long := strings.Repeat("a", 64)
	tests := []struct {
		name                string
		labels, annotations map[string]string
		want                string // "": none
	}{
		{name: "fine", labels: map[string]string{"a": "b", "example.com/x": ""}, annotations: map[string]string{"example.com/X_y": long + "\n"}},
		{name: "a value of 64 characters", labels: map[string]string{"a": long}, want: "metadata.labels: "},
		{name: "a key of 64 characters", labels: map[string]string{long: "a"}, want: "metadata.labels: "},
		{name: "an upper-case domain", labels: map[string]string{"Example.com/a": "b"}, want: "metadata.labels: "},
		{name: "an annotation's key", annotations: map[string]string{"a b": "c"}, want: `metadata.annotations: "a b" is not valid: `},
		{name: "too much in annotations", annotations: map[string]string{"a": strings.Repeat("b", 256<<10)}, want: "metadata.annotations: may not be more than 262144 bytes"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := metav1.ObjectMeta{Name: "x", Namespace: "shop", Labels: tt.labels, Annotations: tt.annotations}
			global := *m.DeepCopy()
			global.Namespace = ""
			for _, o := range []runtime.Object{
				&networkingv1.NetworkPolicy{ObjectMeta: m}, &v1alpha1.NetworkPolicy{ObjectMeta: m}, &v1alpha1.NetworkSet{ObjectMeta: m}, &corev1.Pod{ObjectMeta: m},
				&v1alpha1.GlobalNetworkPolicy{ObjectMeta: global}, &v1alpha1.Tier{ObjectMeta: global}, &v1alpha1.GlobalNetworkSet{ObjectMeta: global},
			} {
				obj, problems, _ := Object(o)
				_, isPod := o.(*corev1.Pod)
				if obj == nil && !isPod {
					t.Errorf("%T is left out", o)
				}
				found := []string{}
				for _, p := range problems {
					if strings.HasPrefix(p.Field, "metadata") {
						found = append(found, p.Field+": "+p.Message)
					}
				}
				switch {
				case tt.want == "" && len(found) > 0:
					t.Errorf("%T: %v", o, found)
				case tt.want != "" && len(found) != 1:
					t.Errorf("%T: got %v, want one problem", o, found)
				case tt.want != "" && strings.HasPrefix(tt.want, "metadata.annotations") && !strings.HasPrefix(found[0], tt.want):
					t.Errorf("%T: got %s, want %s…", o, found[0], tt.want)
				}
			}
		})
	}
}
