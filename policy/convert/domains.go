package convert

import (
	"errors"
	"slices"

	"k8s.io/apimachinery/pkg/util/validation/field"
	clusterv1alpha2 "sigs.k8s.io/network-policy-api/apis/v1alpha2"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/policy/model"
	"github.com/tierwall/tierwall/policy/names"
)

// Bounds of the API.
const (
	maxDomains    = 50  // of a rule
	maxSetDomains = 500 // of a network set
)

// domains reads a list of DNS names, the field name of parent, sorted and unique. Those
// that cannot be read are reported and left out. Of a list of more than limit, none is
// read: it would match what no API server has accepted.
func (r *report) domains(parent *field.Path, name string, in []string, limit int) []names.Pattern {
	if len(in) == 0 {
		return nil
	}
	path := parent.Child(name)
	if len(in) > limit {
		r.errorf(path, "too many: has %d names, must have at most %d", len(in), limit)
		return nil
	}
	out := make([]names.Pattern, 0, len(in))
	seen := map[names.Pattern]bool{}
	for i, s := range in {
		p, err := names.ParsePattern(s)
		switch {
		case err != nil:
			r.errorf(path.Index(i), "invalid DNS name %s: %v", quote(s), errors.Unwrap(err))
			continue
		case seen[p]:
			r.warnf(path.Index(i), "duplicate value %s", quote(p.String()))
			continue
		case p.String() != s:
			r.warnf(path.Index(i), "%s is read as %s", quote(s), quote(p.String()))
		}
		seen[p] = true
		out = append(out, p)
	}
	slices.SortFunc(out, names.Pattern.Compare)
	return out
}

// byName converts the names of one side of a rule. here reports whether this is the side
// and direction in which they have a meaning.
func (r *report) byName(rule *field.Path, side string, in *v1alpha1.EntityRule, out *model.Peer, action model.Action, here bool) {
	if len(in.Domains) == 0 {
		return
	}
	path := rule.Child(side)
	at := path.Child("domains")
	switch {
	case !here:
		r.errorf(at, "is not allowed here: want it in the destination of an egress rule")
	case r.untracked:
		r.errorf(at, "cannot be combined with doNotTrack and preDNAT: DNS answers are learnt as replies of tracked connections")
	}
	for _, other := range []struct {
		name string
		set  bool
	}{
		{"nets", len(in.Nets) > 0},
		{"selector", in.Selector != ""},
		{"namespaceSelector", in.NamespaceSelector != ""},
		{"serviceAccounts", in.ServiceAccounts != nil},
		{"services", in.Services != nil},
	} {
		if other.set {
			r.errorf(path.Child(other.name), "cannot be combined with domains: want one or the other")
		}
	}
	if here && (action == model.Deny || action == model.Pass) {
		r.errorf(at, "needs action Allow or Log, the action is %s: a name that is learnt too late would let through what the rule should deny; the rule denies everything", action)
	}
	out.Domains = r.domains(path, "domains", in.Domains, maxDomains)
}

// domainNames converts the names of a ClusterNetworkPolicy's peer.
func (c *clusterRule) domainNames(peer *field.Path, in []clusterv1alpha2.DomainName, action model.Action) []model.Peer {
	at := peer.Child("domainNames")
	if len(in) == 0 {
		c.errorf(at, "is empty: want at least one name")
	}
	if c.dir != model.Egress {
		c.errorf(at, "is not allowed here: want it in an egress rule")
	}
	if action == model.Deny || action == model.Pass {
		c.errorf(at, "needs action Accept, the action is %s: a name that is learnt too late would let through what the rule should deny; the rule denies everything", action)
	}
	texts := make([]string, len(in))
	for i := range in {
		texts[i] = string(in[i])
	}
	found := c.domains(peer, "domainNames", texts, maxClusterList)
	for _, p := range found {
		if p.InnerWildcard() {
			c.errorf(at, "%s is not valid here: want * as the first label only", quote(p.String()))
		}
	}
	if found == nil {
		return nil
	}
	return []model.Peer{{Domains: found}}
}
