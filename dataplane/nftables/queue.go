package nftables

import (
	"context"
	"errors"
	"fmt"

	"github.com/tierwall/tierwall/dataplane"
	"github.com/tierwall/tierwall/dataplane/base"
	"github.com/tierwall/tierwall/dataplane/nftables/nft"
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

// answerSets brings the sets of what waits up to date; without anything that waits there are none.
func (r *baseRenderer) answerSets() {
	a := r.state.Answers
	if a == nil || r.opts.queue == noQueue {
		return
	}
	for _, f := range families {
		d := digit(f)
		r.putSet(&nft.Set{Name: string(base.Servers) + d, Types: addrType(f), Comment: "DNS servers whose answers wait", Elems: addrElems(a.Servers, f)})
		r.putSet(&nft.Set{Name: string(base.Named) + d, Types: addrType(f), Comment: "local pods whose rules speak of names", Elems: addrElems(a.Pods, f)})
		r.putSet(&nft.Set{Name: setHold + d, Types: "inet_service", Timeout: dataplane.HoldTime, Size: mostHeld, Comment: "the port that answers come from, while they wait"})
	}
}

// putSet makes the base have a set with its elements, which may be there already.
func (r *baseRenderer) putSet(s *nft.Set) {
	r.base.kernel = append(r.base.kernel, s.Name)
	switch {
	case r.world.Sets[s.Name] == nil:
		r.AddSet(s)
	case s.Timeout == 0:
		r.SetElems(s.Name, s.Elems)
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
		err := b.kernel.Try(k.text())
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
