package nftables

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/tierwall/tierwall/dataplane"
	"github.com/tierwall/tierwall/dataplane/base"
)

// setHold is the set that is the switch of dataplane.Answers, less the family's digit:
// the port that answers come from, while they wait.
const setHold = "hold"

// mostHeld is more than the switch ever has: elements that are over are freed later.
const mostHeld = 16

// queueKind is how a kernel takes a rule that has packets wait in a queue.
type queueKind uint8

const (
	// queueNative is nftables' own expression, which a kernel may lack.
	queueNative queueKind = iota
	// queueTarget is the target NFQUEUE of iptables, by the compatibility layer.
	queueTarget
	// noQueue: the kernel has neither.
	noQueue
)

func (k queueKind) text() string {
	if k == queueTarget {
		return fmt.Sprintf("xt target NFQUEUE %d", dataplane.AnswerQueue)
	}
	return fmt.Sprintf("queue flags bypass to %d", dataplane.AnswerQueue)
}

// The queue expression's attributes, which package unix does not have, and its flag.
const (
	nftaQueueNum    = 1
	nftaQueueTotal  = 2
	nftaQueueFlags  = 3
	queueBypass     = 1
	targetRevision  = 3 // of NFQUEUE, the one that knows flags
	targetAlignment = 8
)

// queue has packets wait in a queue, or pass where nobody reads it.
func (a *assembler) queue() {
	a.expect("flags", "bypass", "to")
	n := a.number(a.next(), 16)
	at := a.expression("queue")
	a.b.uint16(nftaQueueNum, uint16(n))
	a.b.uint16(nftaQueueTotal, 1)
	a.b.uint16(nftaQueueFlags, queueBypass)
	a.end(at)
}

// xtQueue is the same by the target of iptables: its struct xt_NFQ_info_v3 has the
// number, how many there are, and flags.
func (a *assembler) xtQueue() {
	a.expect("target", "NFQUEUE")
	info := make([]byte, 0, targetAlignment)
	for _, n := range []uint64{a.number(a.next(), 16), 1, queueBypass, 0} {
		info = binary.NativeEndian.AppendUint16(info, uint16(n))
	}
	at := a.expression("target")
	a.b.name(unix.NFTA_TARGET_NAME, "NFQUEUE")
	a.b.uint32(unix.NFTA_TARGET_REV, targetRevision)
	a.b.bytes(unix.NFTA_TARGET_INFO, info)
	a.end(at)
}

// answerSets brings the sets of what waits up to date; without anything that waits there are none.
func (r *baseRenderer) answerSets() {
	a := r.state.Answers
	if a == nil || r.opts.queue == noQueue {
		return
	}
	for _, f := range families {
		d := digit(f)
		r.putSet(&set{name: string(base.Servers) + d, types: addrType(f), comment: "DNS servers whose answers wait", elems: addrElems(a.Servers, f)})
		r.putSet(&set{name: string(base.Named) + d, types: addrType(f), comment: "local pods whose rules speak of names", elems: addrElems(a.Pods, f)})
		r.putSet(&set{name: setHold + d, types: "inet_service", timed: dataplane.HoldTime, most: mostHeld, comment: "the port that answers come from, while they wait"})
	}
}

// putSet makes the base have a set with its elements, which may be there already.
func (r *baseRenderer) putSet(s *set) {
	r.base.kernel = append(r.base.kernel, s.name)
	switch {
	case r.world.sets[s.name] == nil:
		r.addSet(s)
	case s.timed == 0:
		r.setElems(s.name, s.elems)
	}
}

var _ dataplane.Holder = (*Backend)(nil)

// CanHold implements dataplane.Holder.
func (b *Backend) CanHold(context.Context) error {
	if b.queueTried {
		return b.queueErr
	}
	var errs []error
	for _, k := range []queueKind{queueNative, queueTarget} {
		err := b.kernel.try(k)
		if err == nil {
			b.opts.queue, b.queueTried, b.queueErr = k, true, nil
			return nil
		}
		errs = append(errs, err)
	}
	b.opts.queue, b.queueTried = noQueue, true
	b.queueErr = fmt.Errorf("nftables: the kernel has no queue that packets could wait in (module nft_queue, or xt_NFQUEUE): %w", errors.Join(errs...))
	return b.queueErr
}

// findQueue finds out how packets can wait, if they are to.
func (b *Backend) findQueue(s *dataplane.State) {
	if s.Answers != nil {
		_ = b.CanHold(context.Background()) // if it cannot, none does
	}
}

// try gives the kernel a rule in a transaction that is given up, so that nothing of it holds.
func (k *netlinkKernel) try(kind queueKind) error {
	const name = TableName + "-trial"
	w := writer{b: newBatch(k.family)}
	w.message(unix.NFT_MSG_NEWTABLE, unix.NLM_F_CREATE, "add table", name, func(b *batch) { b.name(unix.NFTA_TABLE_NAME, name) })
	w.message(unix.NFT_MSG_NEWCHAIN, unix.NLM_F_CREATE, "add chain", name, func(b *batch) {
		b.name(unix.NFTA_CHAIN_TABLE, name)
		b.name(unix.NFTA_CHAIN_NAME, name)
	})
	w.message(unix.NFT_MSG_NEWRULE, unix.NLM_F_CREATE|unix.NLM_F_APPEND, "add rule to chain", name, func(b *batch) {
		b.name(unix.NFTA_RULE_TABLE, name)
		b.name(unix.NFTA_RULE_CHAIN, name)
		if err := b.assemble(kind.text()); err != nil && w.err == nil {
			w.err = err
		}
	})
	// A chain that is there already fails the transaction, if the rule has not.
	w.message(unix.NFT_MSG_NEWCHAIN, unix.NLM_F_CREATE|unix.NLM_F_EXCL, "add chain", name, func(b *batch) {
		b.name(unix.NFTA_CHAIN_TABLE, name)
		b.name(unix.NFTA_CHAIN_NAME, name)
	})
	if w.err != nil {
		return w.err
	}
	w.b.close()
	err := k.renew(k.socket.commit(w.b))
	switch {
	case errors.Is(err, unix.EEXIST):
		return nil
	case err == nil:
		return errors.New("the kernel has carried out what it should have refused")
	}
	return err
}
