package view

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/tierwall/tierwall/api/selector"
	"github.com/tierwall/tierwall/policy/flows"
	"github.com/tierwall/tierwall/policy/index"
	"github.com/tierwall/tierwall/policy/model"
)

// pods are those of the world, by namespace/workload-pod, with their addresses.
var pods = map[string][]string{
	"shop/web-1": {"10.0.0.1", "fd00::1"}, "shop/web-2": {"10.0.0.2", "fd00::2"}, "shop/db-1": {"10.0.0.3"}, "other/web-1": {"10.0.0.4"},
}

// worldOf has the pods and policies of tier default.
func worldOf(policies ...*model.Policy) *World {
	ix := index.New(index.Options{})
	ix.Upsert(&model.Node{Name: "n", Addrs: []netip.Addr{netip.MustParseAddr("192.0.2.1")}, PodCIDRs: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/24"), netip.MustParsePrefix("fd00::/64")}})
	var objects []runtime.Object
	for name, addrs := range pods {
		ns, pod, _ := strings.Cut(name, "/")
		owner, _, _ := strings.Cut(pod, "-")
		e := &model.Endpoint{Ref: model.Ref{Kind: model.KindPod, Namespace: ns, Name: pod}, Node: "n", Labels: map[string]string{"app": owner}}
		for _, a := range addrs {
			e.Addrs = append(e.Addrs, netip.MustParseAddr(a))
		}
		ix.Upsert(e)
		objects = append(objects, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: pod, OwnerReferences: []metav1.OwnerReference{{Kind: "StatefulSet", Name: owner}}}})
	}
	for _, p := range policies {
		ix.Upsert(p)
	}
	ix.Flush()
	return NewWorld(ix, objects, nil, nil)
}

// closed denies what is sent to the pods of an app.
func closed(app string, audit bool) *model.Policy {
	return &model.Policy{
		Ref: model.Ref{Kind: model.KindGlobalNetworkPolicy, Name: "closed"}, Tier: model.TierDefault, Order: 1, Audit: audit,
		Selector: selector.And(selector.Equal("app", app), selector.Equal(model.LabelKind, model.OwnerPod)),
		Ingress:  true, IngressRules: []model.Rule{{Action: model.Deny}},
	}
}

func podEnd(namespace, workload string, addrs ...string) flows.End {
	e := flows.End{Kind: flows.EndPod, Namespace: namespace, Workload: workload}
	for _, a := range addrs {
		e.Addresses = append(e.Addresses, netip.MustParseAddr(a))
	}
	return e
}

func outside(addr string) flows.End {
	return flows.End{Kind: flows.EndOutside, Addresses: []netip.Addr{netip.MustParseAddr(addr)}}
}

// TestFlow: the ends of a record have the addresses that they have now.
func TestFlow(t *testing.T) {
	w := worldOf()
	for _, c := range []struct {
		name     string
		from, to flows.End
		want     string // src dst; empty: an error
	}{
		{"as they were", podEnd("shop", "StatefulSet/web", "10.0.0.2"), podEnd("shop", "StatefulSet/db", "10.0.0.3"), "10.0.0.2 10.0.0.3"},
		{"an address that is gone", podEnd("shop", "StatefulSet/web", "10.0.0.99"), podEnd("shop", "StatefulSet/db"), "10.0.0.1 10.0.0.3"},
		{"an address that another workload has now", podEnd("shop", "StatefulSet/web", "10.0.0.3"), podEnd("other", "StatefulSet/web"), "10.0.0.1 10.0.0.4"},
		{"a workload of this name in another namespace only", podEnd("other", "StatefulSet/db"), podEnd("shop", "StatefulSet/db"), ""},
		{"a workload that is gone", podEnd("shop", "Deployment/old", "10.0.0.98"), podEnd("shop", "StatefulSet/db"), ""},
		{"IPv6", podEnd("shop", "StatefulSet/web"), outside("2001:db8::1"), "fd00::1 2001:db8::1"},
		{"a family that the other end lacks", podEnd("shop", "StatefulSet/db"), outside("2001:db8::1"), ""},
		{"a node", flows.End{Kind: flows.EndHost, Workload: "Node/n"}, podEnd("shop", "StatefulSet/db"), "192.0.2.1 10.0.0.3"},
		{"no addresses", flows.End{Kind: flows.EndOutside}, podEnd("shop", "StatefulSet/db"), ""},
	} {
		f, err := w.Flow(&flows.Record{Source: c.from, Destination: c.to, Protocol: model.TCP, Port: 80})
		got := f.Src.String() + " " + f.Dst.String()
		if (err != nil) != (c.want == "") || err == nil && got != c.want {
			t.Errorf("%s: %s, %v, want %q", c.name, got, err, c.want)
		}
	}
}

// TestHits: a rule's connections, and those that an audited one would have decided.
func TestHits(t *testing.T) {
	rule := func(name string, a model.Action) *model.Verdict {
		return &model.Verdict{Action: a, Direction: model.Ingress, Reason: model.ReasonRule, Tier: model.TierDefault, Policy: model.Ref{Kind: model.KindGlobalNetworkPolicy, Name: name}}
	}
	end := &model.Verdict{Action: model.Deny, Direction: model.Ingress, Reason: model.ReasonEndOfTier, Tier: model.TierDefault, Rule: model.RuleEndOfTier}
	byDefault := &model.Verdict{Action: model.Allow, Direction: model.Ingress, Reason: model.ReasonDefault, Rule: model.RuleDefault, Audit: rule("closed", model.Deny)}
	list := []flows.Record{
		{Connections: flows.Connections{New: 3}, Decided: flows.Decided{Action: model.Allow, Ingress: byDefault}},
		{Connections: flows.Connections{Live: 2}, Decided: flows.Decided{Action: model.Allow, Ingress: byDefault}},
		{Denied: 4, Decided: flows.Decided{Action: model.Deny, Ingress: end}},
		{Denied: 5, Decided: flows.Decided{Action: model.Deny, Ingress: rule("gone", model.Deny)}},
		{},
	}
	b := worldOf(closed("web", true)).Board(list)
	for _, tier := range b.Tiers {
		if tier.Name != model.TierDefault {
			continue
		}
		if want := (Hits{Denied: 4}); tier.End != want {
			t.Errorf("end of tier: %+v, want %+v", tier.End, want)
		}
		if want := (Hits{WouldDeny: 5}); len(tier.Policies) != 1 || tier.Policies[0].Hits != want {
			t.Errorf("%+v, want %+v", tier.Policies, want)
		}
	}
}

// TestReplay: flows are decided again, each once, whatever windows they were seen in.
func TestReplay(t *testing.T) {
	now := time.Unix(0, 0)
	record := func(from, to flows.End, n uint64) flows.Record {
		now = now.Add(time.Minute)
		return flows.Record{Start: now, End: now.Add(time.Minute), Source: from, Destination: to, Protocol: model.TCP, Port: 80, Connections: flows.Connections{New: n}}
	}
	web, db := podEnd("shop", "StatefulSet/web", "10.0.0.1"), podEnd("shop", "StatefulSet/db", "10.0.0.3")
	list := []flows.Record{record(web, db, 1), record(web, db, 2), record(db, web, 10), record(podEnd("gone", "StatefulSet/x"), db, 7), {Other: true}}
	got := worldOf().WhatIf(worldOf(closed("db", false)), list)
	if s := got.Seen; s.Flows != 2 || s.Connections != 13 || s.Denied != 1 || s.DeniedConnections != 3 || s.Allowed != 0 || s.Unknown != 1 || len(s.Changed) != 1 || s.Changed[0].From != "shop/web" {
		t.Errorf("%+v", s)
	}
	if got.Summary.Lost == 0 || got.Summary.Gained != 0 {
		t.Errorf("%+v", got.Summary)
	}
	if back := worldOf(closed("db", false)).WhatIf(worldOf(), list); back.Seen.Allowed != 1 || back.Seen.AllowedConnections != 3 || back.Seen.Denied != 0 {
		t.Errorf("%+v", back.Seen)
	}
}

// TestMapOfStrangers: ends that are gone have a place in the map; each edge is there once.
func TestMapOfStrangers(t *testing.T) {
	list := []flows.Record{
		{Source: podEnd("gone", "Deployment/x"), Destination: podEnd("shop", "StatefulSet/db"), Protocol: model.TCP, Port: 80, Denied: 1, Decided: flows.Decided{Action: model.Deny}},
		{Source: podEnd("gone", "Deployment/x"), Destination: podEnd("shop", "StatefulSet/db"), Protocol: model.TCP, Port: 80, Connections: flows.Connections{New: 2}, Decided: flows.Decided{Action: model.Allow}},
		{Source: flows.End{}, Destination: flows.End{Kind: flows.EndPod, Namespace: "hidden"}, Protocol: model.UDP, Port: 53, Connections: flows.Connections{New: 1}, Decided: flows.Decided{Action: model.Allow}},
	}
	m := worldOf().Map(list)
	if len(m.Seen) != 2 || m.Seen[0].Allowed != 2 || m.Seen[0].Denied != 1 || len(m.Ends) != m.MatrixSize+3 {
		t.Errorf("%+v of %d, %+v", m.Ends, m.MatrixSize, m.Seen)
	}
	if e := m.Ends[m.Seen[0].From]; e.Name != "gone/x" || e.Group != "gone" || !e.Namespaced || e.Label != "x" {
		t.Errorf("%+v", e)
	}
}
