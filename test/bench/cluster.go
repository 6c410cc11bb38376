// Package bench builds the worlds that benchmarks of several packages share.
package bench

import (
	"fmt"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/policy/convert"
	"github.com/tierwall/tierwall/policy/index"
)

// Shape says how alike the pods of a cluster are. Whatever the shape, it has 5,000
// pods of one IPv4 address each on 100 nodes, and 500 policies in three tiers.
type Shape string

const (
	// Teams is 50 namespaces of workloads of 10 to 100 pods, as people have them.
	Teams Shape = "teams"
	// Monoliths is 20 namespaces of one workload of 250 pods each.
	Monoliths Shape = "monoliths"
	// Strangers is 50 namespaces of 100 pods that are nobody's, have labels of their
	// own, and are treated by policies as no other pod is.
	Strangers Shape = "strangers"
)

// Shapes are all shapes.
func Shapes() []Shape { return []Shape{Teams, Monoliths, Strangers} }

const (
	nodes     = 100
	pods      = 5000
	policies  = 500
	zones     = 10 // network sets of the whole cluster, and policies about each
	ownOfZone = 6  // policies about each of them
)

// Objects are the objects of a cluster of a shape: always the same.
func Objects(shape Shape) []runtime.Object {
	c := &cluster{addr: netip.MustParseAddr("10.128.0.0")}
	for n := range nodes {
		c.add(&corev1.Node{
			ObjectMeta: metav1.ObjectMeta{Name: nodeName(n), Labels: map[string]string{"kubernetes.io/hostname": nodeName(n), "kubernetes.io/os": "linux"}},
			Status:     corev1.NodeStatus{Addresses: []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: fmt.Sprintf("192.168.0.%d", n+1)}}},
		})
	}
	namespaces := map[Shape]int{Teams: 50, Monoliths: 20, Strangers: 50}[shape]
	for i := range namespaces {
		ns := namespace(i)
		c.add(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: ns, Labels: map[string]string{
			"kubernetes.io/metadata.name": ns, "env": environment(i), "division": fmt.Sprint(i % 5),
		}}})
		switch shape {
		case Teams:
			c.workloads(ns, teamSizes[i%len(teamSizes)]...)
		case Monoliths:
			c.workloads(ns, pods/namespaces)
		case Strangers:
			c.strangers(ns, pods/namespaces)
		}
	}
	c.tiers()
	c.zones()
	switch shape {
	case Teams:
		c.teamPolicies(namespaces, teamSizes)
	case Monoliths:
		c.teamPolicies(namespaces, [][]int{{pods / namespaces}})
	case Strangers:
		c.strangerPolicies(namespaces)
	}
	// What is left makes the number of policies the same in every shape.
	for i := 0; c.policies < policies; i++ {
		c.globalPolicy("default", fmt.Sprintf("exception-%03d", i), float64(100+i), "app == 'app-0'", fmt.Sprintf("kubernetes.io/metadata.name == '%s'", namespace(i%namespaces)),
			rule(v1alpha1.Deny, "TCP", fmt.Sprintf("zone == '%d'", i%zones), 9000+i))
	}
	return c.objects
}

// Cluster is the index of a cluster of a shape. More objects are added as they are.
func Cluster(shape Shape, more ...runtime.Object) *index.Index {
	ix := index.New(index.Options{})
	for _, o := range append(Objects(shape), more...) {
		m, problems, known := convert.Object(o)
		if len(problems) > 0 {
			panic(problems[0].Error())
		}
		if known && m != nil {
			ix.Upsert(m)
		}
	}
	ix.Flush()
	return ix
}

// cluster collects objects.
type cluster struct {
	objects  []runtime.Object
	policies int
	pods     int
	addr     netip.Addr
}

func (c *cluster) add(o runtime.Object) {
	switch o.(type) {
	case *networkingv1.NetworkPolicy, *v1alpha1.NetworkPolicy, *v1alpha1.GlobalNetworkPolicy:
		c.policies++
	}
	c.objects = append(c.objects, o)
}

func nodeName(n int) string  { return fmt.Sprintf("node-%03d", n) }
func namespace(i int) string { return fmt.Sprintf("team-%02d", i) }

func environment(i int) string { return []string{"prod", "prod", "stage"}[i%3] }

// teamSizes are the numbers of pods of the workloads of a namespace: 100 in all.
var teamSizes = [][]int{
	{100},
	{60, 40},
	{40, 30, 20, 10},
	{25, 25, 25, 25},
	{10, 10, 10, 10, 10, 10, 10, 10, 10, 10},
}

// tiers are two tiers beside the default one.
func (c *cluster) tiers() {
	for i, name := range []string{"security", "platform"} {
		order, pass := float64(100*(i+1)), v1alpha1.Pass
		c.add(&v1alpha1.Tier{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1alpha1.TierSpec{Order: &order, DefaultAction: &pass}})
	}
}

// zones are network sets, and what the owners of the cluster say about them and
// about everybody.
func (c *cluster) zones() {
	for z := range zones {
		c.add(&v1alpha1.GlobalNetworkSet{
			ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("zone-%d", z), Labels: map[string]string{"zone": fmt.Sprint(z)}},
			Spec:       v1alpha1.NetworkSetSpec{Nets: []string{fmt.Sprintf("203.0.%d.0/24", z), fmt.Sprintf("198.51.%d.64/26", z), fmt.Sprintf("198.51.%d.200/32", z)}},
		})
		peers := fmt.Sprintf("zone == '%d'", z)
		division := fmt.Sprintf("division == '%d'", z%5)
		for k := range ownOfZone {
			name, port := fmt.Sprintf("zone-%d-%d", z, k), 9000+10*z+k
			switch k {
			case 0:
				c.globalPolicy("security", name, float64(z), "all()", division, rule(v1alpha1.Deny, "", peers, 0))
			case 1:
				c.globalPolicy("security", name, float64(100+z), "has(app)", "env == 'prod'",
					rule(v1alpha1.Log, "TCP", peers, port), rule(v1alpha1.Allow, "TCP", peers, port), rule(v1alpha1.Pass, "", "", 0))
			case 2:
				c.globalPolicy("platform", name, float64(z), "app in {'app-0', 'app-1', 'app-2'}", division,
					rule(v1alpha1.Allow, "TCP", peers, port), rule(v1alpha1.Deny, "TCP", "", port))
			default:
				c.globalPolicy("platform", name, float64(100+10*z+k), fmt.Sprintf("app == 'app-%d'", k-3), fmt.Sprintf("kubernetes.io/metadata.name == '%s'", namespace(z+k)),
					rule(v1alpha1.Deny, "UDP", peers, port))
			}
		}
	}
	stage := rule(v1alpha1.Deny, "", "", 0)
	stage.Source = v1alpha1.EntityRule{Selector: "all()", NamespaceSelector: "env == 'stage'"}
	c.globalPolicy("security", "stage-is-not-prod", 500, "all()", "env == 'prod'", stage)
	scrape := rule(v1alpha1.Allow, "TCP", "app == 'app-0'", 9100)
	scrape.Source.NamespaceSelector = "kubernetes.io/metadata.name == 'team-00'"
	c.globalPolicy("platform", "scrape", 900, "all()", "", scrape)
}

// Pods are the names, as namespace/name, of two pods of Objects that are in different
// namespaces.
func Pods(objects []runtime.Object) (first, last string) {
	for _, o := range objects {
		if p, ok := o.(*corev1.Pod); ok {
			last = p.Namespace + "/" + p.Name
			if first == "" {
				first = last
			}
		}
	}
	return first, last
}
