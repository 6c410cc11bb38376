// Package watch notices when somebody else changes tables of nftables, or
// some chains of them.
//
// The kernel tells whoever listens of every transaction: what it changed, and in
// which table. It does not tell reliably who made it: a transaction that a child
// process has made is our own as well. So our own are told by time: the kernel
// has queued all that it says of a transaction when the transaction returns, and
// [Watcher.Own] takes from the queue what came meanwhile. What somebody else
// changes at the very same time is left to the periodic comparison.
package watch

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

const (
	groupNFTables  = 7      // NFNLGRP_NFTABLES
	subsysNFTables = 10     // NFNL_SUBSYS_NFTABLES
	msgNewTable    = 0      // NFT_MSG_NEWTABLE
	msgDelTable    = 2      // NFT_MSG_DELTABLE
	msgNewChain    = 3      // NFT_MSG_NEWCHAIN
	msgDelChain    = 5      // NFT_MSG_DELCHAIN
	msgNewRule     = 6      // NFT_MSG_NEWRULE
	msgDelRule     = 8      // NFT_MSG_DELRULE
	msgNewGen      = 15     // NFT_MSG_NEWGEN, the last message of a transaction
	familyInet     = 1      // NFPROTO_INET
	familyBridge   = 7      // NFPROTO_BRIDGE
	attrTable      = 1      // NFTA_TABLE_NAME, NFTA_CHAIN_TABLE, NFTA_SET_TABLE and so on are all the first
	attrRuleChain  = 2      // NFTA_RULE_CHAIN
	attrChainName  = 3      // NFTA_CHAIN_NAME
	attrTypeMask   = 0x3fff // without the flags for nested and big-endian
	nlHeader       = 16
	nfgenHeader    = 4
	attrHeader     = 4
	receiveBuffer  = 8 << 20 // bytes; a transaction of many elements says a lot
)

// Watcher listens for changes within its scopes.
type Watcher struct {
	scopes []Scope
	file   *os.File

	// mu is held while the queue is read, and during transactions of our own.
	mu      sync.Mutex
	buf     []byte
	touched bool // by the transaction whose messages are being read
	// news are transactions of others that nobody has been told of.
	news    bool
	changed func()
}

// New listens for all changes of a table of family inet, in the network
// namespace of the calling thread.
func New(table string) (*Watcher, error) {
	return NewScoped(Scope{Family: familyInet, Table: table}, Scope{Family: familyBridge, Table: table})
}

// NewScoped listens for changes within any of the scopes, in the network
// namespace of the calling thread.
func NewScoped(scopes ...Scope) (*Watcher, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_NETFILTER)
	if err != nil {
		return nil, fmt.Errorf("watch nftables: %w", err)
	}
	err = errors.Join(unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}),
		unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_ADD_MEMBERSHIP, groupNFTables))
	if err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("watch nftables: %w", err)
	}
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receiveBuffer) != nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, receiveBuffer) // as much as there is to be had
	}
	return &Watcher{scopes: scopes, file: os.NewFile(uintptr(fd), "nftables"), buf: make([]byte, 256<<10)}, nil
}

// Watch calls changed after each transaction of somebody else's within the scopes,
// and when messages were lost, until the context ends; then it returns nil, and
// the Watcher is closed.
func (w *Watcher) Watch(ctx context.Context, changed func()) error {
	stop := context.AfterFunc(ctx, func() { _ = w.file.Close() })
	defer stop()
	conn, err := w.file.SyscallConn()
	if err != nil {
		return fmt.Errorf("watch nftables: %w", err)
	}
	w.mu.Lock()
	w.changed = changed
	w.tell()
	w.mu.Unlock()
	var first [1]byte // enough to see that there is something
	for {
		missed := false // peeking takes the error that says so
		err := conn.Read(func(fd uintptr) bool {
			_, _, err := unix.Recvfrom(int(fd), first[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
			missed = missed || errors.Is(err, unix.ENOBUFS)
			return !errors.Is(err, unix.EAGAIN)
		})
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("watch nftables: %w", err)
		}
		w.mu.Lock()
		if n, lost := w.drain(); n > 0 || lost || missed {
			w.news = true
		}
		w.tell()
		w.mu.Unlock()
	}
}

func (w *Watcher) tell() {
	if w.news && w.changed != nil {
		w.news = false
		w.changed()
	}
}

// Own runs a transaction of our own: what it changes is no news.
func (w *Watcher) Own(write func() error) error {
	// However many transactions there were: a backend may take several.
	return w.OwnUpTo(func() (int, error) { return math.MaxInt, write() })
}

// OwnUpTo is Own for a write that takes its time and knows how many transactions
// it has made at most: were there more, somebody else has made some meanwhile,
// which is news.
func (w *Watcher) OwnUpTo(write func() (transactions int, err error)) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if n, lost := w.drain(); n > 0 || lost {
		w.news = true
	}
	most, err := write()
	// Whatever was lost: a large transaction says more than the queue holds.
	if n, _ := w.drain(); n > most {
		w.news = true
	}
	w.tell()
	return err
}

// drain reads all that is queued, and says how many transactions within the scopes
// there were, and whether messages were lost.
func (w *Watcher) drain() (transactions int, lost bool) {
	conn, err := w.file.SyscallConn()
	if err != nil {
		return 0, false
	}
	_ = conn.Control(func(fd uintptr) {
		for {
			n, _, err := unix.Recvfrom(int(fd), w.buf, unix.MSG_DONTWAIT)
			switch {
			case errors.Is(err, unix.ENOBUFS):
				lost = true
			case errors.Is(err, unix.EINTR):
			case err != nil || n == 0:
				return
			default:
				transactions += w.read(w.buf[:n])
			}
		}
	}) // an error says that the socket is closed: nobody listens any more
	return transactions, lost
}

// read counts the transactions within the scopes that end in a batch of messages.
func (w *Watcher) read(b []byte) (transactions int) {
	for len(b) >= nlHeader {
		n := int(binary.NativeEndian.Uint32(b))
		if n < nlHeader || n > len(b) {
			break
		}
		kind := binary.NativeEndian.Uint16(b[4:])
		switch msg := b[nlHeader:n]; {
		case kind>>8 != subsysNFTables:
		case kind&0xff == msgNewGen:
			if w.touched {
				transactions++
			}
			w.touched = false
		case len(msg) >= nfgenHeader && w.concerns(msg[0], kind&0xff, msg[nfgenHeader:]):
			w.touched = true
		}
		b = b[min((n+3)&^3, len(b)):]
	}
	return transactions
}

// concerns reports whether a message is of something within the scopes.
func (w *Watcher) concerns(family byte, kind uint16, attrs []byte) bool {
	if w.touched {
		return true // no matter
	}
	table := textOf(attrs, attrTable)
	for _, s := range w.scopes {
		if s.Family != family || s.Table != table {
			continue
		}
		if s.Chain == nil {
			return true
		}
		switch kind {
		case msgNewTable, msgDelTable:
			return true
		case msgNewChain, msgDelChain:
			return s.Chain(textOf(attrs, attrChainName))
		case msgNewRule, msgDelRule:
			return s.Chain(textOf(attrs, attrRuleChain))
		}
	}
	return false
}

// textOf returns the text of a message's attribute.
func textOf(b []byte, attr uint16) string {
	for len(b) >= attrHeader {
		n := int(binary.NativeEndian.Uint16(b))
		if n < attrHeader || n > len(b) {
			return ""
		}
		if binary.NativeEndian.Uint16(b[2:])&attrTypeMask == attr {
			v := b[attrHeader:n]
			for len(v) > 0 && v[len(v)-1] == 0 {
				v = v[:len(v)-1]
			}
			return string(v)
		}
		b = b[min((n+3)&^3, len(b)):]
	}
	return ""
}
