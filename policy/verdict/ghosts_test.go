package verdict_test

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/tierwall/tierwall/api/selector"
	"github.com/tierwall/tierwall/policy/model"
	"github.com/tierwall/tierwall/policy/verdict"
)

func ghostAt(node, uid string, addrs ...string) *model.Endpoint {
	e := &model.Endpoint{Ref: model.GhostRef("app", "web", uid), Node: node}
	for _, a := range addrs {
		e.Addrs = append(e.Addrs, netip.MustParseAddr(a))
	}
	return e
}

func podAt(node, name string, addr string) *model.Endpoint {
	return &model.Endpoint{
		Ref: model.Ref{Kind: model.KindPod, Namespace: "app", Name: name}, Node: node,
		Labels: map[string]string{"name": name}, Addrs: []netip.Addr{netip.MustParseAddr(addr)},
	}
}

// TestGhosts holds that a ghost may send and get nothing on its own node, whatever the
// policies allow, and that nobody else's decision is another for it.
func TestGhosts(t *testing.T) {
	const ghost, other, far, outside = "198.18.0.7", "198.18.0.8", "198.18.2.8", "203.0.113.9"
	all := &model.Policy{
		Ref: model.Ref{Kind: model.KindGlobalNetworkPolicy, Name: "all"}, Tier: "default", Ingress: true, Egress: true,
		Selector:     selector.NotEqual(model.LabelKind, model.OwnerNode),
		IngressRules: []model.Rule{{Action: model.Allow}}, EgressRules: []model.Rule{{Action: model.Allow}},
	}
	for _, c := range []struct {
		name, local, src, dst string
		want                  model.Action
		reason                model.Reason // of the last stage
		more                  []model.Object
		gone                  bool
	}{
		{"to a pod of its node", "n1", ghost, other, model.Deny, model.ReasonGhost, nil, false},
		{"to a pod elsewhere", "n1", ghost, far, model.Deny, model.ReasonGhost, nil, false},
		{"outside", "n1", ghost, outside, model.Deny, model.ReasonGhost, nil, false},
		{"to its node", "n1", ghost, "192.0.2.1", model.Deny, model.ReasonGhost, nil, false},
		{"from a pod of its node", "n1", other, ghost, model.Deny, model.ReasonGhost, nil, false},
		{"from a pod elsewhere", "n1", far, ghost, model.Deny, model.ReasonGhost, nil, false},
		{"from outside", "n1", outside, ghost, model.Deny, model.ReasonGhost, nil, false},
		{"from its node, as to all pods", "n1", "192.0.2.1", ghost, model.Allow, model.ReasonOwnNode, nil, false},
		{"seen by all nodes", "", far, ghost, model.Deny, model.ReasonGhost, nil, false},
		{"not on another node", "n2", far, ghost, model.Allow, model.ReasonRule, nil, false},
		{"a pod of its node has the address", "n1", ghost, other, model.Allow, model.ReasonRule, []model.Object{podAt("n1", "zzz", ghost)}, false},
		{"a pod elsewhere has it too", "n1", ghost, other, model.Deny, model.ReasonGhost, []model.Object{podAt("n2", "aaa", ghost)}, false},
		{"and is gone", "n1", ghost, other, model.Allow, model.ReasonRule, nil, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			ix := twoNodes(c.local, podAt("n1", "other", other), podAt("n2", "far", far), all)
			ix.Delete(model.Ref{Kind: model.KindGlobalNetworkPolicy, Name: "p"})
			ix.Upsert(ghostAt("n1", "u1", ghost))
			for _, o := range c.more {
				ix.Upsert(o)
			}
			ix.Flush()
			if c.gone {
				ix.Delete(model.GhostRef("app", "web", "u1"))
				ix.Flush()
			}
			f := model.Flow{Src: netip.MustParseAddr(c.src), Dst: netip.MustParseAddr(c.dst), Protocol: model.TCP, SrcPort: 40000, DstPort: 80}
			for _, d := range []model.Decision{verdict.DecideAt(ix, c.local, f), verdict.Explain(ix, f).Decision} {
				if d.Action != c.want || d.Stages[len(d.Stages)-1].Reason != c.reason {
					t.Errorf("decided %+v, want %s, %s", d, c.want, c.reason)
				}
			}
		})
	}
}

// TestGhostsAreNoPeers holds that no selector matches a ghost: it is in no set, and no
// policy selects it.
func TestGhostsAreNoPeers(t *testing.T) {
	ix := twoNodes("n1")
	peers := func(s *selector.Selector) []model.Rule {
		return []model.Rule{{Action: model.Allow, Match: model.Match{Source: model.Peer{Selector: s}}}}
	}
	for name, s := range map[string]*selector.Selector{
		"everything": selector.NotEqual(model.LabelKind, model.OwnerNode), "negative": selector.NotEqual("app", "x"),
		"namespace": selector.Not(selector.Equal(model.LabelNamespace, "other")),
	} {
		ix.Upsert(&model.Policy{
			Ref: model.Ref{Kind: model.KindGlobalNetworkPolicy, Name: name}, Tier: "default", Ingress: true, Selector: s, IngressRules: peers(s),
		})
	}
	ix.Flush()
	ix.Upsert(ghostAt("n1", "u1", "198.18.0.7", "fd00::7"))
	d := ix.Flush()
	if len(d.Sets) != 0 {
		t.Errorf("sets have changed: %+v", d.Sets)
	}
	if len(d.Endpoints) != 1 || d.Endpoints[0].Effective == nil || d.Endpoints[0].Effective.DefaultAction != model.Deny || len(d.Endpoints[0].Effective.Ingress) != 0 {
		t.Fatalf("endpoints: %+v", d.Endpoints)
	}
	for _, name := range []string{"everything", "negative", "namespace"} {
		if got := ix.Selected(model.Ref{Kind: model.KindGlobalNetworkPolicy, Name: name}); slices.ContainsFunc(got, func(r model.Ref) bool { return r.Kind == model.KindPodGhost }) {
			t.Errorf("%s selects it", name)
		}
	}
	// Another one has the same policy, and one that is gone leaves nothing.
	ix.Upsert(ghostAt("n1", "u2", "198.18.0.8"))
	if d2 := ix.Flush(); len(d2.Added) != 0 || d2.Endpoints[0].Effective != d.Endpoints[0].Effective {
		t.Errorf("the second one has a policy of its own: %+v", d2)
	}
	ix.Delete(model.GhostRef("app", "web", "u1"))
	ix.Delete(model.GhostRef("app", "web", "u2"))
	if d = ix.Flush(); len(d.Endpoints) != 2 || len(d.Removed) != 1 {
		t.Errorf("after both are gone: %+v", d)
	}
	if r := ix.Owner(netip.MustParseAddr("198.18.0.7")); r != (model.Ref{}) {
		t.Errorf("the address is still %s's", r)
	}
}

// TestReportedGhosts holds that ghosts which a NodeReport lists come and go with it.
func TestReportedGhosts(t *testing.T) {
	a := netip.MustParseAddr("198.18.0.7")
	ix := twoNodes("")
	report := func(list ...model.Ghost) { ix.Upsert(&model.Links{Node: "n1", Ghosts: list}); ix.Flush() }
	report(model.Ghost{Addr: a, Ref: model.GhostRef("app", "web", "u1")})
	if got := ix.Owner(a).String(); got != "PodGhost/app/web@u1" {
		t.Errorf("the address is %q's", got)
	}
	report()
	if got := ix.Owner(a); got != (model.Ref{}) {
		t.Errorf("the address is %s's", got)
	}
	report(model.Ghost{Addr: a, Ref: model.GhostRef("app", "web", "u1")})
	ix.Delete(model.Ref{Kind: model.KindNodeLinks, Name: "n1"})
	ix.Flush()
	if got := len(ix.Endpoints()); got != 1 {
		t.Errorf("%d endpoints are left, want that of the world", got)
	}
}
