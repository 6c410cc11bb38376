package dataplane

import (
	"context"
	"net/netip"
	"slices"
	"time"
)

// Answers are the DNS answers that wait in a queue of the kernel until whoever reads it
// accepts them: until the addresses in them are in the kernel. They wait before any rule
// judges them, and are judged afterwards like all packets.
//
// They wait only while somebody takes care of them. The queue has a bypass, and behind
// that stands a switch: an element of a set that is gone HoldTime after it was last
// renewed. The rules renew it where they meet a datagram that the host itself sends over
// its loopback to port 53 with the mark HoldMark, and take it away where the mark is
// ReleaseMark; both datagrams go no further. So the switch needs no transaction, works on
// every backend alike, and ends with its owner. Each family has its own.
type Answers struct {
	// Servers are the addresses of DNS servers whose answers wait. Sorted.
	Servers []netip.Addr
	// Pods are the addresses of local pods whose rules speak of names. Sorted.
	Pods []netip.Addr
	// Host: rules of the node's host endpoints speak of names, too; answers to the node
	// itself wait.
	Host bool
}

// Equal reports whether the same answers wait. nil is equal to nil alone.
func (a *Answers) Equal(b *Answers) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.Host == b.Host && slices.Equal(a.Servers, b.Servers) && slices.Equal(a.Pods, b.Pods)
}

const (
	// AnswerQueue is the number of the kernel's queue (NFQUEUE) in which answers wait.
	AnswerQueue = 21591
	// HoldTime is how long answers wait after the switch was last renewed.
	HoldTime = time.Second
	// HoldMark and ReleaseMark are the marks of datagrams that renew the switch, and that
	// take it away.
	HoldMark    = 0x54574801
	ReleaseMark = 0x54574802
	// AnswerPort is the port that answers come from, and that these datagrams go to.
	AnswerPort = 53
)

// Holder is a Backend that can have answers wait. One that cannot, in the kernel that
// it has, leaves State.Answers out and enforces all else.
type Holder interface {
	Backend
	// CanHold tries whether the kernel can have answers wait; nil: it can. What packets
	// meet is not changed. What it has found is kept: a kernel is tried once.
	CanHold(ctx context.Context) error
}
