package nft

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// Conn is one table in the kernel of a network namespace. It stays open, and opens its
// socket anew after an error: so its methods, but for ListCounters and Close, are called
// by threads in the namespace. Not safe for concurrent use.
type Conn struct {
	*socket
	table Table
	// Piece is how large a transaction becomes where it may be cut, in bytes: 4 MiB, or
	// half of what the socket takes. What packets see is never cut.
	Piece int
}

// pieceSize keeps the time short for which one transaction holds up others'.
const pieceSize = 4 << 20

// Open opens a Conn in the calling thread's network namespace. The table need not be
// there. Reading and writing need CAP_NET_ADMIN, Open does not.
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

// Commit makes the kernel hold what a Plan asks for. After an error nothing has happened
// of what packets see, unless it is ErrLitter: then all of it has.
func (k *Conn) Commit(p *Plan) error {
	if p.Remove && !k.mayHaveTable() {
		return nil // no transaction, and so no news for whoever watches
	}
	w := writer{b: newBatch(&k.table), limit: k.Piece, flush: k.socket.commit}
	return k.renew(w.plan(p))
}

// PutTimed adds elements to sets with a Timeout. One that is there has its whole time again.
func (k *Conn) PutTimed(list []Elem) error { return k.changeTimed(list, true) }

// DropTimed removes elements from sets with a Timeout. One that is not there is no error.
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

// mayHaveTable reports whether the table is there, or that is not known.
func (k *Conn) mayHaveTable() bool {
	s := &Snapshot{table: k.table}
	err := k.list(&k.table, unix.NFT_MSG_GETTABLE, func(*batch) {}, s.noteTable)
	return k.renew(err) != nil || s.present
}

// Read lists the table, and notes how it differs from what is wanted. A list that changes
// while it is read is read again, five times at most; then the error is ErrInterrupted.
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
