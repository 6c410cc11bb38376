package nft

import (
	"encoding/binary"
	"strings"

	"golang.org/x/sys/unix"
)

// What the kernel lists of a table.

func (s *Snapshot) noteTable(attrs []byte) error {
	var name string
	var flags uint32
	err := nested(attrs, func(kind uint16, v []byte) error {
		switch kind {
		case unix.NFTA_TABLE_NAME:
			name = text(v)
		case unix.NFTA_TABLE_FLAGS:
			flags = number(v)
		}
		return nil
	})
	if name == s.table.Name {
		s.present, s.broken = true, flags != 0 // it may be dormant
	}
	return err
}

func (s *Snapshot) noteChain(attrs []byte) error {
	var table, name string
	var at Hook
	base, policy := false, uint32(nfAccept)
	err := nested(attrs, func(kind uint16, v []byte) error {
		switch kind {
		case unix.NFTA_CHAIN_TABLE:
			table = text(v)
		case unix.NFTA_CHAIN_NAME:
			name = text(v)
		case unix.NFTA_CHAIN_POLICY:
			policy = number(v)
		case unix.NFTA_CHAIN_HOOK:
			base = true
			return nested(v, func(kind uint16, v []byte) error {
				switch kind {
				case unix.NFTA_HOOK_HOOKNUM:
					at.Name = hookName(number(v))
				case unix.NFTA_HOOK_PRIORITY:
					at.Priority = int(int32(number(v)))
				}
				return nil
			})
		}
		return nil
	})
	if err != nil || table != s.table.Name {
		return err
	}
	s.chains[name] = []string{}
	if base {
		if policy != nfAccept {
			at.Name = "of another policy"
		}
		s.bases[name] = at
	}
	return nil
}

func hookName(n uint32) string {
	for name, number := range hooks {
		if n == number {
			return name
		}
	}
	return "another"
}

// noteRule notes a rule's comment: that tells one rule from another.
func (s *Snapshot) noteRule(attrs []byte) error {
	var chain, comment string
	err := nested(attrs, func(kind uint16, v []byte) error {
		switch kind {
		case unix.NFTA_RULE_CHAIN:
			chain = text(v)
		case unix.NFTA_RULE_USERDATA:
			if len(v) >= 2 && v[0] == udataComment && int(v[1]) <= len(v)-2 {
				comment = text(v[2 : 2+v[1]])
			}
		}
		return nil
	})
	s.chains[chain] = append(s.chains[chain], comment)
	return err
}

func (s *Snapshot) noteSet(attrs []byte) error {
	o := &Set{}
	var flags, keys, size, data uint32
	err := nested(attrs, func(kind uint16, v []byte) error {
		switch kind {
		case unix.NFTA_SET_NAME:
			o.Name = text(v)
		case unix.NFTA_SET_FLAGS:
			flags = number(v)
		case unix.NFTA_SET_KEY_TYPE:
			keys = number(v)
		case unix.NFTA_SET_KEY_LEN:
			size = number(v)
		case unix.NFTA_SET_DATA_TYPE:
			data = number(v)
		}
		return nil
	})
	if err != nil || flags&unix.NFT_SET_ANONYMOUS != 0 {
		return err
	}
	o.Interval = flags&unix.NFT_SET_INTERVAL != 0
	if flags&unix.NFT_SET_TIMEOUT != 0 {
		o.Timeout = 1 // of whatever length
	}
	class, _ := keyType(TypeClass)
	o.Verdicts = flags&unix.NFT_SET_MAP != 0 && data == unix.NFT_DATA_VERDICT
	o.Classes = flags&unix.NFT_SET_MAP != 0 && data == class
	const ours = unix.NFT_SET_INTERVAL | unix.NFT_SET_MAP | unix.NFT_SET_TIMEOUT | unix.NFT_SET_EVAL
	if o.Types = typesOf(keys, int(size)); flags&^ours != 0 || flags&unix.NFT_SET_MAP != 0 && !o.Verdicts && !o.Classes {
		o.Types = unknownType
	}
	s.sets[o.Name] = o
	return nil
}

// text is a text of the kernel's, less the zero at its end.
func text(b []byte) string { return strings.TrimSuffix(string(b), "\x00") }

func number(b []byte) uint32 {
	if len(b) != 4 {
		return 0
	}
	return binary.BigEndian.Uint32(b)
}

// counted reads a counter; not ok if it is something else.
func counted(attrs []byte) (name string, n Count, ok bool, err error) {
	err = nested(attrs, func(kind uint16, v []byte) error {
		switch kind {
		case unix.NFTA_OBJ_NAME:
			name = text(v)
		case unix.NFTA_OBJ_TYPE:
			ok = number(v) == unix.NFT_OBJECT_COUNTER
		case unix.NFTA_OBJ_DATA:
			return nested(v, func(kind uint16, v []byte) error {
				if len(v) != 8 {
					return nil
				}
				switch kind {
				case unix.NFTA_COUNTER_PACKETS:
					n.Packets = binary.BigEndian.Uint64(v)
				case unix.NFTA_COUNTER_BYTES:
					n.Bytes = binary.BigEndian.Uint64(v)
				}
				return nil
			})
		}
		return nil
	})
	return name, n, ok, err
}

// Count is what a counter has counted since it was made.
type Count struct{ Packets, Bytes uint64 }

// Counters returns what the table's counters have counted, by name. A table that is not
// there is an error, ENOENT.
func (k *Conn) Counters() (map[string]Count, error) {
	out, err := k.ListCounters()
	return out, k.renew(err)
}

// ListCounters is Counters for callers in whatever namespace: after an error, of which
// ErrInterrupted is one, the socket stays as it is. What it returns with ErrInterrupted may
// lack some of the counters that are new or gone; no number in it is wrong.
func (k *Conn) ListCounters() (map[string]Count, error) {
	out := map[string]Count{}
	err := k.list(&k.table, unix.NFT_MSG_GETOBJ, ofTable, func(attrs []byte) error {
		name, n, ok, err := counted(attrs)
		if ok {
			out[name] = n
		}
		return err
	})
	return out, err
}

// ofTable asks for what is in the table alone: the attribute is the same for
// rules, sets and objects.
func ofTable(b *batch) { b.name(unix.NFTA_RULE_TABLE, b.table.Name) }
