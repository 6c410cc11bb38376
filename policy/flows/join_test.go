package flows

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/tierwall/tierwall/policy/model"
)

var start = time.Date(2026, 1, 2, 15, 0, 0, 0, time.UTC)

func pod(node, ns, workload string) End {
	return End{Kind: EndPod, Namespace: ns, Workload: workload, Node: node}
}

func by(dir model.Direction, action model.Action, policy string, rule model.RuleIndex) *model.Verdict {
	return &model.Verdict{Action: action, Direction: dir, Stage: model.StageWorkload, Reason: model.ReasonRule, Tier: "default",
		Policy: model.Ref{Kind: model.KindGlobalNetworkPolicy, Name: policy}, Rule: rule}
}

// record is one of window i, of one node.
func record(i int, node string, source, destination End, d Decided, c Connections) Record {
	at := start.Add(time.Duration(i) * Window)
	return Record{Start: at, End: at.Add(Window), Source: source, Destination: destination, Protocol: model.TCP, Port: 80,
		Decided: d, Connections: c, Reporters: []string{node}}
}

func allowedBy(egress, ingress *model.Verdict) Decided {
	return Decided{Action: model.Allow, Egress: egress, Ingress: ingress}
}

func TestJoin(t *testing.T) {
	web, db := pod("a", "shop", "Deployment/web"), pod("b", "shop", "StatefulSet/db")
	out, in := by(model.Egress, model.Allow, "out", 0), by(model.Ingress, model.Allow, "in", 1)
	deny, denyOut := by(model.Ingress, model.Deny, "in", 2), by(model.Egress, model.Deny, "out", 3)
	with := func(r Record, change func(*Record)) Record { change(&r); return r }
	for _, tc := range []struct {
		name    string
		windows [][]Record
		want    []string
	}{
		{
			name: "both sides know their own half",
			windows: [][]Record{{
				with(record(0, "a", web, db, allowedBy(out, nil), Connections{New: 3, Closed: 2, Live: 1}), func(r *Record) { r.Service = "shop/db"; r.Sent = &Volume{10, 1000} }),
				with(record(0, "b", web, db, allowedBy(nil, in), Connections{New: 3, Closed: 2, Live: 1}), func(r *Record) { r.Sent = &Volume{9, 900} }),
			}},
			want: []string{"0 web>db shop/db Allow out:0 in:1 new 3 closed 2 live 1 denied 0 sent 10/1000 by [a b]"},
		},
		{
			name:    "one node has both ends",
			windows: [][]Record{{record(0, "a", web, pod("a", "shop", "StatefulSet/db"), allowedBy(out, in), Connections{New: 2})}},
			want:    []string{"0 web>db  Allow out:0 in:1 new 2 closed 0 live 0 denied 0 by [a]"},
		},
		{
			name:    "the destination's agent is away",
			windows: [][]Record{{record(0, "a", web, db, allowedBy(out, nil), Connections{New: 2})}},
			want:    []string{"0 web>db  Allow out:0 - new 2 closed 0 live 0 denied 0 by [a]"},
		},
		{
			name: "a connection at the border of two windows",
			windows: [][]Record{
				{record(0, "a", web, db, allowedBy(out, nil), Connections{New: 1})},
				{record(1, "b", web, db, allowedBy(nil, in), Connections{New: 1})},
				{record(2, "a", web, db, allowedBy(out, nil), Connections{New: 1}), record(2, "b", web, db, allowedBy(nil, in), Connections{New: 1})},
			},
			want: []string{
				"0 web>db  Allow out:0 - new 1 closed 0 live 0 denied 0 by [a]",
				"2 web>db  Allow out:0 in:1 new 1 closed 0 live 0 denied 0 by [a b]",
			},
		},
		{
			name: "denied where it arrives",
			windows: [][]Record{{
				record(0, "a", web, db, allowedBy(out, nil), Connections{New: 4}), // the source's node saw it leave
				with(record(0, "b", web, db, Decided{Action: model.Deny, Ingress: deny}, Connections{}), func(r *Record) { r.Denied = 4 }),
			}},
			want: []string{"0 web>db  Deny out:0 in:2 new 0 closed 0 live 0 denied 4 by [a b]"},
		},
		{
			name: "denied where it starts",
			windows: [][]Record{{
				with(record(0, "a", web, db, Decided{Action: model.Deny, Egress: denyOut}, Connections{}), func(r *Record) { r.Denied = 5 }),
			}},
			want: []string{"0 web>db  Deny out:3 - new 0 closed 0 live 0 denied 5 by [a]"},
		},
		{
			name: "the destination tells more apart",
			windows: [][]Record{{
				record(0, "a", web, db, allowedBy(out, nil), Connections{New: 5}),
				record(0, "b", web, db, allowedBy(nil, in), Connections{New: 2}),
				record(0, "b", web, db, allowedBy(nil, by(model.Ingress, model.Allow, "in", 0)), Connections{New: 3}),
			}},
			want: []string{
				"0 web>db  Allow out:0 in:0 new 3 closed 0 live 0 denied 0 by [a b]",
				"0 web>db  Allow out:0 in:1 new 2 closed 0 live 0 denied 0 by [a b]",
			},
		},
		{
			name: "from outside",
			windows: [][]Record{{
				record(0, "b", End{Kind: EndOutside}, db, allowedBy(nil, in), Connections{New: 1}),
			}},
			want: []string{"0 >db  Allow - in:1 new 1 closed 0 live 0 denied 0 by [b]"},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var j Joiner
			var got []string
			for _, w := range tc.windows {
				for _, r := range j.Join(w) {
					got = append(got, describe(&r))
				}
			}
			if fmt.Sprint(got) != fmt.Sprint(tc.want) {
				t.Errorf("got\n%q\nwant\n%q", got, tc.want)
			}
		})
	}
}

func describe(r *Record) string {
	decider := func(v *model.Verdict) string {
		if v == nil {
			return "-"
		}
		return v.Policy.Name + ":" + v.Rule.String()
	}
	short := func(e End) string {
		for i := len(e.Workload) - 1; i >= 0; i-- {
			if e.Workload[i] == '/' {
				return e.Workload[i+1:]
			}
		}
		return e.Workload
	}
	s := fmt.Sprintf("%d %s>%s %s %s %s %s new %d closed %d live %d denied %d", int(r.Start.Sub(start)/Window), short(r.Source), short(r.Destination), r.Service,
		r.Decided.Action, decider(r.Decided.Egress), decider(r.Decided.Ingress), r.Connections.New, r.Connections.Closed, r.Connections.Live, r.Denied)
	if r.Sent != nil {
		s += fmt.Sprintf(" sent %d/%d", r.Sent.Packets, r.Sent.Bytes)
	}
	return s + fmt.Sprintf(" by %v", r.Reporters)
}

// TestJoinCountsOnce: whatever the window in which each side has seen a connection, and
// whichever side's agent is away all the time, each is counted once.
func TestJoinCountsOnce(t *testing.T) {
	for seed := range uint64(200) {
		rng := rand.New(rand.NewPCG(seed, 16))
		const windows = 12
		type side [windows]Connections
		type flow struct{ source, destination side }
		flows := make([]flow, 5)
		var want uint64
		away := rng.IntN(3) // 1: the source's agent, 2: the destination's
		for i := range flows {
			for range rng.IntN(40) {
				w := rng.IntN(windows - 2)
				flows[i].source[w].New++
				flows[i].destination[w+rng.IntN(2)].New++
				end := w + rng.IntN(windows-1-w)
				flows[i].source[end+rng.IntN(2)].Closed++
				flows[i].destination[end+rng.IntN(2)].Closed++
				want++
			}
		}
		var j Joiner
		var opened, closed uint64
		for w := range windows {
			var list []Record
			for i := range flows {
				web, db := pod("a", "shop", fmt.Sprintf("Deployment/web-%d", i)), pod("b", "shop", "StatefulSet/db")
				if c := flows[i].source[w]; c != (Connections{}) && away != 1 {
					list = append(list, record(w, "a", web, db, allowedBy(by(model.Egress, model.Allow, "out", 0), nil), c))
				}
				if c := flows[i].destination[w]; c != (Connections{}) && away != 2 {
					list = append(list, record(w, "b", web, db, allowedBy(nil, by(model.Ingress, model.Allow, "in", 0)), c))
				}
			}
			rng.Shuffle(len(list), func(a, b int) { list[a], list[b] = list[b], list[a] })
			for _, r := range j.Join(list) {
				opened += r.Connections.New
				closed += r.Connections.Closed
			}
		}
		if opened != want || closed != want {
			t.Errorf("seed %d: %d opened, %d closed, want %d", seed, opened, closed, want)
		}
	}
}

// TestJoinManyNodes: the pods of both ends are on several nodes, so that agents know the
// node of their own end only.
func TestJoinManyNodes(t *testing.T) {
	web, db := func(node string) End { return pod(node, "shop", "Deployment/web") }, func(node string) End { return pod(node, "shop", "StatefulSet/db") }
	out, in := by(model.Egress, model.Allow, "out", 0), by(model.Ingress, model.Allow, "in", 1)
	var j Joiner
	got := j.Join([]Record{
		// a has web and db, b has db, c has web: 1 a→a, 2 a→b, 3 c→a, 4 c→b
		record(0, "a", web("a"), db("a"), allowedBy(out, in), Connections{New: 1}),
		record(0, "a", web("a"), db("b"), allowedBy(out, nil), Connections{New: 2}),
		record(0, "a", web("c"), db("a"), allowedBy(nil, in), Connections{New: 3}),
		record(0, "b", web(""), db("b"), allowedBy(nil, in), Connections{New: 6}),
		record(0, "c", web("c"), db(""), allowedBy(out, nil), Connections{New: 7}),
	})
	if len(got) != 1 || describe(&got[0]) != "0 web>db  Allow out:0 in:1 new 10 closed 0 live 0 denied 0 by [a b c]" {
		t.Errorf("%d records, the first %s", len(got), describe(&got[0]))
	}
}
