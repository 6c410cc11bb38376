package operator

import (
	"context"
	"errors"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/tierwall/tierwall/api/v1alpha1"
)

func TestDecideGuards(t *testing.T) {
	agents := &appsv1.DaemonSet{ObjectMeta: metav1.ObjectMeta{Namespace: DefaultNamespace, Name: AgentName}}
	elsewhere := &appsv1.DaemonSet{ObjectMeta: metav1.ObjectMeta{Namespace: "other", Name: AgentName}}
	available := []metav1.Condition{{Type: ConditionAvailable, Status: metav1.ConditionFalse, Reason: reasonRollingOut, LastTransitionTime: metav1.NewTime(noon)}}
	for _, tt := range []struct {
		name    string
		status  v1alpha1.TierwallStatus
		objects []client.Object
		want    v1alpha1.GuardMode
	}{
		{"a new installation", v1alpha1.TierwallStatus{}, nil, v1alpha1.GuardEnforce},
		{"agents of another installation", v1alpha1.TierwallStatus{}, []client.Object{elsewhere}, v1alpha1.GuardEnforce},
		{"agents are there", v1alpha1.TierwallStatus{}, []client.Object{agents}, v1alpha1.GuardCount},
		{"a status is there", v1alpha1.TierwallStatus{ObservedGeneration: 1, Conditions: available}, nil, v1alpha1.GuardCount},
		{"conditions are there", v1alpha1.TierwallStatus{Conditions: available}, nil, v1alpha1.GuardCount},
		{"decided before", v1alpha1.TierwallStatus{Guards: v1alpha1.GuardEnforce, ObservedGeneration: 1}, []client.Object{agents}, v1alpha1.GuardEnforce},
		{"decided before, in an upgrade", v1alpha1.TierwallStatus{Guards: v1alpha1.GuardCount}, nil, v1alpha1.GuardCount},
	} {
		t.Run(tt.name, func(t *testing.T) {
			decidedTwice(t, tt.status, tt.objects, func(got *v1alpha1.TierwallStatus) {
				if got.Guards != tt.want {
					t.Errorf("status.guards %q, want %q", got.Guards, tt.want)
				}
			})
		})
	}
}

// decidedTwice reconciles Tierwall/default with a status beside objects, twice, and
// checks the status that it has then.
func decidedTwice(t *testing.T, status v1alpha1.TierwallStatus, objects []client.Object, check func(*v1alpha1.TierwallStatus)) {
	t.Helper()
	tw := &v1alpha1.Tierwall{ObjectMeta: metav1.ObjectMeta{Name: v1alpha1.TierwallName}, Status: status}
	r, c := rig(t, interceptor.Funcs{}, append(objects, tw)...)
	for range 2 {
		if _, err := r.Reconcile(t.Context(), theOne); err != nil {
			t.Fatal(err)
		}
		got := &v1alpha1.Tierwall{}
		if err := c.Get(t.Context(), theOne.NamespacedName, got); err != nil {
			t.Fatal(err)
		}
		check(&got.Status)
	}
}

func TestBudgetsCondition(t *testing.T) {
	for _, tt := range []struct {
		spec, auto v1alpha1.GuardMode
		want       string
	}{
		{"", v1alpha1.GuardEnforce, "True Enforced: the objects of a namespace may have 10000 entries, and those of all namespaces 200000 on a node"},
		{v1alpha1.GuardAuto, v1alpha1.GuardCount, "False CountingSinceUpgrade: budgets count only since the upgrade: set spec.budgets.mode to Enforce to have what is past them deny"},
		{v1alpha1.GuardEnforce, v1alpha1.GuardCount, "True Enforced: the objects of a namespace may have 10000 entries, and those of all namespaces 200000 on a node"},
		{v1alpha1.GuardCount, v1alpha1.GuardEnforce, "False SetInSpec: spec.budgets.mode is Count"},
		{v1alpha1.GuardOff, v1alpha1.GuardEnforce, "False SetInSpec: spec.budgets.mode is Off"},
	} {
		tw := &v1alpha1.Tierwall{ObjectMeta: metav1.ObjectMeta{Name: v1alpha1.TierwallName}, Status: v1alpha1.TierwallStatus{Budgets: tt.auto}}
		tw.Spec.Budgets.Mode = tt.spec
		c := meta.FindStatusCondition(guardConditions(situation{now: noon}, tw), ConditionBudgetsEnforced)
		if have := string(c.Status) + " " + c.Reason + ": " + c.Message; have != tt.want {
			t.Errorf("%q, Auto %s: got\n%s\nwant\n%s", tt.spec, tt.auto, have, tt.want)
		}
	}
}

// Budgets start as guards do, and in an upgrade from a version that had decided on
// guards already they count.
func TestDecideBudgets(t *testing.T) {
	agents := &appsv1.DaemonSet{ObjectMeta: metav1.ObjectMeta{Namespace: DefaultNamespace, Name: AgentName}}
	for _, tt := range []struct {
		name    string
		status  v1alpha1.TierwallStatus
		objects []client.Object
		want    v1alpha1.GuardMode
	}{
		{"a new installation", v1alpha1.TierwallStatus{}, nil, v1alpha1.GuardEnforce},
		{"agents are there", v1alpha1.TierwallStatus{}, []client.Object{agents}, v1alpha1.GuardCount},
		{"guards were decided by a version before", v1alpha1.TierwallStatus{
			Guards: v1alpha1.GuardEnforce, NamespacedSets: v1alpha1.NamespacedSetsSelected, ObservedGeneration: 1,
		}, []client.Object{agents}, v1alpha1.GuardCount},
		{"decided before", v1alpha1.TierwallStatus{Budgets: v1alpha1.GuardEnforce, ObservedGeneration: 1}, []client.Object{agents}, v1alpha1.GuardEnforce},
	} {
		t.Run(tt.name, func(t *testing.T) {
			decidedTwice(t, tt.status, tt.objects, func(got *v1alpha1.TierwallStatus) {
				if got.Budgets != tt.want {
					t.Errorf("status.budgets %q, want %q", got.Budgets, tt.want)
				}
			})
		})
	}
}

func TestDecideNamespacedSets(t *testing.T) {
	agents := &appsv1.DaemonSet{ObjectMeta: metav1.ObjectMeta{Namespace: DefaultNamespace, Name: AgentName}}
	for _, tt := range []struct {
		name    string
		status  v1alpha1.TierwallStatus
		objects []client.Object
		want    v1alpha1.NamespacedSets
	}{
		{"a new installation", v1alpha1.TierwallStatus{}, nil, v1alpha1.NamespacedSetsSelected},
		{"agents are there", v1alpha1.TierwallStatus{}, []client.Object{agents}, v1alpha1.NamespacedSetsEverywhere},
		{"guards were decided by a version before", v1alpha1.TierwallStatus{Guards: v1alpha1.GuardEnforce, ObservedGeneration: 1}, []client.Object{agents},
			v1alpha1.NamespacedSetsEverywhere},
		{"decided before", v1alpha1.TierwallStatus{NamespacedSets: v1alpha1.NamespacedSetsSelected, ObservedGeneration: 1}, []client.Object{agents},
			v1alpha1.NamespacedSetsSelected},
	} {
		t.Run(tt.name, func(t *testing.T) {
			decidedTwice(t, tt.status, tt.objects, func(got *v1alpha1.TierwallStatus) {
				if got.NamespacedSets != tt.want {
					t.Errorf("status.namespacedSets %q, want %q", got.NamespacedSets, tt.want)
				}
				if tt.status.Guards != "" && got.Guards != tt.status.Guards {
					t.Errorf("guards were decided again: %s", got.Guards)
				}
			})
		})
	}
}

// TestNamespacedSetsCondition: an upgraded installation names the rules that a switch
// changes, and no others, before the switch.
func TestNamespacedSetsCondition(t *testing.T) {
	p := &v1alpha1.GlobalNetworkPolicy{ObjectMeta: metav1.ObjectMeta{Name: "known-bad"}}
	p.Spec.Types = []v1alpha1.PolicyType{v1alpha1.PolicyTypeEgress}
	p.Spec.Egress = []v1alpha1.Rule{
		{Action: v1alpha1.Deny, Destination: v1alpha1.EntityRule{Selector: "threat == 'bad'"}},
		{Action: v1alpha1.Deny, Destination: v1alpha1.EntityRule{Selector: "threat == 'bad'", NamespaceSelector: "all()"}},
		{Action: v1alpha1.Allow, Destination: v1alpha1.EntityRule{NotSelector: "threat == 'bad'"}},
		{Action: v1alpha1.Allow, Destination: v1alpha1.EntityRule{Selector: "threat == 'other'"}},
	}
	set := &v1alpha1.NetworkSet{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "feed", Labels: map[string]string{"threat": "bad"}}}
	set.Spec.Nets = []string{"203.0.113.0/24"}
	tw := &v1alpha1.Tierwall{ObjectMeta: metav1.ObjectMeta{Name: v1alpha1.TierwallName}}
	tw.Status = v1alpha1.TierwallStatus{ObservedGeneration: 1}
	r, c := rig(t, interceptor.Funcs{}, tw, p, set)
	look := func() string {
		t.Helper()
		if _, err := r.Reconcile(t.Context(), theOne); err != nil {
			t.Fatal(err)
		}
		got := &v1alpha1.Tierwall{}
		if err := c.Get(t.Context(), theOne.NamespacedName, got); err != nil {
			t.Fatal(err)
		}
		cond := meta.FindStatusCondition(got.Status.Conditions, conditionNamespacedSets)
		if cond == nil {
			t.Fatal("no condition")
		}
		return string(cond.Status) + " " + cond.Reason + ": " + cond.Message
	}
	want := "False EverywhereSinceUpgrade: NetworkSets of all namespaces count in rules of global policies that do not say of which namespaces, so that whoever may write one widens such rules; " +
		"before you set spec.namespacedSets to Selected, give these a namespaceSelector or do without the sets: " +
		"GlobalNetworkPolicy/known-bad spec.egress[0].destination.selector, GlobalNetworkPolicy/known-bad spec.egress[2].destination.notSelector (tierwall lint names the sets)"
	if got := look(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if err := c.Get(t.Context(), theOne.NamespacedName, tw); err != nil {
		t.Fatal(err)
	}
	tw.Spec.NamespacedSets = v1alpha1.NamespacedSetsSelected
	if err := c.Update(t.Context(), tw); err != nil {
		t.Fatal(err)
	}
	r.reported = r.reported.Add(-affectedEvery)
	if got, want := look(), "True Selected: rules of global policies count NetworkSets only where they say of which namespaces"; got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// While the decision cannot be written nothing is installed: with the agents
// there, a new installation would pass for an upgraded one.
func TestNothingIsInstalledBeforeGuardsAreDecided(t *testing.T) {
	no := errors.New("no leader")
	fail := interceptor.Funcs{SubResourcePatch: func(context.Context, client.Client, string, client.Object, client.Patch, ...client.SubResourcePatchOption) error {
		return no
	}}
	r, c := rig(t, fail, &v1alpha1.Tierwall{ObjectMeta: metav1.ObjectMeta{Name: v1alpha1.TierwallName}})
	if _, err := r.Reconcile(t.Context(), theOne); !errors.Is(err, no) {
		t.Errorf("error %v", err)
	}
	if err := c.Get(t.Context(), client.ObjectKey{Namespace: DefaultNamespace, Name: AgentName}, &appsv1.DaemonSet{}); err == nil {
		t.Error("the agents are installed")
	}
}

func TestGuardConditions(t *testing.T) {
	for _, tt := range []struct {
		name            string
		spec            v1alpha1.TierwallSpec
		auto            v1alpha1.GuardMode
		guards, tunnels string
	}{
		{"new", v1alpha1.TierwallSpec{}, v1alpha1.GuardEnforce, "True Enforced: all guards drop what they find",
			"True OpenByDefault: encapsulated traffic between nodes, of the tunnels that they have, passes host endpoints' policies"},
		{"upgraded", v1alpha1.TierwallSpec{LinkGuard: v1alpha1.GuardEnforce, WildcardGuard: v1alpha1.GuardOff}, v1alpha1.GuardCount,
			"False CountingSinceUpgrade: guards count only since the upgrade: set spec.sourceGuard, spec.encapsulationGuard to Enforce to drop what they count; spec.wildcardGuard is Off",
			"True OpenByDefault: encapsulated traffic between nodes, of the tunnels that they have, passes host endpoints' policies"},
		{"all enforced after the upgrade", v1alpha1.TierwallSpec{
			SourceGuard: v1alpha1.GuardEnforce, LinkGuard: v1alpha1.GuardEnforce, EncapsulationGuard: v1alpha1.GuardEnforce, WildcardGuard: v1alpha1.GuardEnforce,
		}, v1alpha1.GuardCount, "True Enforced: all guards drop what they find",
			"True OpenByDefault: encapsulated traffic between nodes, of the tunnels that they have, passes host endpoints' policies"},
		{"set", v1alpha1.TierwallSpec{SourceGuard: v1alpha1.GuardCount, Failsafe: v1alpha1.Failsafe{Tunnels: ptr.To(false)}}, v1alpha1.GuardEnforce,
			"False SetInSpec: spec.sourceGuard is Count",
			"False SetInSpec: spec.failsafe.tunnels is false: host endpoints' policies decide on encapsulated traffic between nodes, and may close the pod network"},
	} {
		tw := &v1alpha1.Tierwall{ObjectMeta: metav1.ObjectMeta{Name: v1alpha1.TierwallName}, Spec: tt.spec, Status: v1alpha1.TierwallStatus{Guards: tt.auto}}
		got := guardConditions(situation{now: noon}, tw)
		for kind, want := range map[string]string{ConditionGuardsEnforced: tt.guards, ConditionTunnelFailsafe: tt.tunnels} {
			c := meta.FindStatusCondition(got, kind)
			if c == nil {
				t.Fatalf("%s: no condition %s", tt.name, kind)
			}
			if have := string(c.Status) + " " + c.Reason + ": " + c.Message; have != want {
				t.Errorf("%s: %s: got\n%s\nwant\n%s", tt.name, kind, have, want)
			}
		}
	}
}
