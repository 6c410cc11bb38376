package operator

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/tierwall/tierwall/api/v1alpha1"
)

var update = flag.Bool("update", false, "write the golden files anew")

// tuned is a Tierwall object in which all is set that the DaemonSet depends on.
func tuned() *v1alpha1.Tierwall {
	tw := &v1alpha1.Tierwall{}
	tw.Name = v1alpha1.TierwallName
	tw.Spec.Metrics.Port = ptr.To[int32](9999)
	tw.Spec.Agent = v1alpha1.AgentSpec{
		Image: "mirror.example/tierwall@sha256:0123",
		Resources: corev1.ResourceRequirements{
			Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1000m"), corev1.ResourceMemory: resource.MustParse("512Mi")},
			Limits:   corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("1Gi")},
		},
		Tolerations:  []corev1.Toleration{{Key: "dedicated", Operator: corev1.TolerationOpEqual, Value: "gpu", Effect: corev1.TaintEffectNoSchedule}},
		NodeSelector: map[string]string{"pool": "workers"},
	}
	return tw
}

func TestDesired(t *testing.T) {
	plain := &v1alpha1.Tierwall{}
	quiet := &v1alpha1.Tierwall{}
	quiet.Spec.Metrics.Port = ptr.To[int32](0)
	settings := Settings{Image: "registry.example/tierwall:v1"}
	inside, open := &v1alpha1.Tierwall{}, &v1alpha1.Tierwall{}
	inside.Spec.Metrics.Access, open.Spec.Metrics.Access = v1alpha1.MetricsLoopback, v1alpha1.MetricsOpen
	nft, ipt := &v1alpha1.Tierwall{}, &v1alpha1.Tierwall{}
	nft.Spec.Dataplane, ipt.Spec.Dataplane = v1alpha1.DataplaneNFTables, v1alpha1.DataplaneIPTables
	auto := &v1alpha1.Tierwall{}
	auto.Spec.Dataplane = v1alpha1.DataplaneAuto
	auto.Spec.Metrics.Access = v1alpha1.MetricsAuthenticated
	noWait, required := &v1alpha1.Tierwall{}, &v1alpha1.Tierwall{}
	noWait.Spec.PodStartup, required.Spec.PodStartup = v1alpha1.PodStartupOff, v1alpha1.PodStartupRequire
	auto.Spec.PodStartup = v1alpha1.PodStartupWait
	// An image of one's own may have the commands of iptables, for nodes that need them.
	either, nftAlone := auto.DeepCopy(), nft.DeepCopy()
	either.Spec.Agent.Image, nftAlone.Spec.Agent.Image = settings.Image, settings.Image
	cleanup := settings
	cleanup.Cleanup = true
	tests := []struct {
		name     string
		tw       *v1alpha1.Tierwall
		settings Settings
		obsolete int
	}{
		{"default", plain, settings, 0},
		{"tuned", tuned(), Settings{Namespace: "other", Image: "unused"}, 0},
		{"metrics-off", quiet, settings, 1},
		{"metrics-off", inside, settings, 1},
		{"metrics-open", open, settings, 0},
		{"default", auto, settings, 0},
		{"nftables", nft, settings, 0},
		{"nftables", nftAlone, settings, 0},
		{"iptables", ipt, settings, 0},
		{"auto-own-image", either, settings, 0},
		{"startup-off", noWait, settings, 0},
		{"startup-required", required, settings, 0},
		{"cleanup", plain, cleanup, 0},
		{"cleanup-tuned", tuned(), cleanup, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			before := tt.tw.DeepCopy()
			objects := Desired(tt.tw, tt.settings)
			got := text(t, objects)
			if again := text(t, Desired(before, tt.settings)); !bytes.Equal(got, again) {
				t.Errorf("two calls differ:\n%s\n%s", got, again)
			}
			golden(t, filepath.Join("testdata", tt.name+".yaml"), got)
			gone := obsolete(tt.tw, tt.settings)
			if len(gone) != tt.obsolete {
				t.Errorf("%d objects are obsolete, want %d", len(gone), tt.obsolete)
			}
			for _, o := range objects {
				for _, g := range gone {
					if kindOf(o) == kindOf(g) {
						t.Errorf("%s is both desired and obsolete", kindOf(o))
					}
				}
			}
		})
	}
}

// What is removed with the object is all that is desired but the tiers, and what uses
// goes before what is used.
func TestRemovable(t *testing.T) {
	want := []string{
		"DaemonSet/tierwall-system/tierwall-agent", "Service/tierwall-system/tierwall-agent", "ClusterRoleBinding/tierwall-agent",
		"ClusterRole/tierwall-agent", "ServiceAccount/tierwall-system/tierwall-agent",
	}
	var got []string
	for _, o := range removable(&v1alpha1.Tierwall{}, Settings{}) {
		got = append(got, kindOf(o))
	}
	if len(got) != len(want) {
		t.Fatalf("got %v, want %v", got, want)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("got %v, want %v", got, want)
		}
	}
	for _, o := range Desired(&v1alpha1.Tierwall{}, Settings{}) {
		found := kind(o.GetObjectKind().GroupVersionKind()) == "Tier"
		for _, g := range got {
			found = found || g == kindOf(o)
		}
		if !found {
			t.Errorf("%s stays for ever", kindOf(o))
		}
	}
}

// text is what would be applied, as YAML.
func text(t *testing.T, objects []client.Object) []byte {
	t.Helper()
	var out bytes.Buffer
	for _, o := range objects {
		u, err := toApply(o)
		if err != nil {
			t.Fatal(err)
		}
		data, err := yaml.Marshal(u.Object)
		if err != nil {
			t.Fatal(err)
		}
		out.WriteString("---\n")
		out.Write(data)
	}
	return out.Bytes()
}

func golden(t *testing.T, file string, got []byte) {
	t.Helper()
	if *update {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs (run go test -update):\n%s", file, got)
	}
}
