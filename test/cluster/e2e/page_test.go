//go:build e2e

package e2e

import (
	"cmp"
	"fmt"
	"os"
	"time"

	. "github.com/onsi/ginkgo/v2"
	"github.com/onsi/ginkgo/v2/types"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"

	"github.com/tierwall/tierwall/test/cluster/suites"
)

// results are those of whole runs, by cluster.
var results = suites.Table{
	Begin: "<!-- specs: written by make e2e -->",
	End:   "<!-- end of specs -->",
	Head:  []string{"pod network", "kube-proxy", "families", "runtime", "`spec.dataplane`", "passed", "time", "on"},
	Key:   []int{0, 1, 2, 3, 4},
}

// kindOfCluster are the first cells of its row.
func kindOfCluster(ctx SpecContext) []string {
	GinkgoHelper()
	var nodes corev1.NodeList
	Expect(admin.List(ctx, &nodes)).To(Succeed())
	runtime := suites.RuntimeName(nodes.Items[0].Status.NodeInfo.ContainerRuntimeVersion)
	o := bed.Options()
	return []string{o.PodNetwork, o.ProxyMode, o.Families(), runtime, cmp.Or(string(how.Dataplane), "Auto")}
}

// PAGE names the page that takes the result of a run of all specs.
var _ = ReportAfterSuite("page", func(r Report) {
	passed, total := 0, 0
	for _, s := range r.SpecReports {
		switch {
		case !s.LeafNodeType.Is(types.NodeTypeIt):
		case s.State.Is(types.SpecStatePassed):
			passed++
			total++
		case s.State.Is(types.SpecStateSkipped | types.SpecStatePending):
			return // not all of them
		default:
			total++
		}
	}
	page := os.Getenv("PAGE")
	if page == "" || kind == nil {
		return
	}
	row := append(kind, fmt.Sprintf("%d of %d", passed, total), r.RunTime.Round(time.Second).String(), r.StartTime.UTC().Format(time.DateOnly))
	Expect(results.Update(page, row)).To(Succeed())
})
