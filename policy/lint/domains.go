package lint

import (
	"fmt"
	"slices"
	"strings"

	"golang.org/x/net/publicsuffix"

	"github.com/tierwall/tierwall/policy/index"
	"github.com/tierwall/tierwall/policy/model"
	"github.com/tierwall/tierwall/policy/names"
)

// domains reports DNS names that open more than they seem to, or nothing.
func (l *linter) domains() {
	known := slices.ContainsFunc(l.ix.Patterns(), l.ix.Known)
	for _, p := range l.ix.Policies() {
		for i := range p.EgressRules {
			r := &p.EgressRules[i]
			field := sideField(p, model.Egress, r, true)
			for _, d := range r.Match.Destination.Domains {
				l.domain(p.Ref, field, d)
				if known && l.resolved[p.Ref] != nil && !l.ix.Known(d) {
					l.add(Finding{
						Severity: Info, Code: CodeDomainUnknown, Object: p.Ref, Field: field,
						Message: fmt.Sprintf("no DNS answer is known for %s: the rule matches no address by it", d),
					})
				}
			}
		}
	}
	for _, r := range l.ix.NetworkSets() {
		for _, d := range l.ix.NetworkSetDomains(r) {
			l.domain(r, "spec.allowedEgressDomains", d)
		}
	}
	for _, p := range l.ix.Policies() {
		if resolved := l.resolved[p.Ref]; resolved != nil {
			for i := range resolved.ResolvedEgress {
				l.namesLeftOut(p, &resolved.ResolvedEgress[i])
			}
		}
	}
}

// clusterDomain is the domain of nearly every cluster, which its DNS server alone knows of.
const clusterDomain = "cluster.local"

// domain reports what is odd about a name, in whatever object it is.
func (l *linter) domain(object model.Ref, field string, d names.Pattern) {
	text := d.String()
	owned := text[strings.LastIndex("."+text, "*.")+1:] // what is behind the last *
	owned = strings.TrimPrefix(owned, ".")
	suffix, _ := publicsuffix.PublicSuffix(owned)
	switch {
	case text == clusterDomain || strings.HasSuffix(text, "."+clusterDomain) || d.Matches("kubernetes.default.svc."+clusterDomain):
		message := "is a name of the cluster itself: answers with addresses of pods and Services do not count (refuseInternalAddresses); select the pods, or name the Service"
		if l.ix.Settings().DNS.TakeInternal {
			message = "is a name of the cluster itself: policies see what is sent to a Service as sent to its endpoints; select the pods, or name the Service"
		}
		l.add(Finding{Severity: Warning, Code: CodeDomainInternal, Object: object, Field: field, Message: text + " " + message})
	case d.Wildcard() && suffix == owned:
		l.add(Finding{
			Severity: Warning, Code: CodeDomainWide, Object: object, Field: field,
			Message: fmt.Sprintf("%s: anybody can have a name below %s, and so decide which addresses the rule means", text, owned),
		})
	}
}

// namesLeftOut reports rules that mean network sets with names and leave those out.
func (l *linter) namesLeftOut(p *model.Policy, r *index.Rule) {
	for _, x := range []struct {
		set  *index.Set
		what string
		when bool
	}{
		{r.Destination.Selector, "a rule that denies or passes", r.Action == model.Deny || r.Action == model.Pass},
		{r.Destination.NotSelector, "a notSelector", true},
	} {
		if x.set == nil || !x.when || r.Match.Never {
			continue
		}
		if left := x.set.LeftOut(); len(left) > 0 {
			l.add(Finding{
				Severity: Info, Code: CodeDomainNotDenied, Object: p.Ref, Field: sideField(p, model.Egress, r.Rule, true),
				Message: fmt.Sprintf("%s does not count the allowedEgressDomains of the network sets that it means: %s", x.what, some(left)),
			})
		}
	}
}
