package diff

import (
	"fmt"
	"slices"

	"github.com/tierwall/tierwall/policy/model"
)

// itself compares what pods send themselves through their own Services, which only
// ClusterNetworkPolicies govern. Pods that exist in only one of the worlds are left
// out.
func (d *differ) itself(n *names) []Change {
	var found []sidedRectangle
	at := map[string]int{} // in found, by what is equal for all pods of one change
	for i := 0; i < len(d.atoms); {
		end := i + 1
		for end < len(d.atoms) && d.atoms[end].who == d.atoms[i].who && d.atoms[end].family == d.atoms[i].family {
			end++
		}
		for _, r := range d.ofPod(d.atoms[i:end]) {
			k, ok := at[r.key()]
			if !ok {
				k = len(found)
				at[r.key()] = k
				found = append(found, r.sidedRectangle)
				continue
			}
			found[k].fromMembers = found[k].fromMembers.join(r.fromMembers)
			found[k].toMembers = found[k].toMembers.join(r.toMembers)
		}
		i = end
	}
	changes := n.joinFamilies(found)
	for i := range changes {
		c := &changes[i]
		c.Where = Itself
		c.To.Text = "itself, by way of its own Service"
		if len(c.To.OnlyAddresses) > 0 {
			c.To.Text += fmt.Sprintf(" at %s", n.text(c.To.members, nil, c.Kind, []uint8{4, 6}, &c.To))
		}
	}
	return changes
}

// ownTraffic is a change of what one pod sends itself.
type ownTraffic struct {
	sidedRectangle
	// ordinal distinguishes changes that differ only because of the pod's addresses.
	ordinal int
}

func (t *ownTraffic) key() string {
	key := fmt.Appendf(nil, "%d %d %d\n", t.kind.rank(), t.family, t.ordinal)
	return string(t.space.AppendKey(appendSides(appendSides(key, t.before), t.after)))
}

// ofPod compares the addresses of one pod and family with each other.
func (d *differ) ofPod(atoms []atom) []ownTraffic {
	first := &atoms[0]
	if first.who.Kind != model.KindPod || !selfGoverned(first) {
		return nil
	}
	var deltas []delta
	var rows []map[int][]int // of each delta: receivers by sender
	for i := range atoms {
		for j := range atoms {
			x, y := &atoms[i], &atoms[j]
			if x.a == nil || x.b == nil || y.a == nil || y.b == nil {
				continue
			}
			for _, got := range d.compare(example{from: x, to: y}) {
				k := slices.IndexFunc(deltas, func(o delta) bool { return o.change == got.change && o.space.Equal(got.space) })
				if k < 0 {
					k = len(deltas)
					deltas, rows = append(deltas, got), append(rows, map[int][]int{})
				}
				rows[k][x.index] = append(rows[k][x.index], y.index)
			}
		}
	}
	var out []ownTraffic
	for k := range deltas {
		for ordinal, r := range byRows(rows[k]) {
			out = append(out, ownTraffic{sidedRectangle{
				rectangle:   rectangle{delta: deltas[k], family: first.family},
				fromMembers: r[0], toMembers: r[1], families: []uint8{first.family},
			}, ordinal})
		}
	}
	return out
}

// selfGoverned reports whether policies of either world govern what a pod sends itself.
func selfGoverned(x *atom) bool {
	return x.a != nil && x.a.Effective != nil && len(x.a.Effective.SelfStages()) > 0 ||
		x.b != nil && x.b.Effective != nil && len(x.b.Effective.SelfStages()) > 0
}
