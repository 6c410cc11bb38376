package lint

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/tierwall/tierwall/policy/index"
	"github.com/tierwall/tierwall/policy/model"
	"github.com/tierwall/tierwall/policy/nearest"
	"github.com/tierwall/tierwall/policy/packets"
)

// Run checks all objects of an Index as of its last Flush. All endpoints must be local
// to it. problems are those of the conversion. known are the names of all objects,
// including those that the core does not use (Services). services are the Services with
// their endpoints, as far as they are known.
//
// Checks that need endpoints (selects-nothing and the like) are skipped if there are
// none: a folder with only policies is not a cluster. The result is sorted by object
// and field.
func Run(ix *index.Index, problems []model.Problem, known []model.Ref, services []packets.Service) []Finding {
	return RunWith(packets.NewEvaluator(ix), problems, known, services)
}

// RunWith is Run with an Evaluator of the Index, which others may have used and may use.
func RunWith(e *packets.Evaluator, problems []model.Problem, known []model.Ref, services []packets.Service) []Finding {
	l := newLinter(e, known)
	l.services = services
	l.findings = Problems(problems)
	l.missingTiers()
	l.emptySets()
	l.duplicateOrders()
	l.selectsNothingEver()
	l.neverMatches()
	l.deniesEverything()
	l.bypassesNative()
	l.guardsNotEnforced()
	l.policiesTooLarge()
	l.duplicateInterfaces()
	l.addressClashes()
	l.namespacedSets()
	l.domains()
	if len(l.parties) > 0 {
		l.selectsNothing()
		l.unknownReferences()
		l.shadowed()
		l.noDNS()
		l.hostPolicies()
		l.wildcardMeetsPods()
		l.tunnelsClosed()
		l.serviceAddressesAndPorts()
	}
	slices.SortFunc(l.findings, compareFindings)
	return slices.CompactFunc(l.findings, func(a, b Finding) bool { return compareFindings(a, b) == 0 })
}

// Problems converts the problems of the conversion to findings. They are part of Run.
func Problems(problems []model.Problem) []Finding {
	var out []Finding
	for _, p := range problems {
		s := Error
		if p.Warning {
			s = Warning
		}
		out = append(out, Finding{Severity: s, Code: CodeInvalid, Object: p.Object, Field: p.Field, Message: p.Message})
	}
	return out
}

type linter struct {
	ix       *index.Index
	e        *packets.Evaluator
	known    map[model.Ref]bool
	services []packets.Service
	findings []Finding

	// parties are the addresses of endpoints and nodes; peers are these and one address
	// of each group of outside addresses; kinds are one of all peers that rules see
	// alike.
	parties, peers, kinds []*packets.Party
	// resolved are the policies that apply to any endpoint, with their sets.
	resolved map[model.Ref]*index.Policy
	chains   []ownChain
	// endpointLabels are the labels of all endpoints with their values; nil until
	// needed.
	endpointLabels map[string][]string
	// selections caches the endpoints that policies select.
	selections map[model.Ref][]model.Ref
}

// ownChain is a chain and the addresses of the endpoints that have it.
type ownChain struct {
	index.StageChain
	own []*packets.Party
}

// selected returns the endpoints that a policy selects, sorted.
func (l *linter) selected(p model.Ref) []model.Ref {
	out, known := l.selections[p]
	if !known {
		out = l.ix.Selected(p)
		l.selections[p] = out
	}
	return out
}

func (l *linter) add(f Finding) { l.findings = append(l.findings, f) }

func newLinter(e *packets.Evaluator, known []model.Ref) *linter {
	ix := e.Index()
	l := &linter{ix: ix, e: e, known: map[model.Ref]bool{}, resolved: map[model.Ref]*index.Policy{}, selections: map[model.Ref][]model.Ref{}}
	for _, r := range known {
		l.known[r] = true
	}
	var addrs []netip.Addr
	for _, r := range ix.Endpoints() {
		if e, ok := ix.Endpoint(r); ok {
			addrs = append(addrs, e.Addrs...)
		}
	}
	for _, n := range ix.Nodes() {
		for _, a := range n.Addrs {
			addrs = append(addrs, a.Unmap())
		}
	}
	slices.SortFunc(addrs, netip.Addr.Compare)
	for _, a := range slices.Compact(addrs) {
		l.parties = append(l.parties, l.e.Party(a))
	}
	l.peers = slices.Clone(l.parties)
	for _, g := range l.e.Outside() {
		l.peers = append(l.peers, l.e.Party(g.Addr))
	}
	l.kinds = l.e.Distinct(l.peers)
	l.collectChains()
	return l
}

// collectChains lists every chain once, with all endpoints that have it.
func (l *linter) collectChains() {
	type key struct {
		chain int32
		stage model.Stage
		dir   model.Direction
	}
	index := map[key]int{}
	// A host endpoint of all interfaces guards addresses that are not its own.
	addrs := map[model.Ref][]*packets.Party{}
	for _, p := range l.parties {
		switch {
		case p.Pod != nil:
			addrs[p.Pod.Ref] = append(addrs[p.Pod.Ref], p)
		case p.Guard != nil:
			addrs[p.Guard.Ref] = append(addrs[p.Guard.Ref], p)
		}
	}
	for _, r := range l.ix.Endpoints() {
		eff := l.ix.Effective(r)
		if eff == nil {
			continue
		}
		for _, c := range packets.Chains(eff) {
			k := key{l.e.Number(c.Chain, c.Direction), c.Stage, c.Direction}
			i, ok := index[k]
			if !ok {
				i = len(l.chains)
				index[k] = i
				l.chains = append(l.chains, ownChain{StageChain: c})
				for _, t := range c.Chain {
					for _, p := range t.Policies {
						l.resolved[p.Ref] = p
					}
				}
			}
			if c.Stage == model.StageForward || c.Stage == model.StagePreDNAT || c.Stage == model.StageUntracked {
				// Traffic that is forwarded by a node, or arrives there before routing,
				// can be from and to any address.
				l.chains[i].own = l.peers
				continue
			}
			l.chains[i].own = append(l.chains[i].own, addrs[r]...)
		}
	}
}

// endOfTier reports whether the tiers' default actions apply in a chain.
func (c *ownChain) endOfTier() bool { return c.Default != model.NoAction }

// missingTiers reports policies whose tier does not exist.
func (l *linter) missingTiers() {
	missing := map[string]bool{}
	var there []string
	for _, t := range l.ix.Tiers() {
		missing[t.Name] = t.Missing
		if !t.Missing {
			there = append(there, t.Name)
		}
	}
	for _, p := range l.ix.Policies() {
		if missing[p.Tier] {
			l.add(Finding{
				Severity: Error, Code: CodeMissingTier, Object: p.Ref, Field: "spec.tier",
				Message: fmt.Sprintf("tier %q does not exist: the policy is evaluated after all tiers, in a tier of its own that denies by default%s", p.Tier, nearest.Clause(p.Tier, there)),
				Related: []Related{{Object: model.Ref{Kind: model.KindTier, Name: p.Tier}}},
			})
		}
	}
}

// emptySets reports network sets without addresses.
func (l *linter) emptySets() {
	for _, r := range l.ix.NetworkSets() {
		if len(l.ix.NetworkSet(r)) == 0 && len(l.ix.NetworkSetDomains(r)) == 0 {
			l.add(Finding{Severity: Info, Code: CodeEmptySet, Object: r, Field: "spec.nets", Message: "the set has no addresses: it matches nothing in rules that select it"})
		}
	}
}
