//go:build linux

package cmd

import (
	"context"
	"errors"
	"fmt"

	"github.com/tierwall/tierwall/controllers/manifests"
	"github.com/tierwall/tierwall/dataplane/iptables"
	"github.com/tierwall/tierwall/lab"
	"github.com/tierwall/tierwall/lab/fleet"
	"github.com/tierwall/tierwall/policy/model"
	"github.com/tierwall/tierwall/policy/policytest"
)

// labRunner decides with packets: pods, nodes and outside hosts become
// network namespaces of a throw-away lab, each node's kernel gets what its agent
// would program, and a probe is sent for each case.
type labRunner struct {
	dataplane string
	backend   func() (fleet.Kernel, error) // nil: nftables
}

// newIPTables takes the variant that the command iptables speaks to.
func newIPTables() (fleet.Kernel, error) { return iptables.New(iptables.Options{}) }

type labSession struct {
	lab   *lab.Lab
	world *policytest.World
	fleet *fleet.Fleet
}

// open builds the lab and programs its nodes. The program may be run again in a
// user namespace, if that is what it takes (lab.Reexec).
func (r labRunner) open(ctx context.Context, objects *manifests.Result, world *policytest.World) (testSession, error) {
	if err := lab.Reexec(); err != nil {
		return nil, fmt.Errorf("--dataplane %s: %w", r.dataplane, err)
	}
	spec, _, err := lab.FromObjects(objects.All())
	if err != nil {
		return nil, err
	}
	l, err := lab.New(ctx, spec)
	if err != nil {
		return nil, err
	}
	s := &labSession{lab: l, world: world}
	if s.fleet, err = fleet.Start(ctx, l, nodesOf(spec), objects.All(), fleet.Options{Backend: r.backend, Answers: objects.DNS()}); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

// nodesOf names the nodes of a lab.
func nodesOf(spec lab.Spec) []string {
	var out []string
	for _, n := range spec.Nodes {
		out = append(out, n.Name)
	}
	return out
}

// decide sends probes. Packets do not say what decided: where they fare as the
// core says, the core's stages tell the rest; where not, there are none.
func (s *labSession) decide(ctx context.Context, a *policytest.Attempt) ([]*model.Decision, error) {
	out := s.world.Decide(a)
	arrived, err := fleet.Send(ctx, s.lab, s.world, a)
	if err != nil {
		return nil, err
	}
	for i, ok := range arrived {
		action := model.Deny
		if ok {
			action = model.Allow
		}
		if out[i].Action != action {
			out[i] = &model.Decision{Flow: out[i].Flow, Action: action}
		}
	}
	return out, nil
}

func (s *labSession) close() error {
	var err error
	if s.fleet != nil {
		err = s.fleet.Stop()
	}
	return errors.Join(err, s.lab.Close())
}
