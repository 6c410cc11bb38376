//go:build linux

package cmd

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/lab"
	"github.com/tierwall/tierwall/policy/index"
	"github.com/tierwall/tierwall/policy/model"
	"github.com/tierwall/tierwall/policy/policytest"
	"github.com/tierwall/tierwall/policy/reach"
	"github.com/tierwall/tierwall/policy/verdict"
)

// stranger is an address outside of the cluster (TEST-NET-3).
var stranger = netip.MustParseAddr("203.0.113.50")

// matrix is who reaches whom: every pod and somebody outside, to every pod, at
// all the ports that it names (or TCP 80).
type matrix struct {
	from, to []end
	cells    [][]cell // by from and to
	probes   int
	spent    time.Duration
}

type end struct {
	name  string
	addr  netip.Addr
	ports []model.NamedPort
}

// cell is what became of the probes of one pair, one for each port.
type cell struct {
	flows     []model.Flow
	delivered []bool
}

func newMatrix(ix *index.Index) *matrix {
	m := &matrix{from: []end{{name: "a host outside", addr: stranger}}}
	for _, ref := range ix.Endpoints() {
		e, ok := ix.Endpoint(ref)
		if !ok || ref.Kind != model.KindPod || len(e.Addrs) == 0 {
			continue
		}
		x := end{name: ref.Namespace + "/" + ref.Name, addr: e.Addrs[0], ports: e.Ports}
		if len(x.ports) == 0 {
			x.ports = []model.NamedPort{{Protocol: model.TCP, Port: 80}}
		}
		m.from, m.to = append(m.from, x), append(m.to, x)
	}
	for _, from := range m.from {
		row := make([]cell, len(m.to))
		for j, to := range m.to {
			if from.addr == to.addr || from.addr.Is4() != to.addr.Is4() {
				continue
			}
			for _, p := range to.ports {
				row[j].flows = append(row[j].flows, model.Flow{
					Src: from.addr, Dst: to.addr, Protocol: p.Protocol, SrcPort: policytest.EphemeralPort, DstPort: p.Port,
				})
			}
		}
		m.cells = append(m.cells, row)
	}
	return m
}

// probe sends a packet for every cell and port.
func (m *matrix) probe(ctx context.Context, l *lab.Lab) error {
	start := time.Now()
	m.probes = 0
	for i := range m.cells {
		for j := range m.cells[i] {
			c := &m.cells[i][j]
			c.delivered = make([]bool, len(c.flows))
			for k, f := range c.flows {
				r, err := l.Probe(ctx, f, lab.Options{})
				if err != nil {
					return fmt.Errorf("probe %s → %s: %w", m.from[i].name, m.to[j].name, err)
				}
				c.delivered[k] = r.Delivered
				m.probes++
			}
		}
	}
	m.spent = time.Since(start)
	return nil
}

func (m *matrix) took() string {
	return fmt.Sprintf("(%d packets in %s)", m.probes, m.spent.Round(time.Millisecond))
}

// print draws the matrix.
func (m *matrix) print(w io.Writer, paint colours) {
	g := grid{legend: [3]string{"all ports of the pod", "some of them", "none"}}
	for _, e := range m.from {
		g.from = append(g.from, e.name)
	}
	for _, e := range m.to {
		g.to = append(g.to, e.name)
	}
	for i := range m.cells {
		row := make([]reach.Share, len(m.to))
		for j := range row {
			row[j] = m.cells[i][j].share()
		}
		g.cells = append(g.cells, row)
	}
	_ = g.print(w, paint)
}

func (c *cell) share() reach.Share {
	n := 0
	for _, d := range c.delivered {
		if d {
			n++
		}
	}
	switch {
	case len(c.delivered) == 0:
		return reach.ShareUnasked
	case n == 0:
		return reach.ShareNone
	case n < len(c.delivered):
		return reach.ShareSome
	}
	return reach.ShareAll
}

// compare returns where the packets fared other than the core says.
func (m *matrix) compare(ix *index.Index) []string {
	var wrong []string
	m.each(func(f model.Flow, delivered bool) {
		if d := verdict.Decide(ix, f); (d.Action == model.Allow) != delivered {
			wrong = append(wrong, fmt.Sprintf("%s → %s %s: the core says %s", f.Src, f.Dst, traffic(&f), d.Action))
		}
	})
	return wrong
}

func (m *matrix) each(visit func(f model.Flow, delivered bool)) {
	for i := range m.cells {
		for j := range m.cells[i] {
			c := &m.cells[i][j]
			for k, f := range c.flows {
				visit(f, c.delivered[k])
			}
		}
	}
}

// telling picks a denied packet that is worth explaining: one that a rule or
// the end of a tier denies after another tier has passed it on.
func (m *matrix) telling(ix *index.Index) (best model.Flow, ok bool) {
	most := 0
	m.each(func(f model.Flow, delivered bool) {
		if delivered {
			return
		}
		steps, last := 0, model.Verdict{}
		e := verdict.Explain(ix, f)
		for _, t := range e.Traces {
			steps += len(t.Steps)
			last = t.Verdict
		}
		if last.Policy != (model.Ref{}) && steps > most {
			best, most, ok = f, steps, true
		}
	})
	return best, ok
}

// allowed picks a connection that a rule allows, between pods, over TCP.
func (m *matrix) allowed(ix *index.Index) (best model.Flow, ok bool) {
	m.each(func(f model.Flow, delivered bool) {
		if ok || !delivered || f.Protocol != model.TCP || f.Src == stranger {
			return
		}
		d := verdict.Decide(ix, f)
		v, _ := d.Deciding(model.Ingress)
		if v.Reason == model.ReasonRule {
			best, ok = f, true
		}
	})
	return best, ok
}

// freezePolicy denies everything that goes to the pod of an address, in a tier
// of its own before all others.
func freezePolicy(ix *index.Index, a netip.Addr) []runtime.Object {
	order := -1e9
	deny := v1alpha1.Deny
	pod := ix.Owner(a)
	e, _ := ix.Endpoint(pod)
	selector := ""
	for k, v := range e.Labels {
		if selector != "" {
			selector += " && "
		}
		selector += fmt.Sprintf("%s == %q", k, v)
	}
	return []runtime.Object{
		&v1alpha1.Tier{ObjectMeta: metav1.ObjectMeta{Name: "demo"}, Spec: v1alpha1.TierSpec{Order: &order, DefaultAction: &deny}},
		&v1alpha1.GlobalNetworkPolicy{ObjectMeta: metav1.ObjectMeta{Name: "demo-freeze"}, Spec: v1alpha1.GlobalNetworkPolicySpec{
			Tier: "demo", Selector: selector, NamespaceSelector: fmt.Sprintf("tierwall.io/name == %q", pod.Namespace),
			Types:   []v1alpha1.PolicyType{v1alpha1.PolicyTypeIngress},
			Ingress: []v1alpha1.Rule{{Action: v1alpha1.Deny}},
		}},
	}
}
