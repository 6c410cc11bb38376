package agent

import (
	"fmt"
	"log/slog"
	"time"

	"github.com/tierwall/tierwall/dataplane/nflog"
)

const (
	// logWindow is the time in which a rule has its lines.
	logWindow = time.Second
	// lossPause is the least time between two lines about lost packets.
	lossPause = 10 * time.Second
)

// window is the time of a rule's lines, from its first packet on.
type window struct {
	prefix     string
	rule       named
	end        time.Time
	lines      int64
	suppressed int
}

// nodeWindow is the time of all lines of the node, from the first packet on. It bounds
// what many rules write together. Policies in namespaces may have half of the lines
// at most, so that they cannot silence the rules of global policies.
type nodeWindow struct {
	*window
	tenants int64 // lines of policies in namespaces
}

// take reports whether a rule may have a line, of at most limit, and counts it.
func (w *nodeWindow) take(r named, limit int64) bool {
	if w.lines >= limit || r.tenant && w.tenants >= (limit+1)/2 {
		w.suppressed++
		return false
	}
	w.lines++
	if r.tenant {
		w.tenants++
	}
	return true
}

// packet counts a packet, and writes its line if the rule and the node have one left.
func (l *packetLog) packet(p *nflog.Packet, r named) {
	l.packets.WithLabelValues(r.labels...).Inc()
	now := l.clock.Now()
	if len(l.ends) > 0 && !l.ends[0].end.After(now) {
		l.tick()
	}
	w := l.windows[p.Prefix]
	if w == nil {
		w = &window{prefix: p.Prefix, rule: r, end: now.Add(logWindow)}
		l.windows[p.Prefix] = w
		l.ends = append(l.ends, w)
	}
	if w.lines >= l.rate.Load() {
		w.suppressed++
		l.suppressed.WithLabelValues(r.labels...).Inc()
		return
	}
	if l.whole.window == nil {
		l.whole = nodeWindow{window: &window{end: now.Add(logWindow)}}
		l.ends = append(l.ends, l.whole.window)
	}
	if !l.whole.take(r, l.all.Load()) {
		l.suppressed.WithLabelValues(r.labels...).Inc()
		return
	}
	w.lines++
	l.line(now, "packet", l.describe(p, r))
}

// tick closes the windows that have ended, and reports lost packets.
func (l *packetLog) tick() {
	now := l.clock.Now()
	for len(l.ends) > 0 && !l.ends[0].end.After(now) {
		w := l.ends[0]
		l.ends = l.ends[1:]
		if w == l.whole.window {
			l.whole = nodeWindow{}
		} else {
			delete(l.windows, w.prefix)
		}
		l.close(now, w)
	}
	if lost := l.source.Lost(); lost > l.reported && now.Sub(l.reportedAt) >= lossPause {
		l.log.Warn("packets of Log rules arrived faster than they were read", "lost", lost-l.reported)
		l.reported, l.reportedAt = lost, now
	}
}

// close reports how many lines were left out. A rate of 0 is no line at all.
func (l *packetLog) close(now time.Time, w *window) {
	if w.suppressed == 0 || w.lines == 0 {
		return
	}
	attrs := append(append([]slog.Attr{}, w.rule.attrs...), slog.Int("suppressed", w.suppressed))
	text := fmt.Sprintf("%d more suppressed", w.suppressed)
	if w.rule.labels == nil {
		text += " by spec.logging.ratePerNode"
	}
	l.line(now, text, attrs)
}

// timer fires when the next window ends.
func (l *packetLog) timer() (fired <-chan time.Time, stop func()) {
	if len(l.ends) == 0 {
		return nil, func() {}
	}
	t := l.clock.NewTimer(l.ends[0].end.Sub(l.clock.Now()))
	return t.C(), func() { t.Stop() }
}
