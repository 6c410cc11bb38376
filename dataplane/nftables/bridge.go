package nftables

import (
	"fmt"

	"github.com/tierwall/tierwall/dataplane"
	"github.com/tierwall/tierwall/dataplane/base"
	"github.com/tierwall/tierwall/policy/model"
)

// Where local pods are ports of a bridge, family inet sees the bridge alone. A
// table of family bridge then tells the ports apart: it drops what bears another
// pod's source, and gives a packet the number of its port as its priority
// (skb->priority), which the chains of family inet look up: that of the port by
// which it came until it is forwarded, then that of the port by which it leaves.
// A veth pair clears the priority, so what a pod sends has none before.

// The base chains of the table.
const (
	bridgeIn  = "bridge-in"
	bridgeOut = "bridge-out"
)

// renderBridge writes the bridge's table, or none.
func (w *world) renderBridge() {
	if !base.HasPorts(w.state) {
		w.bridge = nil
		return
	}
	r, numbers := newRuleset(bridgeTable), portNumbers(w.state.Links)
	for _, f := range families {
		r.addSet(&set{name: setBound + digit(f), types: addrType(f), comment: "local pods whose port is known", elems: boundElems(w.state.Links, f, portOf)})
	}
	ports := &set{name: setPorts, types: typeLink, classes: true, comment: "port of a local pod to its number", elems: map[string]string{}}
	for name, n := range numbers {
		ports.elems[linkKey(name)] = classKey(n)
	}
	r.addSet(ports)
	var in, out []rule
	for _, f := range families {
		in = append(in, w.bridgeGuard(r, f, numbers)...)
		out = append(out, listedOut(f))
	}
	in = append(in, w.bridgeFrames(r)...)
	in = append(in, rule{"meta priority set iifname map @" + setPorts, "the port by which it comes"})
	r.putChain(&chain{name: bridgeIn, comment: "what ports of local pods send", hook: &hook{"prerouting", -300}, rules: in})
	r.putChain(&chain{name: bridgeOut, comment: "what leaves by them", hook: &hook{"postrouting", 200},
		rules: append(out, rule{"meta priority set oifname map @" + setPorts, "the port by which it leaves"})})
	if w.bridge != nil {
		r.inherit(w.bridge)
	}
	w.bridge = r
}

// listedOut leaves what goes to a local pod's address as it is: that is judged by
// address, and one look-up of an address takes the kernel less than one of a port's name. Advertisements of
// routers are judged by port whatever their destination.
func listedOut(f dataplane.Family) rule {
	match := "ether type " + ipOf(f) + " "
	if f == dataplane.IPv6 {
		match += "meta l4proto != " + protocol(model.ICMPv6) + " "
	}
	return rule{match + ipOf(f) + " daddr @" + setBound + digit(f) + " accept", "to a local pod's address"}
}

// bridgeGuard is the source guard by port. One look-up lets a pod's own packet
// pass and gives it the number of its port. The frame's own type is asked for:
// the kernel takes tags of VLANs off, and a tagged packet is an IP packet to it.
func (w *world) bridgeGuard(r *ruleset, f dataplane.Family, numbers map[string]uint32) []rule {
	mode := w.guards().Source
	if mode == model.GuardOff {
		return nil
	}
	l, d, t, ip := w.state.Links, digit(f), addrType(f), ipOf(f)
	r.addSet(&set{name: setSources + d, types: typeLink + " . " + t, classes: true,
		comment: "port of a local pod with its address to the port's number", elems: numberedSources(l, f, numbers)})
	frame := "ether type " + ip + " "
	return []rule{
		{frame + "meta priority set iifname . " + ip + " saddr map @" + setSources + d + " accept", "a local pod's source by that pod's port"},
		{frame + ip + " saddr @" + setBound + d + w.bridgeCount(r, model.GuardSourceName, mode), "a local pod's source by another port"},
	}
}

// numberedSources are the pairs of port and address, with the port's number.
func numberedSources(l *model.Links, f dataplane.Family, numbers map[string]uint32) map[string]string {
	out := map[string]string{}
	for i := range l.Pods {
		if p := &l.Pods[i]; p.Port != "" && dataplane.FamilyOf(p.Addr) == f {
			out[linkAddrKey(p.Port, p.Addr)] = classKey(numbers[p.Port])
		}
	}
	return out
}

// unseen are types of frames in which IP packets pass a bridge without the hooks
// of IP: tagged for a VLAN (0 is none, so a receiver takes such a frame for an
// untagged one), twice tagged, and PPPoE.
var unseen = []string{"8021q", "8021ad", "0x8864"}

// bridgeFrames drops what a pod sends in frames that no policy would see.
func (w *world) bridgeFrames(r *ruleset) []rule {
	mode := w.guards().Link
	if mode == model.GuardOff {
		return nil
	}
	names := &set{name: setLinks, types: typeLink, comment: "ports of local pods", elems: map[string]string{}}
	for _, p := range w.state.Links.Pods {
		if p.Port != "" {
			names.elems[linkKey(p.Port)] = ""
		}
	}
	r.addSet(names)
	var rules []rule
	for _, t := range unseen {
		rules = append(rules, rule{"ether type " + t + " iifname @" + setLinks + w.bridgeCount(r, model.GuardLinkName, mode), "frames that no policy sees"})
	}
	return rules
}

// bridgeCount is what a guard does on a bridge, after a match, and makes its counter.
func (w *world) bridgeCount(r *ruleset, g model.GuardName, mode model.Guard) string {
	o := dataplane.GuardOrigin(g, mode == model.GuardCount)
	name, verdict := guardName(g, mode == model.GuardCount), " drop"
	if mode == model.GuardCount {
		verdict = ""
	}
	r.addCounter(&counter{name: name, comment: o.String()})
	return " counter name " + name + verdict
}

func (w *world) guards() model.Guards {
	if w.state.Settings == nil {
		return model.Guards{}
	}
	return w.state.Settings.Guards
}

// syncBridge makes the kernel hold the bridge's table, or none, from whatever it holds.
func (b *Backend) syncBridge(w *world) error {
	if w.bridge == nil {
		return b.removeBridge()
	}
	have, err := b.bridge.read(w.bridge)
	if err != nil {
		return fmt.Errorf("nftables: cannot list the table of family bridge: %w", err)
	}
	if p := have.plan(w.bridge); !p.empty() {
		if err := b.bridge.commit(p); err != nil {
			if again := b.bridge.commit(rebuild(w.bridge)); again != nil {
				return fmt.Errorf("nftables: cannot change the table of family bridge: %w", err)
			}
		}
	}
	w.bridge.settle()
	b.bridged = true
	return nil
}

// applyBridge brings the bridge's table up to date. What it marks is looked up
// by family inet's table: a port that this one does not know yet is judged as
// before until that one has changed too.
func (b *Backend) applyBridge(w *world) error {
	if w.bridge == nil || !b.bridged {
		return b.syncBridge(w)
	}
	if p := w.bridge.plan(); !p.empty() {
		if err := b.bridge.commit(p); err != nil {
			return fmt.Errorf("nftables: cannot change the table of family bridge: %w", err)
		}
	}
	w.bridge.settle()
	return nil
}

func (b *Backend) removeBridge() error {
	if !b.bridged {
		return nil
	}
	if err := b.bridge.commit(&plan{remove: true}); err != nil {
		return fmt.Errorf("nftables: cannot remove the table of family bridge: %w", err)
	}
	b.bridged = false
	return nil
}

// bridgeCounters adds what the bridge's table has counted.
func (b *Backend) bridgeCounters(to map[dataplane.Origin]dataplane.Count) error {
	if b.world.bridge == nil {
		return nil
	}
	counts, err := b.bridge.counters()
	if err != nil {
		return fmt.Errorf("nftables: cannot list counters of family bridge: %w", err)
	}
	addBridgeCounters(to, counts)
	return nil
}

func addBridgeCounters(to map[dataplane.Origin]dataplane.Count, counts map[string]Count) {
	for name, c := range counts {
		if o, ok := guardOrigin(name); ok {
			sum := to[o]
			sum.Packets, sum.Bytes = sum.Packets+c.Packets, sum.Bytes+c.Bytes
			to[o] = sum
		}
	}
}
