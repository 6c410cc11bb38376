package nftables

import (
	"fmt"

	"github.com/tierwall/tierwall/dataplane"
	"github.com/tierwall/tierwall/dataplane/base"
	"github.com/tierwall/tierwall/dataplane/nftables/nft"
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
	r, numbers := nft.NewRuleset(bridgeTable), portNumbers(w.state.Links)
	for _, f := range families {
		r.AddSet(&nft.Set{Name: setBound + digit(f), Types: addrType(f), Comment: "local pods whose port is known", Elems: boundElems(w.state.Links, f, portOf)})
	}
	ports := &nft.Set{Name: setPorts, Types: nft.TypeLink, Classes: true, Comment: "port of a local pod to its number", Elems: map[string]string{}}
	for name, n := range numbers {
		ports.Elems[nft.LinkKey(name)] = nft.ClassKey(n)
	}
	r.AddSet(ports)
	var in, out []nft.Rule
	for _, f := range families {
		in = append(in, w.bridgeGuard(r, f, numbers)...)
		out = append(out, listedOut(f))
	}
	in = append(in, w.bridgeFrames(r)...)
	in = append(in, line("meta priority set iifname map @"+setPorts, "the port by which it comes"))
	r.PutChain(&nft.Chain{Name: bridgeIn, Comment: "what ports of local pods send", Hook: &nft.Hook{Name: "prerouting", Priority: -300}, Rules: in})
	r.PutChain(&nft.Chain{Name: bridgeOut, Comment: "what leaves by them", Hook: &nft.Hook{Name: "postrouting", Priority: 200},
		Rules: append(out, line("meta priority set oifname map @"+setPorts, "the port by which it leaves"))})
	if w.bridge != nil {
		r.Inherit(w.bridge)
	}
	w.bridge = r
}

// listedOut leaves what goes to a local pod's address as it is: that is judged by
// address, and one look-up of an address takes the kernel less than one of a port's name. Advertisements of
// routers are judged by port whatever their destination.
func listedOut(f dataplane.Family) nft.Rule {
	match := "ether type " + ipOf(f) + " "
	if f == dataplane.IPv6 {
		match += "meta l4proto != " + protocol(model.ICMPv6) + " "
	}
	return line(match+ipOf(f)+" daddr @"+setBound+digit(f)+" accept", "to a local pod's address")
}

// bridgeGuard is the source guard by port. One look-up lets a pod's own packet
// pass and gives it the number of its port. The frame's own type is asked for:
// the kernel takes tags of VLANs off, and a tagged packet is an IP packet to it.
func (w *world) bridgeGuard(r *nft.Ruleset, f dataplane.Family, numbers map[string]uint32) []nft.Rule {
	mode := w.guards().Source
	if mode == model.GuardOff {
		return nil
	}
	l, d, t, ip := w.state.Links, digit(f), addrType(f), ipOf(f)
	r.AddSet(&nft.Set{Name: setSources + d, Types: nft.TypeLink + " . " + t, Classes: true,
		Comment: "port of a local pod with its address to the port's number", Elems: numberedSources(l, f, numbers)})
	frame := "ether type " + ip + " "
	return []nft.Rule{
		line(frame+"meta priority set iifname . "+ip+" saddr map @"+setSources+d+" accept", "a local pod's source by that pod's port"),
		line(frame+ip+" saddr @"+setBound+d+w.bridgeCount(r, model.GuardSourceName, mode), "a local pod's source by another port"),
	}
}

// numberedSources are the pairs of port and address, with the port's number.
func numberedSources(l *model.Links, f dataplane.Family, numbers map[string]uint32) map[string]string {
	out := map[string]string{}
	for i := range l.Pods {
		if p := &l.Pods[i]; p.Port != "" && dataplane.FamilyOf(p.Addr) == f {
			out[nft.LinkAddrKey(p.Port, p.Addr)] = nft.ClassKey(numbers[p.Port])
		}
	}
	return out
}

// unseen are types of frames in which IP packets pass a bridge without the hooks
// of IP: tagged for a VLAN (0 is none, so a receiver takes such a frame for an
// untagged one), twice tagged, and PPPoE.
var unseen = []string{"8021q", "8021ad", "0x8864"}

// bridgeFrames drops what a pod sends in frames that no policy would see.
func (w *world) bridgeFrames(r *nft.Ruleset) []nft.Rule {
	mode := w.guards().Link
	if mode == model.GuardOff {
		return nil
	}
	names := &nft.Set{Name: setLinks, Types: nft.TypeLink, Comment: "ports of local pods", Elems: map[string]string{}}
	for _, p := range w.state.Links.Pods {
		if p.Port != "" {
			names.Elems[nft.LinkKey(p.Port)] = ""
		}
	}
	r.AddSet(names)
	var rules []nft.Rule
	for _, t := range unseen {
		rules = append(rules, line("ether type "+t+" iifname @"+setLinks+w.bridgeCount(r, model.GuardLinkName, mode), "frames that no policy sees"))
	}
	return rules
}

// bridgeCount is what a guard does on a bridge, after a match, and makes its counter.
func (w *world) bridgeCount(r *nft.Ruleset, g model.GuardName, mode model.Guard) string {
	o := dataplane.GuardOrigin(g, mode == model.GuardCount)
	name, verdict := guardName(g, mode == model.GuardCount), " drop"
	if mode == model.GuardCount {
		verdict = ""
	}
	r.AddCounter(&nft.Counter{Name: name, Comment: o.String()})
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
	have, err := b.bridge.Read(w.bridge)
	if err != nil {
		return fmt.Errorf("nftables: cannot list the table of family bridge: %w", err)
	}
	if p := have.Plan(w.bridge); !p.Empty() {
		if err := b.bridge.Commit(p); err != nil {
			if again := b.bridge.Commit(nft.Rebuild(w.bridge)); again != nil {
				return fmt.Errorf("nftables: cannot change the table of family bridge: %w", err)
			}
		}
	}
	w.bridge.Settle()
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
	if p := w.bridge.Plan(); !p.Empty() {
		if err := b.bridge.Commit(p); err != nil {
			return fmt.Errorf("nftables: cannot change the table of family bridge: %w", err)
		}
	}
	w.bridge.Settle()
	return nil
}

func (b *Backend) removeBridge() error {
	if !b.bridged {
		return nil
	}
	if err := b.bridge.Commit(&nft.Plan{Remove: true}); err != nil {
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
	counts, err := b.bridge.Counters()
	if err != nil {
		return fmt.Errorf("nftables: cannot list counters of family bridge: %w", err)
	}
	addBridgeCounters(to, counts)
	return nil
}

func addBridgeCounters(to map[dataplane.Origin]dataplane.Count, counts map[string]nft.Count) {
	for name, c := range counts {
		if o, ok := guardOrigin(name); ok {
			sum := to[o]
			sum.Packets, sum.Bytes = sum.Packets+c.Packets, sum.Bytes+c.Bytes
			to[o] = sum
		}
	}
}
