package oracle

import (
	"cmp"
	"slices"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/policy/model"
)

// budget has policies past the budget of their namespace deny (docs/budgets.md: "What
// counts", "What becomes of what is past a budget"), as where nothing has been in force
// before. The tiers are known.
func (w *World) budget(objects []runtime.Object) {
	limit, mode := 10_000, v1alpha1.GuardEnforce
	for _, o := range objects {
		t, ok := o.(*v1alpha1.Tierwall)
		if !ok || t.Name != v1alpha1.TierwallName {
			continue
		}
		if n := t.Spec.Budgets.Namespace; n != nil && *n >= 1 {
			limit = int(*n)
		}
		if mode = t.Spec.Budgets.Mode; mode == "" || mode == v1alpha1.GuardAuto {
			mode = t.Status.Budgets
		}
	}
	if mode == v1alpha1.GuardCount || mode == v1alpha1.GuardOff {
		return
	}
	type item struct {
		place   int // of its tier, doubled; that of sets is right before tier default
		created int64
		ref     model.Ref
		entries int
		p       *policy // nil for a set
	}
	place := func(name string) int {
		return 2 * slices.IndexFunc(w.tiers, func(t tier) bool { return t.name == name })
	}
	counted := map[string][]item{}
	for _, o := range objects {
		i := item{entries: 1}
		switch o := o.(type) {
		case *networkingv1.NetworkPolicy:
			i.ref = model.Ref{Kind: model.KindNetworkPolicy, Namespace: o.Namespace, Name: o.Name}
			i.created = o.CreationTimestamp.Unix()
			for _, r := range o.Spec.Ingress {
				i.entries += 1 + peersOf(r.From) + len(r.Ports)
			}
			for _, r := range o.Spec.Egress {
				i.entries += 1 + peersOf(r.To) + len(r.Ports)
			}
		case *v1alpha1.NetworkPolicy:
			i.ref = model.Ref{Kind: model.KindTierwallNetworkPolicy, Namespace: o.Namespace, Name: o.Name}
			i.created = o.CreationTimestamp.Unix()
			for _, r := range slices.Concat(o.Spec.Ingress, o.Spec.Egress) {
				i.entries++
				for _, e := range []v1alpha1.EntityRule{r.Source, r.Destination} {
					i.entries += len(e.Nets) + len(e.NotNets) + len(e.Ports) + len(e.NotPorts)
				}
			}
		case *v1alpha1.NetworkSet:
			i.ref = model.Ref{Kind: model.KindNetworkSet, Namespace: o.Namespace, Name: o.Name}
			i.place = place("default") - 1
			i.entries += len(o.Spec.Nets)
		default:
			continue
		}
		if n := slices.IndexFunc(w.policies, func(p *policy) bool { return p.tie == i.ref }); n >= 0 {
			i.p = w.policies[n]
			i.place = place(i.p.tier)
		}
		counted[i.ref.Namespace] = append(counted[i.ref.Namespace], i)
	}
	for _, items := range counted {
		slices.SortFunc(items, func(a, b item) int {
			return cmp.Or(cmp.Compare(a.place, b.place), cmp.Compare(a.created, b.created), a.ref.Compare(b.ref))
		})
		left := limit
		for _, i := range items {
			if i.p == nil || i.entries <= left {
				left -= i.entries
				continue
			}
			for dir, governs := range i.p.governs {
				i.p.rules[dir] = nil
				if governs && !i.p.audit {
					i.p.rules[dir] = []rule{{action: model.Deny, matches: func(model.Flow) bool { return true }}}
				}
			}
		}
	}
}

// peersOf counts peers, and the exceptions of blocks.
func peersOf(peers []networkingv1.NetworkPolicyPeer) int {
	n := len(peers)
	for _, p := range peers {
		if p.IPBlock != nil {
			n += len(p.IPBlock.Except)
		}
	}
	return n
}
