package lint

import (
	"fmt"
	"slices"
	"strings"

	"github.com/tierwall/tierwall/policy/index"
	"github.com/tierwall/tierwall/policy/model"
	"github.com/tierwall/tierwall/policy/packets"
)

// dnsPort is a port at which names are resolved.
type dnsPort struct {
	protocol model.Protocol
	port     uint16
}

// dnsServers are the pods that resolve names, and their ports. They are known
// by the label that every Kubernetes distribution's DNS carries.
func (l *linter) dnsServers() []*packets.Party {
	var out []*packets.Party
	for _, p := range l.parties {
		if p.Pod == nil || p.Pod.Ref.Namespace != "kube-system" && !strings.Contains(p.Pod.Ref.Namespace, "dns") {
			continue
		}
		if app := p.Pod.Labels["k8s-app"]; app == "kube-dns" || app == "coredns" || p.Pod.Labels["dns.operator.openshift.io/daemonset-dns"] != "" {
			out = append(out, p)
		}
	}
	return out
}

// portsOf are the ports at which a server takes queries: those that it calls
// dns, for packets meet policies after the Service's address has been
// translated; else 53.
func portsOf(server *packets.Party) []dnsPort {
	var out []dnsPort
	if server != nil {
		for _, np := range server.Pod.Ports {
			if (np.Name == "dns" || np.Name == "dns-tcp") && (np.Protocol == model.UDP || np.Protocol == model.TCP) {
				out = append(out, dnsPort{np.Protocol, np.Port})
			}
		}
	}
	for _, p := range []model.Protocol{model.UDP, model.TCP} {
		if !slices.ContainsFunc(out, func(d dnsPort) bool { return d.protocol == p }) {
			out = append(out, dnsPort{p, 53})
		}
	}
	slices.SortFunc(out, func(a, b dnsPort) int { return int(b.protocol) - int(a.protocol) }) // UDP first
	return out
}

// noDNS reports pods whose egress policy lets them ask no DNS server: none of the
// cluster's, or no address at all if the cluster's are not known.
func (l *linter) noDNS() {
	servers := l.dnsServers()
	targets := servers
	if len(servers) == 0 {
		targets = l.peers
	}
	type cause struct {
		policy model.Ref
		rule   model.RuleIndex
		tier   string
		tcp    bool // only TCP is denied
	}
	found := map[cause][]model.Ref{}
	memo := map[viewKey]answer{}
	asked := map[int32][]seenAs{} // by number of a chain
	for _, r := range l.ix.Endpoints() {
		pod, ok := l.ix.Endpoint(r)
		eff := l.ix.Effective(r)
		if !ok || r.Kind != model.KindPod || eff == nil || len(eff.Egress) == 0 {
			continue
		}
		number := l.e.Number(eff.Egress, model.Egress)
		if asked[number] == nil {
			asked[number] = l.dnsTargets(eff.Egress, targets, len(servers) > 0)
		}
		var denied [2]*model.Verdict // UDP, TCP: the denial, if no server can be asked
		var allowed [2]bool
		for _, a := range pod.Addrs {
			self := l.e.Party(a)
			if slices.Contains(servers, self) {
				allowed = [2]bool{true, true}
				break
			}
			view := l.e.View(eff.Egress, model.Egress, false, self)
			for _, t := range asked[number] {
				if t.Addr.Is4() != a.Is4() || t.Addr == a {
					continue
				}
				k := viewKey{number, view, t.view}
				got, known := memo[k]
				if !known || len(servers) > 0 && t.Pod != nil && len(t.Pod.Ports) > 0 {
					got = l.ask(eff.Egress, self, t.Party, len(servers) > 0)
					memo[k] = got
				}
				for i := range got {
					if got[i] == nil {
						allowed[i] = true
					} else {
						denied[i] = got[i]
					}
				}
				if allowed[0] && allowed[1] {
					break
				}
			}
		}
		for i, v := range denied {
			if v == nil || allowed[i] {
				continue
			}
			k := cause{v.Policy, v.Rule, v.Tier, i == 1}
			found[k] = append(found[k], r)
			if i == 0 {
				break // that TCP is denied too goes without saying
			}
		}
	}
	for c, pods := range found {
		l.add(noDNS(c.policy, c.rule, c.tier, c.tcp, pods, servers))
	}
}

// seenAs is a peer and what a chain sees of it.
type seenAs struct {
	*packets.Party
	view int32
}

// dnsTargets are the peers that pods with a chain ask. Of peers that the chain sees alike
// two are enough, for one of them may be the pod itself; but servers have ports of their own.
func (l *linter) dnsTargets(c index.Chain, targets []*packets.Party, servers bool) []seenAs {
	type key struct {
		view int32
		is4  bool
	}
	out := make([]seenAs, 0, 8)
	seen := map[key]int{}
	for _, t := range targets {
		k := key{l.e.View(c, model.Egress, true, t), t.Addr.Is4()}
		if seen[k]++; servers || seen[k] <= 2 {
			out = append(out, seenAs{t, k.view})
		}
	}
	return out
}

type viewKey struct{ chain, src, dst int32 }

// answer is the denials of DNS over UDP and over TCP, nil where it is allowed.
type answer [2]*model.Verdict

func noDNS(by model.Ref, rule model.RuleIndex, tier string, tcp bool, pods []model.Ref, servers []*packets.Party) Finding {
	what, effect := "DNS", "these pods cannot resolve names"
	if tcp {
		what, effect = "DNS over TCP", "these pods cannot fetch long answers"
	}
	to := "to any address"
	if len(servers) > 0 {
		to = "to the cluster's DNS"
	}
	f := Finding{Severity: Warning, Code: CodeNoDNS, Object: by}
	f.Message = fmt.Sprintf("%s %s is denied at the end of tier %s for %s: %s", what, to, tier, some(pods), effect)
	if rule >= 0 {
		// A rule was written for it, so it may well be deliberate.
		f.Severity = Info
		f.Field = ruleField(model.Egress, int(rule))
		f.Message = fmt.Sprintf("denies %s %s for %s: %s", what, to, some(pods), effect)
	}
	if tcp {
		f.Severity = Info
	}
	for _, p := range pods {
		f.Related = append(f.Related, Related{Object: p})
	}
	return f
}
