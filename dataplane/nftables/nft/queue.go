package nft

import (
	"encoding/binary"
	"errors"

	"golang.org/x/sys/unix"
)

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

// Try reports whether the kernel takes a rule: nil, or why it does not. The rule stands
// in a transaction that is given up, so that nothing of it ever holds.
func (k *Conn) Try(rule string) error {
	t := k.table
	t.Name += "-trial"
	name := t.Name
	w := writer{b: newBatch(&t)}
	w.message(unix.NFT_MSG_NEWTABLE, unix.NLM_F_CREATE, "add table", name, func(b *batch) { b.name(unix.NFTA_TABLE_NAME, name) })
	w.message(unix.NFT_MSG_NEWCHAIN, unix.NLM_F_CREATE, "add chain", name, func(b *batch) {
		b.name(unix.NFTA_CHAIN_TABLE, name)
		b.name(unix.NFTA_CHAIN_NAME, name)
	})
	w.message(unix.NFT_MSG_NEWRULE, unix.NLM_F_CREATE|unix.NLM_F_APPEND, "add rule to chain", name, func(b *batch) {
		b.name(unix.NFTA_RULE_TABLE, name)
		b.name(unix.NFTA_RULE_CHAIN, name)
		if err := b.assemble(rule); err != nil && w.err == nil {
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
