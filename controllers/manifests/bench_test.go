package manifests

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
)

// BenchmarkLoad reads 10,000 pods in one file, 4 MB, and reports how much memory
// the result holds on to.
func BenchmarkLoad(b *testing.B) {
	var text strings.Builder
	for i := range 10_000 {
		fmt.Fprintf(&text, `---
apiVersion: v1
kind: Pod
metadata:
  name: pod-%d
  namespace: ns-%d
  labels:
    app: app-%d
    pod-template-hash: "%x"
  annotations:
    note: a text that stands here to make the pod as long as pods are
spec:
  nodeName: node-%d
  containers:
  - name: c
    image: registry.example.com/team/app:%d
    ports:
    - name: http
      containerPort: 8080
status:
  podIP: 10.0.%d.%d
`, i, i%200, i%50, i, i%100, i, i>>8, i&255)
	}
	data := []byte(text.String())
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	var r *Result
	for b.Loop() {
		var err error
		if r, err = LoadBytes("pods.yaml", data); err != nil {
			b.Fatal(err)
		}
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/(1<<20), "heap-MB")
	b.SetBytes(int64(len(data)))
	runtime.KeepAlive(r)
}
