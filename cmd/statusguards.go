package cmd

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/controllers/operator"
	"github.com/tierwall/tierwall/policy/model"
)

// statusGuards is what the guards do, and what those that count would drop.
type statusGuards struct {
	// Message names the guards that do not enforce, and what to do; empty: all do.
	Message string `json:"message,omitempty"`
	// Guards that nodes have reported, in a fixed order.
	Guards []statusGuard `json:"guards"`
}

// statusGuard sums up what nodes report of one guard.
type statusGuard struct {
	Guard model.GuardName `json:"guard"`
	// Setting is the field of Tierwall/default that sets it.
	Setting string `json:"setting"`
	// Modes are the numbers of nodes by mode.
	Modes map[v1alpha1.GuardMode]int `json:"modes"`
	// Dropped and Counted packets on all nodes, since their counters began: Counted ones
	// passed, and would have been dropped.
	Dropped int64 `json:"dropped"`
	Counted int64 `json:"counted"`
	// Nodes with packets, those with most first; at most maxGuardNodes.
	Nodes []statusGuardNode `json:"nodes,omitempty"`
	// MoreNodes is how many nodes with packets Nodes leaves out.
	MoreNodes int `json:"moreNodes,omitempty"`
}

// statusGuardNode is the number of packets that a guard has met on a node.
type statusGuardNode struct {
	Node    string `json:"node"`
	Packets int64  `json:"packets"`
}

// maxGuardNodes is how many nodes a guard's line names.
const maxGuardNodes = 3

// guards sums up the reports of the agents; tw may be nil.
func (r *statusReport) guards(tw *v1alpha1.Tierwall) {
	r.Guards.Guards = []statusGuard{}
	if tw != nil {
		c := meta.FindStatusCondition(tw.Status.Conditions, operator.ConditionGuardsEnforced)
		if c != nil && c.Status == metav1.ConditionFalse {
			r.Guards.Message = c.Message
		}
	}
	for _, name := range model.GuardNames {
		if g := r.guard(name); len(g.Modes) > 0 {
			r.Guards.Guards = append(r.Guards.Guards, g)
		}
	}
}

func (r *statusReport) guard(name model.GuardName) statusGuard {
	g := statusGuard{Guard: name, Setting: name.Setting(), Modes: map[v1alpha1.GuardMode]int{}}
	for i := range r.Agents {
		a := &r.Agents[i]
		n, ok := a.Report.Guards[string(name)]
		if !ok {
			continue
		}
		g.Modes[n.Mode]++
		g.Dropped += n.Dropped
		g.Counted += n.Counted
		if packets := n.Dropped + n.Counted; packets > 0 {
			g.Nodes = append(g.Nodes, statusGuardNode{a.Node, packets})
		}
	}
	slices.SortFunc(g.Nodes, func(a, b statusGuardNode) int {
		return cmp.Or(cmp.Compare(b.Packets, a.Packets), cmp.Compare(a.Node, b.Node))
	})
	if len(g.Nodes) > maxGuardNodes {
		g.Nodes, g.MoreNodes = g.Nodes[:maxGuardNodes:maxGuardNodes], len(g.Nodes)-maxGuardNodes
	}
	return g
}

// quiet reports whether there is nothing to print: all guards enforce, and have
// met no packet.
func (g *statusGuards) quiet() bool {
	return g.Message == "" && !slices.ContainsFunc(g.Guards, func(s statusGuard) bool {
		return s.Dropped+s.Counted > 0 || len(s.Modes) != 1 || s.Modes[v1alpha1.GuardEnforce] == 0
	})
}

// print writes the message, and a line for each guard.
func (g *statusGuards) print(s streams, c colours) error {
	if g.quiet() {
		return nil
	}
	if _, err := fmt.Fprintln(s.out); err != nil {
		return err
	}
	if g.Message != "" {
		if _, err := fmt.Fprintln(s.out, c.yellow(plain(g.Message))+" (docs/guards.md)"); err != nil {
			return err
		}
	}
	if len(g.Guards) == 0 {
		return nil
	}
	t := &table{}
	t.row("GUARD", "MODE", "DROPPED", "WOULD DROP", "ON")
	for i := range g.Guards {
		n := &g.Guards[i]
		t.row(string(n.Guard), n.mode(), fmt.Sprint(n.Dropped), fmt.Sprint(n.Counted), n.on())
	}
	return t.writeTo(s.out, "")
}

// mode is the mode of all nodes, or each with its number of nodes.
func (g *statusGuard) mode() string {
	modes := slices.Sorted(maps.Keys(g.Modes))
	if len(modes) == 1 {
		return plain(string(modes[0]))
	}
	texts := make([]string, len(modes))
	for i, m := range modes {
		texts[i] = fmt.Sprintf("%s %d", plain(string(m)), g.Modes[m])
	}
	return strings.Join(texts, ", ")
}

func (g *statusGuard) on() string {
	texts := make([]string, 0, maxGuardNodes+1)
	for _, n := range g.Nodes {
		texts = append(texts, fmt.Sprintf("%s (%d)", plain(n.Node), n.Packets))
	}
	if g.MoreNodes > 0 {
		texts = append(texts, fmt.Sprintf("%d more", g.MoreNodes))
	}
	return dash(strings.Join(texts, ", "))
}
