package iptables

import (
	"maps"
	"slices"

	"github.com/tierwall/tierwall/dataplane/base"
)

// Chains that have names of their own.
const (
	chainForward  = chainPrefix + "forward"
	chainEgress   = chainPrefix + "egress"
	chainIngress  = chainPrefix + "ingress"
	chainToHost   = chainPrefix + "to-host"
	chainLocalIn  = chainPrefix + "local-in"
	chainLocalOut = chainPrefix + "local-out"
	chainPorts    = chainPrefix + "ports" // which every packet meets that comes by a bridge
)

// base writes all of a family: what hooks lead to.
func (g *generator) base() {
	t := base.New(g.state, g.hosts, g.family, base.Options{NoPairs: true, NoQueue: g.opts.noQueue})
	g.tableOf(tableRaw, t.Raw)
	g.tableOf(tableMangle, t.Mangle)
	g.tableOf(tableFilter, t.Filter)
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
