//go:build linux

package startup

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Result is what became of the packets.
type Result struct {
	interval time.Duration
	targets  []*target
	// Pods that have sent, and Packets of all of them together.
	Pods, Packets int
	lines         map[lineKey]*line
}

type lineKey struct {
	target   *target
	protocol string
}

// line is what became of the packets to one target by one protocol.
type line struct {
	sent, arrived int
	// odd are the pods that got what they should not, or not what they should.
	odd int
	// waits are the times until the first packet arrived, of those pods of which one did.
	waits []time.Duration
	never int
}

func newResult(interval time.Duration, targets []*target) *Result {
	r := &Result{interval: interval, targets: targets, lines: map[lineKey]*line{}}
	for _, t := range targets {
		for _, p := range []string{"UDP", "TCP"} {
			r.lines[lineKey{t, p}] = &line{}
		}
	}
	return r
}

// count adds a pod that has sent a number of rounds.
func (r *Result) count(rounds int, of func(*target) arrived) {
	r.Pods++
	for _, t := range r.targets {
		a := of(t)
		for protocol, got := range map[string]map[int]bool{"UDP": a.udp, "TCP": a.tcp} {
			l := r.lines[lineKey{t, protocol}]
			n, first := 0, -1
			for round := range got {
				if round >= 0 && round < rounds {
					n++
					if first < 0 || round < first {
						first = round
					}
				}
			}
			r.Packets += rounds
			l.sent += rounds
			l.arrived += n
			if first < 0 {
				l.never++
			} else {
				l.waits = append(l.waits, time.Duration(first)*r.interval)
			}
			if t.role == allowed && n < rounds || t.role != allowed && n > 0 {
				l.odd++
			}
		}
	}
}

// Lost counts allowed packets that did not arrive, Through denied ones that did.
func (r *Result) Lost() (n int) {
	for k, l := range r.lines {
		if k.target.role == allowed {
			n += l.sent - l.arrived
		}
	}
	return n
}

// Through counts denied packets that arrived.
func (r *Result) Through() (n int) {
	for k, l := range r.lines {
		if k.target.role != allowed {
			n += l.arrived
		}
	}
	return n
}

// Table is the counts, as Markdown.
func (r *Result) Table() string {
	var b strings.Builder
	b.WriteString("| target | where | | sent | arrived | wrong | pods concerned | first arrival p50 | p99 | longest |\n|---|---|---|--:|--:|--:|--:|--:|--:|--:|\n")
	for _, t := range r.targets {
		for _, p := range []string{"UDP", "TCP"} {
			l := r.lines[lineKey{t, p}]
			wrong := l.arrived
			if t.role == allowed {
				wrong = l.sent - l.arrived
			}
			slices.Sort(l.waits)
			fmt.Fprintf(&b, "| %s | %s | %s | %d | %d | %d | %d | %s | %s | %s |\n", t.role, t.place, p, l.sent, l.arrived, wrong, l.odd,
				l.wait(50), l.wait(99), l.wait(100))
		}
	}
	return b.String()
}

// wait is a percentile of the times until the first arrival.
func (l *line) wait(percent int) string {
	if len(l.waits) == 0 {
		return "–"
	}
	i := max((len(l.waits)*percent+99)/100, 1) - 1
	return l.waits[i].String()
}
