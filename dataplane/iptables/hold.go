package iptables

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/tierwall/tierwall/dataplane"
	"github.com/tierwall/tierwall/dataplane/base"
)

// DNS answers wait in the table mangle, which packets meet ahead of the filter: what a
// queue gives back goes on there. Nothing in these chains judges a packet, so they
// may come and go whatever else changes.

// queueTarget has packets wait in a queue, or pass where nobody reads it.
var queueTarget = fmt.Sprintf("-j NFQUEUE --queue-num %d --queue-bypass", dataplane.AnswerQueue)

// holdKey is the set that is the switch of dataplane.Answers.
const holdKey = "hold"

// chainHold is the chain in which answers wait.
const chainHold = chainPrefix + "hold"

// hold returns the kernel's name of the switch.
func (g *generator) hold() string { return g.set(holdKey, typeHold, nil) }

// isHold reports whether a rule is one of those that have answers wait.
func isHold(r *base.Rule) bool {
	switch r.Then {
	case base.Queue, base.Hold, base.Release:
		return true
	}
	return r.Then == base.Goto && chainPrefix+r.Chain == chainHold
}

// holdHooks are the built-in chains of the table mangle that lead to nothing else.
var holdHooks = []string{"INPUT", "FORWARD", "OUTPUT"}

func isHoldChain(name string) bool {
	return name == chainHold || slices.ContainsFunc(holdHooks, func(h string) bool { return name == chainPrefix+h })
}

// withoutHold is the table mangle less what has answers wait; nil if nothing is left.
func (t *table) withoutHold() *table {
	if t == nil {
		return nil
	}
	out := newTable()
	maps.Copy(out.chains, t.chains)
	maps.Copy(out.hooks, t.hooks)
	maps.DeleteFunc(out.chains, func(name string, _ []rule) bool { return isHoldChain(name) })
	maps.DeleteFunc(out.hooks, func(name string, _ string) bool { return slices.Contains(holdHooks, name) })
	if len(out.chains) == 0 {
		return nil
	}
	return out
}

// withoutHold is the same of a kernel's table; it is never nil.
func (t *tableShape) withoutHold() *tableShape {
	out := newTableShape()
	if t == nil {
		return out
	}
	maps.Copy(out.chains, t.chains)
	maps.Copy(out.jumps, t.jumps)
	maps.DeleteFunc(out.chains, func(name string, _ []string) bool { return isHoldChain(name) })
	maps.DeleteFunc(out.jumps, func(name string, _ []jump) bool { return slices.Contains(holdHooks, name) })
	return out
}

var _ dataplane.Holder = (*Backend)(nil)

// CanHold implements dataplane.Holder.
func (b *Backend) CanHold(ctx context.Context) error {
	if b.queueTried {
		return b.queueErr
	}
	err := b.tryQueue(ctx)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	b.queueTried, b.queueErr = true, nil
	if b.opts.noQueue = err != nil; err != nil {
		b.queueErr = fmt.Errorf("iptables: the kernel has no queue that packets could wait in (module xt_NFQUEUE): %w", err)
	}
	return b.queueErr
}

// findQueue finds out whether packets can wait, if they are to.
func (b *Backend) findQueue(ctx context.Context, s *dataplane.State) {
	if s.Answers != nil {
		_ = b.CanHold(ctx) // if it cannot, none does
	}
}

// tryQueue makes a chain that nothing leads to, with such a rule, and removes it.
func (b *Backend) tryQueue(ctx context.Context) error {
	const chain = chainPrefix + "trial"
	f := dataplane.IPv4
	err := b.kernel.restore(ctx, f, fmt.Sprintf("*%s\n:%s - [0:0]\n-A %s %s\nCOMMIT\n", tableMangle, chain, chain, queueTarget))
	if err != nil {
		return err
	}
	return b.kernel.restore(ctx, f, fmt.Sprintf("*%s\n:%s - [0:0]\n-X %s\nCOMMIT\n", tableMangle, chain, chain))
}
