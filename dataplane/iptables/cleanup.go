package iptables

import (
	"context"
	"errors"
	"fmt"
	"time"

	"k8s.io/utils/clock"

	"github.com/tierwall/tierwall/dataplane"
)

// Cleanup implements dataplane.Backend: for both variants, if their commands are there.
func (b *Backend) Cleanup(ctx context.Context) error {
	b.have, b.litter = nil, map[string]bool{}
	return Cleanup(ctx)
}

// Cleanup removes everything of this backend's from the kernel of the calling
// thread's network namespace, from both variants, and changes nothing where there
// is nothing. It can do without the commands where they are not installed and
// no rules are left.
func Cleanup(ctx context.Context) error {
	var errs []error
	var patience time.Duration // without commands no rule goes that sets could wait for
	for _, v := range []Variant{Legacy, NFT} {
		if c, ok := installed(v); ok {
			patience = 5 * time.Second
			if err := removeRules(ctx, commandKernel{commands: c}); err != nil {
				errs = append(errs, fmt.Errorf("iptables: variant %s: %w", v, err))
			}
		}
	}
	if err := destroyAll(ctx, commandKernel{}, clock.RealClock{}, patience); err != nil {
		errs = append(errs, fmt.Errorf("iptables: clean up: %w", err))
	}
	return errors.Join(errs...)
}

// removeRules removes all rules of ours from a variant.
func removeRules(ctx context.Context, k commandKernel) error {
	for _, f := range []dataplane.Family{dataplane.IPv4, dataplane.IPv6} {
		if !mayHold(k.variant, f) {
			continue
		}
		have := newShape()
		t, err := k.rules(ctx, f)
		if err != nil {
			return fmt.Errorf("clean up: %w", err)
		}
		have.tables[f] = t
		nothing := newRuleset()
		if text := planOf(have, nothing).restore[f]; text != "" {
			if err := k.restore(ctx, f, text); err != nil {
				return fmt.Errorf("clean up: %w", err)
			}
		}
	}
	return nil
}

// destroyAll destroys all sets of ours. The kernel lets go of rules a little later than it says.
func destroyAll(ctx context.Context, k kernel, c clock.Clock, patience time.Duration) error {
	const step = 20 * time.Millisecond
	sets, err := k.sets()
	if err != nil {
		return err
	}
	b := &Backend{kernel: k, litter: map[string]bool{}}
	for name := range sets {
		b.litter[name] = true
	}
	for until := c.Now().Add(patience); ; {
		if err := b.sweep(); err != nil {
			return err
		}
		if len(b.litter) == 0 {
			return nil
		}
		if !c.Now().Before(until) {
			return fmt.Errorf("sets %v: %w", sortedKeys(b.litter), errBusy)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-c.After(step):
		}
	}
}

// leaveOthers removes what is in the variant that is not used: packets meet the
// rules of both. The rules of the one that is used hold already.
func (b *Backend) leaveOthers(ctx context.Context) error {
	for _, v := range []Variant{Legacy, NFT} {
		c, ok := installed(v)
		if !ok || v == b.opts.Variant {
			continue
		}
		if err := removeRules(ctx, commandKernel{commands: c}); err != nil {
			return fmt.Errorf("iptables: variant %s: %w", v, err)
		}
	}
	return nil
}
