package lint

import (
	"fmt"
	"slices"
	"strings"

	"github.com/tierwall/tierwall/policy/model"
	"github.com/tierwall/tierwall/policy/packets"
	"github.com/tierwall/tierwall/policy/verdict"
)

// usualTunnels are those of nodes whose kernel has not been seen.
var usualTunnels = []model.Tunnel{
	{Interface: "VXLAN", Protocol: model.UDP, Port: 4789},
	{Interface: "VXLAN", Protocol: model.UDP, Port: 8472},
	{Interface: "Geneve", Protocol: model.UDP, Port: 6081},
	{Interface: "IP in IP", Protocol: 4},
}

// tunnels reports host endpoints that close tunnels between nodes, where these
// are not failsafe.
func (l *linter) tunnels() {
	if !l.ix.Settings().Guards.NoTunnelFailsafe {
		return
	}
	for _, n := range l.ix.Nodes() {
		tunnels, known := usualTunnels, false
		if links := l.ix.Links(n.Name); links != nil {
			tunnels, known = links.Tunnels, true
		}
		closed := map[model.Ref][]string{}
		for _, t := range tunnels {
			for _, r := range l.closers(n, t) {
				closed[r] = append(closed[r], describeTunnel(t))
			}
		}
		for r, list := range closed {
			f := Finding{
				Severity: Warning, Code: CodeTunnelsClosed, Object: r,
				Message: fmt.Sprintf("closes tunnels between Node/%s and other nodes (%s), and spec.failsafe.tunnels is false: the node's part of the pod network stops", n.Name, strings.Join(list, ", ")),
				Related: []Related{{Object: settingsRef, Field: "spec.failsafe.tunnels"}},
			}
			if !known {
				f.Severity = Info
				f.Message = fmt.Sprintf("closes %s between Node/%s and other nodes, and spec.failsafe.tunnels is false: if the pod network uses one of these, the node's part of it stops", strings.Join(list, ", "), n.Name)
			}
			l.add(f)
		}
	}
}

func describeTunnel(t model.Tunnel) string {
	if t.Port == 0 {
		return fmt.Sprintf("%s protocol %d", t.Interface, t.Protocol)
	}
	return fmt.Sprintf("%s %s %d", t.Interface, t.Protocol, t.Port)
}

// closers are the host endpoints of a node that deny the packets of a tunnel to
// or from another node.
func (l *linter) closers(n *model.Node, t model.Tunnel) []model.Ref {
	var out []model.Ref
	for _, own := range l.parties {
		if !own.Host || own.Node != n.Name || own.Guard == nil {
			continue
		}
		for _, peer := range l.otherNodes(own) {
			for _, ends := range [2][2]*packets.Party{{own, peer}, {peer, own}} {
				f := model.Flow{Src: ends[0].Addr, Dst: ends[1].Addr, Protocol: t.Protocol, SrcPort: 40000, DstPort: t.Port}
				if t.Port == 0 {
					f.SrcPort = 0
				}
				d := verdict.Decide(l.ix, f)
				if d.Action != model.Deny || len(d.Stages) == 0 {
					continue
				}
				r := d.Stages[len(d.Stages)-1].Endpoint
				if e, ok := l.ix.Endpoint(r); ok && e.Host != nil && e.Node == n.Name && !slices.Contains(out, r) {
					out = append(out, r)
				}
			}
		}
	}
	return out
}

// otherNodes are addresses of other nodes, one of all that the policies of a
// host see alike.
func (l *linter) otherNodes(own *packets.Party) []*packets.Party {
	seen := map[string]bool{}
	var out []*packets.Party
	for _, p := range l.parties {
		if !p.Host || p.Node == own.Node || p.Addr.Is4() != own.Addr.Is4() {
			continue
		}
		k := ""
		if own.Effective != nil {
			k = l.viewsOf(own.Effective.Stages(), p)
		}
		if !seen[k] {
			seen[k] = true
			out = append(out, p)
		}
	}
	return out
}
