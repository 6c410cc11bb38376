package nft

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// Count is what a counter has counted.
type Count struct{ Packets, Bytes uint64 }

// netlinkKernel is the kernel of a network namespace.
type Conn struct {
	*socket
	table Table
	// piece is how large a transaction becomes where it may be cut; see writer.plan.
	Piece int
}

// pieceSize keeps the time short for which one transaction holds up others'.
const pieceSize = 4 << 20

func Open(t Table) (*Conn, error) {
	s, err := openSocket()
	if err != nil {
		return nil, err
	}
	return &Conn{socket: s, table: t, Piece: min(pieceSize, s.room/2)}, nil
}

// renew opens the socket anew after an error, because answers to what failed
// may still be on their way in the old one.
func (k *Conn) renew(err error) error {
	if err == nil {
		return nil
	}
	s, failed := openSocket()
	if failed != nil {
		return errors.Join(err, failed)
	}
	_ = k.socket.Close()
	k.socket = s
	return err
}

func (k *Conn) Commit(p *Plan) error {
	if p.Remove && !k.mayHaveTable() {
		return nil // no transaction, and so no news for whoever watches
	}
	w := writer{b: newBatch(&k.table), limit: k.Piece, flush: k.socket.commit}
	return k.renew(w.plan(p))
}

// putTimed adds elements to timed sets. One that is there has its whole time again.
func (k *Conn) PutTimed(list []Elem) error { return k.changeTimed(list, true) }

// dropTimed removes elements from timed sets. One that is not there is no error.
func (k *Conn) DropTimed(list []Elem) error { return k.changeTimed(list, false) }

// changeTimed adds elements in any case: adding one that is there is no error, and
// so removing it is none either; one that is added again has its time anew.
func (k *Conn) changeTimed(list []Elem, there bool) error {
	w := writer{b: newBatch(&k.table), flush: k.socket.commit}
	w.elems(unix.NFT_MSG_NEWSETELEM, unix.NLM_F_CREATE, "add elements to set", list)
	w.elems(unix.NFT_MSG_DELSETELEM, 0, "delete elements of set", list)
	if there {
		w.elems(unix.NFT_MSG_NEWSETELEM, unix.NLM_F_CREATE, "add elements to set", list)
	}
	w.end()
	return k.renew(w.err)
}

// mayHaveTable says whether the table is there, or that is not known.
func (k *Conn) mayHaveTable() bool {
	s := &Snapshot{table: k.table}
	err := k.list(&k.table, unix.NFT_MSG_GETTABLE, func(*batch) {}, s.noteTable)
	return k.renew(err) != nil || s.present
}

func (k *Conn) Read(want *Ruleset) (*Snapshot, error) {
	for try := 1; ; try++ {
		s, err := k.snapshot(want)
		if !errors.Is(err, ErrInterrupted) || try == 5 {
			return s, k.renew(err)
		}
	}
}

func (k *Conn) snapshot(want *Ruleset) (*Snapshot, error) {
	s := &Snapshot{table: k.table, chains: map[string][]string{}, bases: map[string]Hook{}, sets: map[string]*Set{}, counters: map[string]bool{}}
	err := k.list(&k.table, unix.NFT_MSG_GETTABLE, func(*batch) {}, func(attrs []byte) error { return s.noteTable(attrs) })
	if err != nil || !s.present {
		return s, err
	}
	if err := k.list(&k.table, unix.NFT_MSG_GETCHAIN, func(*batch) {}, func(attrs []byte) error { return s.noteChain(attrs) }); err != nil {
		return nil, fmt.Errorf("chains: %w", err)
	}
	if err := k.list(&k.table, unix.NFT_MSG_GETRULE, ofTable, func(attrs []byte) error { return s.noteRule(attrs) }); err != nil {
		return nil, fmt.Errorf("rules: %w", err)
	}
	if err := k.list(&k.table, unix.NFT_MSG_GETSET, ofTable, func(attrs []byte) error { return s.noteSet(attrs) }); err != nil {
		return nil, fmt.Errorf("sets: %w", err)
	}
	for name, have := range s.sets {
		w := want.Sets[name]
		if w == nil || !have.sameKind(w) {
			continue // elems stay nil: it goes, or is of another kind
		}
		if w.timed() {
			have.Elems = map[string]string{}
			continue
		}
		if err := k.elements(have, w); err != nil {
			return nil, fmt.Errorf("set %s: %w", name, err)
		}
	}
	err = k.list(&k.table, unix.NFT_MSG_GETOBJ, ofTable, func(attrs []byte) error {
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
func ofTable(b *batch) { b.name(unix.NFTA_RULE_TABLE, b.table.Name) }

// text is a text of the kernel's, less the zero at its end.
func text(b []byte) string { return strings.TrimSuffix(string(b), "\x00") }

func number(b []byte) uint32 {
	if len(b) != 4 {
		return 0
	}
	return binary.BigEndian.Uint32(b)
}

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

func (k *Conn) Counters() (map[string]Count, error) {
	out, err := k.ListCounters()
	return out, k.renew(err)
}

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
