package events

import "github.com/tierwall/tierwall/dataplane/conntrack"

// Kind is what has happened to a connection.
type Kind uint8

// The kinds of events.
const (
	// Began: its first packet has passed.
	Began Kind = iota
	// Ended: it has ended, or the kernel has forgotten it.
	Ended
	// Listed: it was open at the time of a dump.
	Listed
)

// Event is something that has happened to a connection.
type Event struct {
	Kind Kind
	// Original is the first packet before any address translation, Reply an answer to
	// it; see conntrack.Entry.
	Original, Reply conntrack.Tuple
	// ID and the tuples together tell connections apart.
	ID   uint32
	Zone uint16
	// Related: a helper expected the connection.
	Related bool
	// Replied: packets of both directions have been seen.
	Replied bool
	// Counted: Sent and Received are what the connection has carried so far, in the
	// direction of the first packet and in the other one. Events of the kind Began never have it.
	Counted        bool
	Sent, Received Volume
}

// Volume is an amount of traffic.
type Volume struct{ Packets, Bytes uint64 }

// Reader reads the events of a network namespace. It is not safe for concurrent use, but
// for Lost, and Read and Dump may be under way at the same time.
type Reader interface {
	// Read calls each for events that wait, for as many as limit at most (0: all that
	// there are), and reports whether none were left. The event is valid until each
	// returns. It does not wait for events.
	Read(limit int, each func(*Event)) (drained bool, err error)
	// Dump calls each for every connection that is open. Those that come or go
	// meanwhile may be missed or seen twice.
	Dump(each func(*Event)) error
	// Lost is the number of times that events were lost because nobody read them in
	// time: each time at least one. Safe for concurrent use.
	Lost() uint64
	// Close frees what the reader holds: the kernel makes no more events for it.
	Close() error
}
