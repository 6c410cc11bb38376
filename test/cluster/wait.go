//go:build linux

package cluster

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/tierwall/tierwall/test/cluster/machine"
)

// pause is how long is waited between two looks.
const pause = 50 * time.Millisecond

// wait calls done until it says true or fails, or ctx ends.
func wait(ctx context.Context, done func() (bool, error)) error {
	tick := time.NewTicker(pause)
	defer tick.Stop()
	for {
		ok, err := done()
		if ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// await waits for something that the services of machines bring about. It fails
// at once, with the end of its log, when one of them has died, and says what
// was last wrong when ctx ends.
func await(ctx context.Context, what string, machines []*machine.Machine, look func() error) error {
	var last error
	err := wait(ctx, func() (bool, error) {
		if last = look(); last == nil {
			return true, nil
		}
		return false, died(ctx, machines)
	})
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("cluster: waited for %s in vain: %w\n%w%s", what, ctx.Err(), last, tails(ctx, machines))
	}
	return fmt.Errorf("cluster: waiting for %s: %w", what, err)
}

// died tells of a machine or a service that should run and does not.
func died(ctx context.Context, machines []*machine.Machine) error {
	for _, m := range machines {
		services, err := m.Services(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%w\n%s", err, excerpt(m, "init"))
		}
		for _, s := range services {
			if !s.Running {
				return fmt.Errorf("machine %s: %s has ended: %s\n%s", m.Name(), s.Name, s.Exit, excerpt(m, s.Name))
			}
		}
	}
	return nil
}

// tails are the ends of the logs of all services.
func tails(ctx context.Context, machines []*machine.Machine) string {
	var b strings.Builder
	for _, m := range machines {
		services, _ := m.Services(context.WithoutCancel(ctx))
		for _, s := range services {
			fmt.Fprintf(&b, "\n%s", excerpt(m, s.Name))
		}
	}
	return b.String()
}

// excerpt is the end of a service's log, and where the rest is.
func excerpt(m *machine.Machine, service string) string {
	const lines = 12
	file := m.LogFile(service)
	return fmt.Sprintf("the last lines of %s:\n\t%s", file, strings.ReplaceAll(machine.Tail(file, lines), "\n", "\n\t"))
}
