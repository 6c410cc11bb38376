package dataplane

import (
	"crypto/sha256"
	"encoding/binary"

	"github.com/tierwall/tierwall/dataplane/naming"
)

// What IDs are made of. An ID names a content, in every process the same: so
// contents are written as bytes that no two of them share (texts by their
// length first), and what many contents are made of, a policy's rules above
// all, is hashed once and stands in them by its hash.

// digest stands for a content.
type digest [sha256.Size]byte

func (d *digest) id() string { return naming.Digest(*d) }

// content is bytes that are to be hashed.
type content []byte

func (c content) sum() digest { return sha256.Sum256(c) }

func (c *content) text(s string) {
	c.number(uint64(len(s)))
	*c = append(*c, s...)
}

func (c *content) number(n uint64) { *c = binary.AppendUvarint(*c, n) }

func (c *content) flag(b bool) {
	if b {
		*c = append(*c, 1)
	} else {
		*c = append(*c, 0)
	}
}

func (c *content) digest(d *digest) { *c = append(*c, d[:]...) }

func (c *content) conds(conds []Cond) {
	c.number(uint64(len(conds)))
	for i := range conds {
		cond := &conds[i]
		*c = append(*c, byte(cond.Kind), byte(cond.Protocol), cond.Type, cond.Code)
		c.flag(cond.Not)
		c.flag(cond.HasCode)
		c.ports(cond)
		if cond.Set == nil {
			c.text("")
		} else {
			c.text(cond.Set.ID)
		}
	}
}

// manyPorts is more ranges than a content holds as they are.
const manyPorts = 64

// ports stand for themselves, or where they are many for their hash.
func (c *content) ports(cond *Cond) {
	c.number(uint64(len(cond.Ports)))
	if cond.hash != nil {
		c.digest(cond.hash)
		return
	}
	c.ranges(cond.Ports)
}

func (c *content) ranges(ports []PortRange) {
	for _, r := range ports {
		c.number(uint64(r.First))
		c.number(uint64(r.Last))
	}
}

// hashOf returns what many ranges stand for in contents, or nil if they are few.
func hashOf(ports []PortRange) *digest {
	if len(ports) <= manyPorts {
		return nil
	}
	all := content("ports")
	all.ranges(ports)
	d := all.sum()
	return &d
}

func (c *content) leaf(l *Leaf) {
	*c = append(*c, byte(l.Verdict))
	c.flag(l.Log)
	c.origin(&l.Origin)
	c.number(uint64(len(l.Before)))
	for i := range l.Before {
		c.origin(&l.Before[i].Origin)
		c.flag(l.Before[i].Log)
	}
}

func (c *content) origin(o *Origin) {
	c.text(o.Tier)
	c.text(string(o.Policy.Kind))
	c.text(o.Policy.Namespace)
	c.text(o.Policy.Name)
	c.number(uint64(int64(o.Rule)))
	*c = append(*c, byte(o.Direction), byte(o.Action))
	c.flag(o.Audit)
}
