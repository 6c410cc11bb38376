package lint

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/tierwall/tierwall/policy/index"
	"github.com/tierwall/tierwall/policy/model"
	"github.com/tierwall/tierwall/policy/packets"
)

// wildcards looks at the policies of host endpoints "*", which guard the
// interfaces of pods too: what these policies deny of pods' packets.
func (l *linter) wildcards() {
	w := &wildcards{linter: l, denied: map[wildcardKey]*deniedPods{}, local: map[string][]*packets.Party{}, peersOf: map[string][][]*packets.Party{}}
	for _, p := range l.parties {
		if p.Pod != nil {
			w.local[p.Pod.Node] = append(w.local[p.Pod.Node], p)
		}
	}
	mode := l.ix.Settings().Guards.Wildcard
	untracked := map[model.Ref][]model.Ref{}
	guarded := map[string]bool{} // by node: the first "*" by name guards
	for _, r := range l.ix.Endpoints() {
		e, ok := l.ix.Endpoint(r)
		eff := l.ix.Effective(r)
		if !ok || eff == nil || e.Host == nil || e.Host.Interface != "*" || guarded[e.Node] {
			continue
		}
		guarded[e.Node] = true
		for _, c := range eff.Stages() {
			if c.Stage == model.StageUntracked {
				for _, p := range policiesOf(c.Chain) {
					if !slices.Contains(untracked[p], r) {
						untracked[p] = append(untracked[p], r)
					}
				}
			}
		}
		if mode != model.GuardOff {
			w.endpoint(e, eff.Stages())
		}
	}
	for p, hosts := range untracked {
		l.add(Finding{
			Severity: Info, Code: CodeUntrackedWildcard, Object: p, Field: "spec.doNotTrack",
			Message: fmt.Sprintf(`selects %s with interfaceName "*": it also applies to packets of local pods, which Calico leaves undefined; name an interface to exclude them`, some(hosts)),
			Related: related(hosts),
		})
	}
	w.report(mode)
}

// wildcards collects what host endpoints "*" deny of local pods' packets.
type wildcards struct {
	*linter
	denied map[wildcardKey]*deniedPods
	local  map[string][]*packets.Party // pods by node
	// peersOf are the peers that the stages of a host endpoint see alike, by the
	// numbers of these stages: most nodes have the same.
	peersOf map[string][][]*packets.Party
}

// wildcardKey is a policy in one of the stages that pods' packets now meet.
type wildcardKey struct {
	policy model.Ref
	stage  model.Stage
	// service is the DNS Service that is denied; zero: anything.
	service model.Ref
}

// deniedPods is what a policy denies of pods' packets.
type deniedPods struct {
	traffic packets.Space
	addrs   []netip.Addr // of service
	pods    []model.Ref
	hosts   []model.Ref
	// family of all packets: 4, 6, or 0 of both.
	family uint8
}

// endpoint follows packets from and to the local pods of a host endpoint.
func (w *wildcards) endpoint(host *model.Endpoint, stages []index.StageChain) {
	var early, forwardIn, forwardOut []index.StageChain
	for _, c := range stages {
		switch {
		case c.Direction == model.Ingress && (c.Stage == model.StageUntracked || c.Stage == model.StagePreDNAT):
			early = append(early, c)
		case c.Stage == model.StageForward && c.Direction == model.Ingress:
			forwardIn = append(forwardIn, c)
		case c.Stage == model.StageForward:
			forwardOut = append(forwardOut, c)
		}
	}
	if len(early)+len(forwardIn)+len(forwardOut) == 0 {
		return
	}
	for _, pods := range w.alike(stages, w.local[host.Node]) {
		for _, peers := range w.peerGroups(stages) {
			if peers[0].Addr.Is4() != pods[0].Addr.Is4() {
				continue
			}
			open := w.early(host, early, pods, peers[0], model.Ref{})
			// To and from the node itself nothing is forwarded.
			i := slices.IndexFunc(peers, func(p *packets.Party) bool { return !p.Host || p.Node != host.Node })
			if i < 0 {
				continue
			}
			w.forward(host, forwardIn, pods, pods[0], peers[i], open)
			w.forward(host, forwardOut, pods, peers[i], pods[0], packets.Family(familyOf(peers[i])))
		}
		for service, addrs := range w.dnsServices() {
			for _, a := range addrs {
				if a.Is4() == pods[0].Addr.Is4() {
					w.early(host, early, pods, w.e.Party(a), service)
				}
			}
		}
	}
}

// alike groups parties that some stages see alike.
func (w *wildcards) alike(stages []index.StageChain, parties []*packets.Party) [][]*packets.Party {
	index := map[string]int{}
	var out [][]*packets.Party
	for _, p := range parties {
		k := w.viewsOf(stages, p)
		i, ok := index[k]
		if !ok {
			i = len(out)
			index[k] = i
			out = append(out, nil)
		}
		out[i] = append(out[i], p)
	}
	return out
}

func (w *wildcards) peerGroups(stages []index.StageChain) [][]*packets.Party {
	var b strings.Builder
	for _, c := range stages {
		fmt.Fprintf(&b, "%s %d %d ", c.Stage, c.Direction, w.e.Number(c.Chain, c.Direction))
	}
	k := b.String()
	if _, ok := w.peersOf[k]; !ok {
		w.peersOf[k] = w.alike(stages, w.peers)
	}
	return w.peersOf[k]
}

// viewsOf is equal for parties that some stages, and failsafe ports, see alike.
func (l *linter) viewsOf(stages []index.StageChain, p *packets.Party) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%t", p.Addr.Is4())
	for _, c := range stages {
		fmt.Fprintf(&b, " %d/%d", l.e.View(c.Chain, c.Direction, false, p), l.e.View(c.Chain, c.Direction, true, p))
	}
	for _, dir := range directions {
		b.Write(l.e.FailsafeSpace(dir, p.Addr).AppendKey([]byte{' '}))
	}
	return b.String()
}

// early follows what pods send to a peer through the untracked and preDNAT
// stages, after failsafe ports, and returns what they hand on.
func (w *wildcards) early(host *model.Endpoint, stages []index.StageChain, pods []*packets.Party, peer *packets.Party, service model.Ref) packets.Space {
	open := packets.Family(familyOf(peer))
	if len(stages) > 0 {
		open = open.Subtract(w.e.FailsafeSpace(model.Ingress, pods[0].Addr))
	}
	if service != (model.Ref{}) {
		open = open.Intersect(packets.DstPorts(model.UDP, 53, 53).Union(packets.DstPorts(model.TCP, 53, 53)))
	}
	for _, c := range stages {
		rest := w.e.Walk(c.Chain, c.Direction, false, pods[0], peer, func(p packets.Passage) {
			if p.Policy < 0 || p.Action != model.Deny {
				return
			}
			by := c.Chain[p.Tier].Policies[p.Policy]
			denied := p.Match.Intersect(p.Reached).Intersect(open)
			if by.Audit || denied.IsEmpty() {
				return
			}
			w.note(wildcardKey{by.Ref, c.Stage, service}, host, pods, peer, denied)
		})
		open = open.Intersect(rest)
	}
	return open
}

// forward follows what is forwarded between pods and a peer.
func (w *wildcards) forward(host *model.Endpoint, stages []index.StageChain, pods []*packets.Party, src, dst *packets.Party, open packets.Space) {
	for _, c := range stages {
		w.e.Walk(c.Chain, c.Direction, c.EndOfTier, src, dst, func(p packets.Passage) {
			denied := p.Match.Intersect(p.Reached).Intersect(open)
			if p.Action != model.Deny || denied.IsEmpty() {
				return
			}
			by := lastEnforced(c.Chain[p.Tier].Policies)
			if p.Policy >= 0 {
				by = c.Chain[p.Tier].Policies[p.Policy]
			}
			if by != nil && !by.Audit {
				w.note(wildcardKey{by.Ref, c.Stage, model.Ref{}}, host, pods, nil, denied)
			}
		})
	}
}

// lastEnforced is the policy that the end of a tier is reported of, or nil.
func lastEnforced(list []*index.Policy) *index.Policy {
	for i := len(list) - 1; i >= 0; i-- {
		if !list[i].Audit {
			return list[i]
		}
	}
	return nil
}

func (w *wildcards) note(k wildcardKey, host *model.Endpoint, pods []*packets.Party, peer *packets.Party, denied packets.Space) {
	d := w.denied[k]
	if d == nil {
		d = &deniedPods{family: familyOf(pods[0])}
		w.denied[k] = d
	}
	if d.family != familyOf(pods[0]) {
		d.family = 0
	}
	d.traffic = d.traffic.Union(denied)
	for _, p := range pods {
		d.pods = appendNew(d.pods, p.Pod.Ref)
	}
	d.hosts = appendNew(d.hosts, host.Ref)
	if k.service != (model.Ref{}) {
		d.addrs = appendNew(d.addrs, peer.Addr)
	}
}

func appendNew[T comparable](list []T, x T) []T {
	if slices.Contains(list, x) {
		return list
	}
	return append(list, x)
}

// dnsServices are the Services by which pods ask for names.
func (l *linter) dnsServices() map[model.Ref][]netip.Addr {
	out := map[model.Ref][]netip.Addr{}
	for i := range l.services {
		r, addrs := l.services[i].Ref, l.services[i].Addrs
		if len(addrs) > 0 && packets.ResolvesNames(r) {
			out[r] = addrs
		}
	}
	return out
}

// report makes a finding of each policy that denies pods' packets.
func (w *wildcards) report(mode model.Guard) {
	verb, severity := "denies", Info
	if mode == model.GuardCount {
		verb, severity = "would deny, if spec.wildcardGuard enforced it,", Warning
	}
	for k, d := range w.denied {
		slices.SortFunc(d.pods, model.Ref.Compare)
		slices.SortFunc(d.hosts, model.Ref.Compare)
		slices.SortFunc(d.addrs, netip.Addr.Compare)
		f := Finding{Severity: severity, Code: CodeWildcardMeetsPods, Object: k.policy, Related: related(d.hosts)}
		when := ""
		switch k.stage {
		case model.StageUntracked:
			f.Field, when = "spec.doNotTrack", ", before connection tracking"
		case model.StagePreDNAT:
			f.Field, when = "spec.preDNAT", ", before Services are translated"
		default:
			f.Field = "spec.applyOnForward"
		}
		traffic := d.traffic.Describe(d.family)
		f.Message = fmt.Sprintf("%s packets of local pods%s: %s of %s; %s guards the interfaces of pods too", verb, when, traffic, some(d.pods), some(d.hosts))
		if k.service != (model.Ref{}) {
			f.Severity, f.Code = Warning, CodeWildcardDeniesDNS
			f.Message = fmt.Sprintf("%s what local pods send to %s (%s, %s)%s: %s cannot resolve names; %s guards the interfaces of pods too",
				verb, k.service, some(d.addrs), traffic, when, some(d.pods), some(d.hosts))
		}
		w.add(f)
	}
}

func related(refs []model.Ref) []Related {
	out := make([]Related, len(refs))
	for i, r := range refs {
		out[i].Object = r
	}
	return out
}

func policiesOf(c index.Chain) []model.Ref {
	var out []model.Ref
	for _, t := range c {
		for _, p := range t.Policies {
			out = append(out, p.Ref)
		}
	}
	return out
}
