package flows

import (
	"slices"
	"strings"

	"github.com/tierwall/tierwall/policy/model"
)

// Viewer reports whether somebody may see the flows of a namespace; "" is what has
// none: nodes, network sets of the cluster, and policies of the cluster.
type Viewer func(namespace string) bool

// Reduce leaves of a record what a viewer may see; false: nothing. A record is seen by
// those who may see the namespace of either end. The other end is reduced to its kind,
// together with the policies of its direction, its node and its Service. Addresses
// outside the cluster, and the names that rules match them by, belong to nobody: they
// are seen with the end that is. The record itself does not change.
//
// Filters must be applied to what is left: they would otherwise tell what is hidden.
func Reduce(r *Record, may Viewer) (Record, bool) {
	if may("") {
		return *r, true
	}
	source, destination := r.Source.Namespace != "" && may(r.Source.Namespace), r.Destination.Namespace != "" && may(r.Destination.Namespace)
	if r.Other || !source && !destination {
		return Record{}, false
	}
	out := *r
	if !source {
		out.Source = reduceEnd(&r.Source)
	}
	if !destination {
		out.Destination = reduceEnd(&r.Destination)
	}
	if namespace, _, _ := strings.Cut(r.Service, "/"); !may(namespace) || namespace == "" {
		out.Service = ""
	}
	out.Reporters = slices.DeleteFunc(slices.Clone(r.Reporters), func(n string) bool {
		return n != out.Source.Node && n != out.Destination.Node
	})
	if len(out.Reporters) == 0 {
		out.Reporters = nil
	}
	out.Decided = reduceDecided(&r.Decided, source, destination, may)
	if r.Before != nil {
		before := reduceDecided(r.Before, source, destination, may)
		out.Before = &before
	}
	return out, true
}

func reduceEnd(e *End) End {
	switch e.Kind {
	case EndOutside:
		return End{Kind: e.Kind, Addresses: e.Addresses}
	case EndDomain:
		return End{Kind: e.Kind, Domain: e.Domain, Addresses: e.Addresses}
	}
	return End{Kind: e.Kind}
}

func reduceDecided(d *Decided, source, destination bool, may Viewer) Decided {
	out := *d
	out.Generation = 0
	out.Egress, out.Ingress = reduceVerdict(d.Egress, source, may), reduceVerdict(d.Ingress, destination, may)
	return out
}

// reduceVerdict leaves a verdict of a visible end as it is, but for the names of
// policies in namespaces that the viewer may not see, and of one that is not visible only
// what happened. Policies of the cluster that govern a visible pod are named: whoever
// may see the pod is subject to them.
func reduceVerdict(v *model.Verdict, visible bool, may Viewer) *model.Verdict {
	if v == nil {
		return nil
	}
	if !visible {
		return &model.Verdict{Action: v.Action, Direction: v.Direction, Rule: model.RuleDefault}
	}
	out := *v
	if ns := v.Policy.Namespace; ns != "" && !may(ns) {
		out.Policy, out.RuleName = model.Ref{}, ""
	}
	if ns := v.Endpoint.Namespace; ns != "" && !may(ns) {
		out.Endpoint = model.Ref{}
	}
	out.Audit = reduceVerdict(v.Audit, true, may)
	return &out
}

// ReduceHits leaves the rules that a viewer may see: those of policies in namespaces that
// it may see, and with rights in the whole cluster all.
func ReduceHits(list []RuleHits, may Viewer) []RuleHits {
	return slices.DeleteFunc(slices.Clone(list), func(h RuleHits) bool { return !may(h.Policy.Namespace) })
}
