package cluster

import (
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/controllers/agent"
	"github.com/tierwall/tierwall/policy/convert"
	"github.com/tierwall/tierwall/policy/model"
	"github.com/tierwall/tierwall/policy/translate"
)

// sink holds what it is told.
type sink map[model.Ref]runtime.Object

var _ agent.Sink = sink{}

func (s sink) Update(upserts []runtime.Object, deletes []model.Ref) {
	for _, r := range deletes {
		delete(s, r)
	}
	for _, o := range upserts {
		if r, ok := convert.RefOf(o); ok {
			s[r] = o
		}
	}
}
func (sink) Synced()         {}
func (sink) Report(...error) {}

func (s sink) String() string {
	var out []string
	for _, r := range slices.SortedFunc(maps.Keys(s), model.Ref.Compare) {
		text := r.String()
		switch o := s[r].(type) {
		case *v1alpha1.GlobalNetworkPolicy:
			text += " " + o.Spec.Selector
		case *v1alpha1.HostEndpoint:
			text += " " + o.Spec.InterfaceName
		}
		out = append(out, text)
	}
	return strings.Join(out, ", ")
}

func gnp(name, selector, service string) *v1alpha1.GlobalNetworkPolicy {
	p := &v1alpha1.GlobalNetworkPolicy{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1alpha1.GlobalNetworkPolicySpec{Tier: "default", Selector: selector}}
	if service != "" {
		p.Spec.Egress = []v1alpha1.Rule{{Action: v1alpha1.Allow, Destination: v1alpha1.EntityRule{Services: &v1alpha1.ServiceMatch{Name: service, Namespace: "ns"}}}}
	}
	return p
}

func kindNamed(t *testing.T, name string) *kind {
	t.Helper()
	for _, k := range slices.Concat(builtinKinds(), customKinds()) {
		if k.kind == name && !k.foreign {
			return k
		}
	}
	t.Fatal("no kind", name)
	return nil
}

func TestLayers(t *testing.T) {
	s := sink{}
	l := newLayers(s, slog.New(slog.DiscardHandler), func() {})
	own := func(name string) ownLayer { return ownLayer{l, kindNamed(t, name)} }
	calico := func(rank int) foreignLayer { return foreignLayer{l, nil, rank} }
	result := func(o ...runtime.Object) translate.Result { return translate.Result{Objects: o} }
	settings := &v1alpha1.Tierwall{ObjectMeta: metav1.ObjectMeta{Name: "default"}, Spec: v1alpha1.TierwallSpec{AutoHostEndpoints: true}}
	steps := []struct {
		name string
		do   func()
		want string
	}{
		{"the older spelling", func() { calico(9).upsert("", "default.p", result(gnp("p", "old", ""))) }, "GlobalNetworkPolicy/p old"},
		{"the newer one too", func() { calico(2).upsert("", "p", result(gnp("p", "new", ""))) }, "GlobalNetworkPolicy/p new"},
		{"a policy of the cluster's own", func() { own("GlobalNetworkPolicy").upsert("", "p", gnp("p", "own", "")) }, "GlobalNetworkPolicy/p own"},
		{"below it nothing shows", func() { calico(2).remove("", "p") }, "GlobalNetworkPolicy/p own"},
		{"it goes", func() { own("GlobalNetworkPolicy").remove("", "p") }, "GlobalNetworkPolicy/p old"},
		{"all gone", func() { calico(9).remove("", "default.p") }, ""},
		{"a node", func() { own("Node").upsert("", "n", &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n"}}) }, "Node/n"},
		{"automatic host endpoints", func() { own("Tierwall").upsert("", "default", settings) }, "HostEndpoint/n-auto-hep *, Node/n, Tierwall/default"},
		{"one of them written", func() {
			own("HostEndpoint").upsert("", "n-auto-hep", &v1alpha1.HostEndpoint{ObjectMeta: metav1.ObjectMeta{Name: "n-auto-hep"}, Spec: v1alpha1.HostEndpointSpec{InterfaceName: "eth0"}})
		}, "HostEndpoint/n-auto-hep eth0, Node/n, Tierwall/default"},
		{"the node goes", func() { own("Node").remove("", "n") }, "HostEndpoint/n-auto-hep eth0, Tierwall/default"},
		{"and the written one", func() { own("HostEndpoint").remove("", "n-auto-hep") }, "Tierwall/default"},
		{"and the settings", func() { own("Tierwall").remove("", "default") }, ""},
	}
	for _, step := range steps {
		step.do()
		l.derive()
		if got := fmt.Sprint(s); got != step.want {
			t.Errorf("%s: %q, want %q", step.name, got, step.want)
		}
	}
	if len(l.own)+len(l.derived)+len(l.foreign)+len(l.nodes) > 0 {
		t.Errorf("left behind: %v %v %v %v", l.own, l.derived, l.foreign, l.nodes)
	}
}

func TestPoliciesWaitForServices(t *testing.T) {
	s := sink{}
	looked := 0
	l := newLayers(s, slog.New(slog.DiscardHandler), func() { looked++ })
	own, calico := ownLayer{l, kindNamed(t, "GlobalNetworkPolicy")}, foreignLayer{l, nil, 1}
	expect := func(name, want string) {
		t.Helper()
		l.derive()
		if got := fmt.Sprint(s); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	own.upsert("", "a", gnp("a", "first", ""))
	calico.upsert("", "c", translate.Result{Objects: []runtime.Object{gnp("c", "first", "")}})
	expect("no services", "GlobalNetworkPolicy/a first, GlobalNetworkPolicy/c first")
	if l.servicesWanted() {
		t.Error("services are wanted by nobody")
	}
	own.upsert("", "a", gnp("a", "second", "svc"))
	own.upsert("", "b", gnp("b", "first", "svc"))
	own.upsert("", "gone", gnp("gone", "first", "svc"))
	own.remove("", "gone")
	calico.upsert("", "c", translate.Result{Objects: []runtime.Object{gnp("c", "second", "svc")}})
	calico.upsert("", "d", translate.Result{Objects: []runtime.Object{gnp("d", "first", "svc")}})
	expect("waiting", "GlobalNetworkPolicy/a first, GlobalNetworkPolicy/c first")
	if !l.servicesWanted() || looked == 0 {
		t.Error("services are not wanted")
	}
	own.upsert("", "b", gnp("b", "second", ""))
	expect("one does not need them any more", "GlobalNetworkPolicy/a first, GlobalNetworkPolicy/b second, GlobalNetworkPolicy/c first")
	l.servicesKnown()
	expect("known", "GlobalNetworkPolicy/a second, GlobalNetworkPolicy/b second, GlobalNetworkPolicy/c second, GlobalNetworkPolicy/d first")
	own.upsert("", "a", gnp("a", "third", "svc"))
	expect("no more waiting", "GlobalNetworkPolicy/a third, GlobalNetworkPolicy/b second, GlobalNetworkPolicy/c second, GlobalNetworkPolicy/d first")
}

// inTier puts a policy into a tier.
func inTier(p *v1alpha1.GlobalNetworkPolicy, tier string) *v1alpha1.GlobalNetworkPolicy {
	p.Spec.Tier = tier
	return p
}

// TestTiersDoNotShadow: the translated name of security.no-metadata of
// projectcalico.org is no-metadata. A policy of that name in another tier, which
// somebody else may write, does not replace it; one in its own tier does.
func TestTiersDoNotShadow(t *testing.T) {
	s := sink{}
	l := newLayers(s, slog.New(slog.DiscardHandler), func() {})
	own, calico := ownLayer{l, kindNamed(t, "GlobalNetworkPolicy")}, foreignLayer{l, nil, 1}
	result := func(o ...runtime.Object) translate.Result { return translate.Result{Objects: o} }
	const qualified = "GlobalNetworkPolicy.projectcalico.org/security:no-metadata"
	steps := []struct {
		name   string
		do     func()
		derive bool
		want   string
	}{
		{"the security team's", func() {
			calico.upsert("", "security.no-metadata", result(inTier(gnp("no-metadata", "theirs", ""), "security")))
		}, true, "GlobalNetworkPolicy/no-metadata theirs"},
		// What follows is in the transaction of the change itself.
		{"the tenant's of that name", func() { own.upsert("", "no-metadata", gnp("no-metadata", "tenant", "")) }, false,
			"GlobalNetworkPolicy/no-metadata tenant, " + qualified + " theirs"},
		{"a new version of theirs", func() {
			calico.upsert("", "security.no-metadata", result(inTier(gnp("no-metadata", "newer", ""), "security")))
		}, true, "GlobalNetworkPolicy/no-metadata tenant, " + qualified + " newer"},
		{"the tenant's moves into the tier", func() { own.upsert("", "no-metadata", inTier(gnp("no-metadata", "owner", ""), "security")) }, false,
			"GlobalNetworkPolicy/no-metadata owner"},
		{"and out of it", func() { own.upsert("", "no-metadata", gnp("no-metadata", "tenant", "")) }, false,
			"GlobalNetworkPolicy/no-metadata tenant, " + qualified + " newer"},
		{"the tenant's goes", func() { own.remove("", "no-metadata") }, false, "GlobalNetworkPolicy/no-metadata newer"},
		// Both translated: the older spelling has names with tiers before both.
		{"one of tier default", func() { calico.upsert("", "default.no-metadata", result(gnp("no-metadata", "tenant", ""))) }, true,
			"GlobalNetworkPolicy.projectcalico.org/default:no-metadata tenant, " + qualified + " newer"},
		{"one that has the name with the tier", func() {
			calico.upsert("", "default.security.no-metadata", result(gnp("security.no-metadata", "tenant", "")))
		}, true, "GlobalNetworkPolicy/security.no-metadata tenant, GlobalNetworkPolicy.projectcalico.org/default:no-metadata tenant, " + qualified + " newer"},
	}
	for _, step := range steps {
		step.do()
		if step.derive {
			l.derive()
		}
		if got := fmt.Sprint(s); got != step.want {
			t.Errorf("%s: %q, want %q", step.name, got, step.want)
		}
	}
}

// calls is a sink that keeps what each call says.
type calls struct {
	sink
	list []string
}

func (c *calls) Update(upserts []runtime.Object, deletes []model.Ref) {
	text := ""
	for _, r := range deletes {
		text += "-" + r.String() + " "
	}
	for _, o := range upserts {
		r, _ := convert.RefOf(o)
		text += r.String() + " "
	}
	c.list = append(c.list, strings.TrimSpace(text))
}

// What is about one name comes in one call, and the rest apart.
func TestDeliver(t *testing.T) {
	to := &calls{sink: sink{}}
	l := newLayers(to, slog.New(slog.DiscardHandler), func() {})
	l.deliver(
		[]runtime.Object{gnp("a", "", ""), gnp("b", "", ""), gnp("c", "", "")},
		[]model.Ref{{Kind: model.KindCalicoGlobalNetworkPolicy, Name: model.TierName("security", "b")}, {Kind: model.KindGlobalNetworkPolicy, Name: "d"}},
	)
	want := []string{"GlobalNetworkPolicy/a", "-GlobalNetworkPolicy.projectcalico.org/security:b GlobalNetworkPolicy/b", "GlobalNetworkPolicy/c", "-GlobalNetworkPolicy/d"}
	if !slices.Equal(to.list, want) {
		t.Errorf("calls\n%q, want\n%q", to.list, want)
	}
}
