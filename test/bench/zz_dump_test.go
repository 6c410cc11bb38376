package bench_test
import ("testing";"os";"path/filepath";"k8s.io/apimachinery/pkg/runtime";"github.com/tierwall/tierwall/test/bench")
func TestZZDump(t *testing.T) {
	objects := bench.Objects(bench.Shapes()[0])
	b, a := "/tmp/tail/dump/before", "/tmp/tail/dump/after"
	os.MkdirAll(b, 0o755)
	if err := bench.WriteManifests(b, objects); err != nil { t.Fatal(err) }
	os.CopyFS(a, os.DirFS(b)); os.Mkdir(filepath.Join(a, "more"), 0o755)
	bench.WriteManifests(filepath.Join(a, "more"), []runtime.Object{bench.Deny("changed", "env == 'prod'", "app == 'app-1'")})
}
