package nftables

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/tierwall/tierwall/dataplane"
)

// kernel is what the Backend asks of nf_tables.
type kernel interface {
	// read lists the table, and says how it differs from what is wanted.
	read(want *ruleset) (*snapshot, error)
	counters() (map[string]dataplane.Count, error)
	// bar adds flows to timed sets, or removes them.
	bar(list []elem, add bool) error
	// commit carries a plan out. After an error, of the part that packets see
	// nothing has happened.
	commit(p *plan) error
	// write makes a transaction of what a function writes.
	write(steps func(w *writer)) error
	// try reports whether the kernel takes a rule that has packets wait in a queue; nil: it does.
	try(kind queueKind) error
	close() error
}

// netlinkKernel is the kernel of a network namespace.
type netlinkKernel struct {
	*socket
	// family of the table: NFPROTO_INET or NFPROTO_BRIDGE.
	family byte
	// piece is how large a transaction becomes where it may be cut; see writer.plan.
	piece int
}

var _ kernel = (*netlinkKernel)(nil)

// pieceSize keeps the time short for which one transaction holds up others'.
const pieceSize = 4 << 20

func newNetlinkKernel(family byte) (*netlinkKernel, error) {
	s, err := openSocket()
	if err != nil {
		return nil, err
	}
	return &netlinkKernel{socket: s, family: family, piece: min(pieceSize, s.room/2)}, nil
}

// renew opens the socket anew after an error, because answers to what failed
// may still be on their way in the old one.
func (k *netlinkKernel) renew(err error) error {
	if err == nil {
		return nil
	}
	s, failed := openSocket()
	if failed != nil {
		return errors.Join(err, failed)
	}
	_ = k.socket.close()
	k.socket = s
	return err
}

func (k *netlinkKernel) commit(p *plan) error {
	if p.remove && !k.mayHaveTable() {
		return nil // no transaction, and so no news for whoever watches
	}
	w := writer{b: newBatch(k.family), limit: k.piece, flush: k.socket.commit}
	return k.renew(w.plan(p))
}

func (k *netlinkKernel) write(steps func(w *writer)) error {
	w := writer{b: newBatch(k.family), flush: k.socket.commit}
	steps(&w)
	w.end()
	return k.renew(w.err)
}

// mayHaveTable says whether the table is there, or that is not known.
func (k *netlinkKernel) mayHaveTable() bool {
	s := &snapshot{}
	err := k.list(k.family, unix.NFT_MSG_GETTABLE, func(*batch) {}, s.table)
	return k.renew(err) != nil || s.present
}

func (k *netlinkKernel) read(want *ruleset) (*snapshot, error) {
	for try := 1; ; try++ {
		s, err := k.snapshot(want)
		if !errors.Is(err, errInterrupted) || try == 5 {
			return s, k.renew(err)
		}
	}
}

func (k *netlinkKernel) snapshot(want *ruleset) (*snapshot, error) {
	s := &snapshot{chains: map[string][]string{}, bases: map[string]hook{}, sets: map[string]*set{}, counters: map[string]bool{}}
	err := k.list(k.family, unix.NFT_MSG_GETTABLE, func(*batch) {}, func(attrs []byte) error { return s.table(attrs) })
	if err != nil || !s.present {
		return s, err
	}
	if err := k.list(k.family, unix.NFT_MSG_GETCHAIN, func(*batch) {}, func(attrs []byte) error { return s.chain(attrs) }); err != nil {
		return nil, fmt.Errorf("chains: %w", err)
	}
	if err := k.list(k.family, unix.NFT_MSG_GETRULE, ofTable, func(attrs []byte) error { return s.rule(attrs) }); err != nil {
		return nil, fmt.Errorf("rules: %w", err)
	}
	if err := k.list(k.family, unix.NFT_MSG_GETSET, ofTable, func(attrs []byte) error { return s.set(attrs) }); err != nil {
		return nil, fmt.Errorf("sets: %w", err)
	}
	for name, have := range s.sets {
		w := want.sets[name]
		if w == nil || !have.sameKind(w) {
			continue // elems stay nil: it goes, or is of another kind
		}
		if w.timed > 0 {
			have.elems = map[string]string{}
			continue
		}
		if err := k.elements(have, w); err != nil {
			return nil, fmt.Errorf("set %s: %w", name, err)
		}
	}
	err = k.list(k.family, unix.NFT_MSG_GETOBJ, ofTable, func(attrs []byte) error {
		name, _, ok, err := counted(attrs)
		if ok {
			s.counters[name] = true
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("counters: %w", err)
	}
	return s, nil
}

// ofTable asks for what is in the table alone: the attribute is the same for
// rules, sets and objects.
func ofTable(b *batch) { b.name(unix.NFTA_RULE_TABLE, TableName) }

// text is a text of the kernel's, less the zero at its end.
func text(b []byte) string { return strings.TrimSuffix(string(b), "\x00") }

func number(b []byte) uint32 {
	if len(b) != 4 {
		return 0
	}
	return binary.BigEndian.Uint32(b)
}

func (s *snapshot) table(attrs []byte) error {
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
	if name == TableName {
		s.present, s.broken = true, flags != 0 // it may be dormant
	}
	return err
}

func (s *snapshot) chain(attrs []byte) error {
	var table, name string
	var at hook
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
					at.name = hookName(number(v))
				case unix.NFTA_HOOK_PRIORITY:
					at.priority = int(int32(number(v)))
				}
				return nil
			})
		}
		return nil
	})
	if err != nil || table != TableName {
		return err
	}
	s.chains[name] = []string{}
	if base {
		if policy != nfAccept {
			at.name = "of another policy"
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

// rule notes a rule's comment: that tells one rule from another.
func (s *snapshot) rule(attrs []byte) error {
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

func (s *snapshot) set(attrs []byte) error {
	o := &set{}
	var flags, keys, size, data uint32
	err := nested(attrs, func(kind uint16, v []byte) error {
		switch kind {
		case unix.NFTA_SET_NAME:
			o.name = text(v)
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
	o.interval = flags&unix.NFT_SET_INTERVAL != 0
	if flags&unix.NFT_SET_TIMEOUT != 0 {
		o.timed = 1 // however long
	}
	class, _ := keyType(typeClass)
	o.verdicts = flags&unix.NFT_SET_MAP != 0 && data == unix.NFT_DATA_VERDICT
	o.classes = flags&unix.NFT_SET_MAP != 0 && data == class
	const ours = unix.NFT_SET_INTERVAL | unix.NFT_SET_MAP | unix.NFT_SET_TIMEOUT | unix.NFT_SET_EVAL
	if o.types = typesOf(keys, int(size)); flags&^ours != 0 || flags&unix.NFT_SET_MAP != 0 && !o.verdicts && !o.classes {
		o.types = "another"
	}
	s.sets[o.name] = o
	return nil
}

// typesOf is the reverse of keyType.
func typesOf(keys uint32, size int) string {
	for _, t := range setTypes {
		if n, l := keyType(t); n == keys && l == size {
			return t
		}
	}
	return "another"
}

// setTypes are all types of keys that this package's sets have.
var setTypes = []string{
	"ipv4_addr", "ipv6_addr", "inet_service", typeClass, typeLink, typeLink + " . ipv4_addr", typeLink + " . ipv6_addr", "ipv4_addr . ipv4_addr", "ipv6_addr . ipv6_addr",
	"ipv4_addr . inet_proto", "ipv6_addr . inet_proto",
	flowType(dataplane.IPv4), flowType(dataplane.IPv6),
	"ipv4_addr . inet_proto . inet_service", "ipv6_addr . inet_proto . inet_service",
}

func (k *netlinkKernel) counters() (map[string]dataplane.Count, error) {
	out, err := k.listCounters()
	return out, k.renew(err)
}

func (k *netlinkKernel) listCounters() (map[string]dataplane.Count, error) {
	out := map[string]dataplane.Count{}
	err := k.list(k.family, unix.NFT_MSG_GETOBJ, ofTable, func(attrs []byte) error {
		name, n, ok, err := counted(attrs)
		if ok {
			out[name] = n
		}
		return err
	})
	return out, err
}

// counted reads a counter; not ok if it is something else.
func counted(attrs []byte) (name string, n dataplane.Count, ok bool, err error) {
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
