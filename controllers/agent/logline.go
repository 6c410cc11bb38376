package agent

import (
	"context"
	"log/slog"
	"strings"
	"time"

	"github.com/tierwall/tierwall/dataplane/nflog"
	"github.com/tierwall/tierwall/policy/model"
)

// named is a rule: its name as attributes of a line, and as labels of counters.
type named struct {
	attrs  []slog.Attr
	labels []string
	// tenant: the policy is in a namespace.
	tenant bool
}

func ruleNamed(tier, policy, direction, rule string) named {
	return named{
		attrs: []slog.Attr{
			slog.String("tier", tier), slog.String("policy", policy), slog.String("direction", direction),
			slog.String("rule", rule), slog.String("action", model.Log.String()),
		},
		labels: []string{tier, policy, direction, rule},
	}
}

// unnamed is for a prefix that the backend does not know any more: its rule has
// gone since. The line has the prefix instead, which holds as much of
// the name as fits in.
func unnamed(prefix string) named {
	_, text, _ := strings.Cut(prefix, " ")
	r := ruleNamed("", "unknown", "", "")
	r.attrs = []slog.Attr{slog.String("logPrefix", text), slog.String("action", model.Log.String())}
	return r
}

// describe lists a line's attributes in a fixed order; what a packet does not
// have is left out.
func (l *packetLog) describe(p *nflog.Packet, r named) []slog.Attr {
	attrs := append(make([]slog.Attr, 0, 20), r.attrs...)
	text := func(key, value string) {
		if value != "" {
			attrs = append(attrs, slog.String(key, value))
		}
	}
	port := func(key string, n uint16) {
		if p.Protocol.HasPorts() && !p.Fragment {
			attrs = append(attrs, slog.Int(key, int(n)))
		}
	}
	if p.Src.IsValid() {
		text("protocol", p.Protocol.String())
		text("source", p.Src.String())
		text("sourceName", l.nameOf(p.Src))
		port("sourcePort", p.SrcPort)
		text("destination", p.Dst.String())
		text("destinationName", l.nameOf(p.Dst))
		port("destinationPort", p.DstPort)
	}
	if p.HasICMP {
		attrs = append(attrs, slog.Int("icmpType", int(p.ICMPType)), slog.Int("icmpCode", int(p.ICMPCode)))
	}
	if p.Fragment {
		attrs = append(attrs, slog.Bool("fragment", true))
	}
	text("hook", p.Hook.String())
	text("in", p.In)
	text("out", p.Out)
	return append(attrs, slog.Int("length", p.Length))
}

// line writes a line.
func (l *packetLog) line(now time.Time, message string, attrs []slog.Attr) {
	h := l.json
	if l.asText.Load() {
		h = l.text
	}
	rec := slog.NewRecord(now, slog.LevelInfo, message, 0)
	if l.node != "" {
		rec.AddAttrs(slog.String("node", l.node))
	}
	rec.AddAttrs(attrs...)
	_ = h.Handle(context.Background(), rec) // there is no place to report it
}
