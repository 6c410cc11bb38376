//go:build linux

package cmd

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"github.com/tierwall/tierwall/controllers/source"
	"github.com/tierwall/tierwall/dataplane/iptables"
	"github.com/tierwall/tierwall/policy/model"
	"github.com/tierwall/tierwall/policy/policytest"
	"github.com/tierwall/tierwall/test/fleet"
	"github.com/tierwall/tierwall/test/lab"
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
func (r labRunner) open(ctx context.Context, objects *source.Result, world *policytest.World) (testSession, error) {
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
	if s.fleet, err = fleet.Start(ctx, l, nodesOf(spec), objects.All(), fleet.Options{Backend: r.backend}); err != nil {
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

// decide sends a probe. Packets do not say what decided: where they fare as the
// core says, the core's stages tell the rest; where not, there are none.
//
// Of what is sent to a Service there is a probe for each endpoint, to which the nodes of
// the lab translate it.
func (s *labSession) decide(ctx context.Context, a *policytest.Attempt) ([]*model.Decision, error) {
	var out []*model.Decision
	for i, e := range s.world.Explain(a) {
		if a.Service != (model.Ref{}) && len(a.Targets) == 0 {
			out = append(out, &e.Decision)
			continue
		}
		sent := e.Flow
		if a.Translated() {
			sent = a.Flow
			if err := s.serve(a, &a.Targets[i]); err != nil {
				return nil, err
			}
		}
		r, err := s.lab.Probe(ctx, sent, lab.Options{})
		if err != nil {
			return nil, err
		}
		action := model.Deny
		if r.Delivered {
			action = model.Allow
		}
		d := &e.Decision
		if d.Action != action {
			d = &model.Decision{Flow: e.Flow, Action: action}
		}
		out = append(out, d)
	}
	return out, nil
}

// serve has all nodes translate what is sent into one target.
func (s *labSession) serve(a *policytest.Attempt, target *model.Flow) error {
	return s.lab.SetServices(lab.Service{
		Addr: netip.AddrPortFrom(a.Flow.Dst, a.Flow.DstPort), Protocol: a.Flow.Protocol,
		Backends: []netip.AddrPort{netip.AddrPortFrom(target.Dst, target.DstPort)},
		Via:      s.world.EntryNode(a, target),
	})
}

func (s *labSession) close() error {
	var err error
	if s.fleet != nil {
		err = s.fleet.Stop()
	}
	return errors.Join(err, s.lab.Close())
}
