package index

import (
	"cmp"
	"maps"
	"slices"

	"github.com/tierwall/tierwall/policy/model"
)

// Flush brings everything up to date and returns what has changed since the last Flush.
//
// Policies get their sets before classes get their effective policies, and the
// references of the old ones are returned last, so that a set which the old and the new
// share is never reported as gone and new.
func (ix *Index) Flush() *Delta { return ix.flush(&Part{}) }

func (ix *Index) flush(part *Part) *Delta {
	ix.sortPolicies()
	ix.turnPolicies()
	for i := 0; i < len(ix.queuedSels); i++ { // activation can queue more
		s := ix.queuedSels[i]
		s.queued = false
		for _, rec := range s.policies {
			switch {
			case s.local == 0:
				ix.deactivate(rec)
			case rec.active == nil || rec.activeSeq != rec.seq:
				ix.activate(rec)
				ix.staleClasses(s)
			}
		}
	}
	ix.queuedSels = ix.queuedSels[:0]

	// Sorted by number: the order of lists collected from maps would make the numbers
	// of classes and effective policies differ from run to run.
	slices.SortFunc(ix.dirtyLabelGroups, func(a, b *labelGroup) int { return cmp.Compare(a.id, b.id) })
	for _, ls := range ix.dirtyLabelGroups {
		ix.reclass(ls)
	}
	ix.dirtyLabelGroups = ix.dirtyLabelGroups[:0]
	for _, c := range ix.dueClasses(part) {
		ix.rebuild(c)
	}
	ix.buildAhead()
	for _, c := range ix.emptied {
		ix.dropClass(c)
	}
	ix.emptied = ix.emptied[:0]

	d := &Delta{Settings: !sameSettings(ix.settings, ix.reportedSettings)}
	ix.reportedSettings = ix.settings
	ix.flushNodes(d)
	ix.flushEndpoints(d, part)
	ix.flushEffectives(d)
	released := ix.released
	ix.released = nil
	ix.releaseSets(released)
	idle := ix.idle
	ix.idle = nil
	for _, s := range idle {
		ix.loseRole(s)
	}

	ix.flushSets(d)
	ix.flushPatterns(d)
	return d
}

func (ix *Index) flushSets(d *Delta) {
	for _, s := range ix.dirtySets {
		if s.refs == 0 {
			continue
		}
		if sd, changed := s.delta(); changed {
			d.Sets = append(d.Sets, sd)
		}
	}
	ix.dirtySets = ix.dirtySets[:0]
	for _, s := range ix.goneSets {
		d.Sets = append(d.Sets, SetDelta{Set: s, Gone: true})
	}
	ix.goneSets = nil
	slices.SortFunc(d.Sets, func(a, b SetDelta) int { return cmp.Compare(a.Set.id, b.Set.id) })
}

func (ix *Index) flushNodes(d *Delta) {
	for name := range ix.changedNodes {
		now, before := ix.Node(name), ix.reportedNodes[name]
		var links *model.Links
		if ix.IsLocal(name) {
			links = ix.Links(name)
		}
		var object *model.Node
		if rec := ix.nodes[name]; rec != nil {
			object = rec.object
		}
		changed := !sameNode(object, ix.reportedObjects[name])
		keep(ix.reportedObjects, name, object)
		if sameNode(now, before) && sameLinks(links, ix.reportedLinks[name]) {
			continue // of an object that has gone, its links may say all that it said
		}
		if changed {
			d.NodeObjects = append(d.NodeObjects, name)
		}
		keep(ix.reportedNodes, name, now)
		keep(ix.reportedLinks, name, links)
		d.Nodes = append(d.Nodes, name)
	}
	clear(ix.changedNodes)
	slices.Sort(d.Nodes)
	slices.Sort(d.NodeObjects)
}

// keep sets a key to a value, or deletes it if the value is nil.
func keep[V any](m map[string]*V, k string, v *V) {
	if v == nil {
		delete(m, k)
	} else {
		m[k] = v
	}
}

func sameNode(a, b *model.Node) bool {
	if a == nil || b == nil {
		return a == b
	}
	return slices.Equal(a.Addrs, b.Addrs) && slices.Equal(a.PodCIDRs, b.PodCIDRs) && maps.Equal(a.Labels, b.Labels)
}

func sameSettings(a, b *model.Settings) bool {
	x, y := *a, *b
	return slices.Equal(x.FailsafeInbound, y.FailsafeInbound) && slices.Equal(x.FailsafeOutbound, y.FailsafeOutbound) &&
		x.EndpointToHost == y.EndpointToHost && x.UnknownWorkloads == y.UnknownWorkloads && x.AutoHostEndpoints == y.AutoHostEndpoints &&
		x.NamespacedSetsEverywhere == y.NamespacedSetsEverywhere &&
		x.Guards == y.Guards && x.Marks == y.Marks && x.DNS.Same(y.DNS)
}

func (ix *Index) flushEffectives(d *Delta) {
	for _, e := range ix.newEffs {
		if e.refs > 0 && !e.reported {
			e.reported = true
			d.Added = append(d.Added, e.eff)
		}
	}
	ix.newEffs = nil
	for _, e := range ix.idleEffs {
		if ix.dropEffective(e) && e.reported {
			d.Removed = append(d.Removed, e.eff)
		}
	}
	ix.idleEffs = nil
	byID := func(a, b *Effective) int { return cmp.Compare(a.ID, b.ID) }
	slices.SortFunc(d.Added, byID)
	slices.SortFunc(d.Removed, byID)
}

func (ix *Index) flushEndpoints(d *Delta, p *Part) {
	for r := range ix.dirtyEndpoints {
		before, was := ix.reported[r]
		o := ix.Find(r)
		if !ix.holdLate(r, o, before.Effective, p) {
			delete(ix.dirtyEndpoints, r)
		}
		if o == nil || !o.local {
			if was {
				delete(ix.reported, r)
				d.ByName = ix.noteByName(r, nil) || d.ByName
				d.Endpoints = append(d.Endpoints, EndpointDelta{Ref: r})
			}
			continue
		}
		now := EndpointDelta{Ref: r, Effective: o.Effective(), Endpoint: before.Endpoint}
		if !was || !sameEndpoint(before.Endpoint, o) {
			now.Endpoint = &LocalEndpoint{Ref: r, Node: o.node, Addrs: o.addrs}
			if o.host() != nil {
				now.Endpoint.Host = &o.host().HostEndpoint
			}
		} else if before.Effective == now.Effective {
			continue
		}
		ix.reported[r] = now
		turned := ix.noteByName(r, now.Effective)
		d.ByName = d.ByName || turned || now.Effective.byName() && now.Endpoint != before.Endpoint
		d.Endpoints = append(d.Endpoints, now)
	}
	slices.SortFunc(d.Endpoints, func(a, b EndpointDelta) int { return a.Ref.Compare(b.Ref) })
}

func sameEndpoint(e *LocalEndpoint, o *Holder) bool {
	if e.Node != o.node || !slices.Equal(e.Addrs, o.addrs) || (e.Host == nil) != (o.host() == nil) {
		return false
	}
	return e.Host == nil || *e.Host == o.host().HostEndpoint
}
