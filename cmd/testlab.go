package cmd

import (
	"context"
	"errors"
	"fmt"

	"github.com/tierwall/tierwall/controllers/source"
	"github.com/tierwall/tierwall/dataplane"
	"github.com/tierwall/tierwall/dataplane/nftables"
	"github.com/tierwall/tierwall/policy"
	"github.com/tierwall/tierwall/policy/model"
	"github.com/tierwall/tierwall/policy/policytest"
	"github.com/tierwall/tierwall/test/lab"
)

// nftablesRunner decides with packets: pods, nodes and outside hosts become
// network namespaces of a throw-away lab, each node's kernel gets what its agent
// would program, and a probe is sent for each case.
type nftablesRunner struct{}

type labSession struct {
	lab   *lab.Lab
	world *policytest.World
}

// open builds the lab and programs its nodes. The program may be run again in a
// user namespace, if that is what it takes (lab.Reexec).
func (nftablesRunner) open(ctx context.Context, objects *source.Result, world *policytest.World) (testSession, error) {
	if err := lab.Reexec(); err != nil {
		return nil, fmt.Errorf("--dataplane nftables: %w", err)
	}
	spec, services, err := lab.FromObjects(objectsOf(objects))
	if err != nil {
		return nil, err
	}
	l, err := lab.New(ctx, spec)
	if err != nil {
		return nil, err
	}
	s := &labSession{l, world}
	if len(services) > 0 {
		err = l.SetServices(services...)
	}
	for _, n := range spec.Nodes {
		if err == nil {
			err = programNode(ctx, l, objects, n.Name)
		}
	}
	if err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

// programNode programs the kernel of one node of a lab.
func programNode(ctx context.Context, l *lab.Lab, objects *source.Result, node string) error {
	ix, compiler := nodeIndex(node)
	objects.Fill(ix) // what is wrong with them has been told when they were read
	compiler.Apply(ix.Flush())
	err := l.Do(node, func() error {
		backend, err := nftables.New(nftables.Options{})
		if err != nil {
			return err
		}
		return backend.Sync(ctx, dataplane.NewState(ix, node, compiler))
	})
	if err != nil {
		return fmt.Errorf("node %s: %w", node, err)
	}
	return nil
}

// nodeIndex returns an index to which the endpoints of one node are local, and
// a compiler for it. Pods without a node are on the lab's own.
func nodeIndex(node string) (*policy.Index, *dataplane.Compiler) {
	ix := policy.New(policy.Options{Local: func(n string) bool {
		return n == node || n == "" && node == lab.DefaultNode
	}})
	return ix, dataplane.NewCompiler(dataplane.Options{})
}

// decide sends a probe. Packets do not say what decided: where they fare as the
// core says, the core's stages tell the rest; where not, there are none.
func (s *labSession) decide(ctx context.Context, f model.Flow) (model.Decision, error) {
	r, err := s.lab.Probe(ctx, f, lab.Options{})
	if err != nil {
		return model.Decision{}, err
	}
	action := model.Deny
	if r.Delivered {
		action = model.Allow
	}
	if d := s.world.Index.Decide(f); d.Action == action {
		return d, nil
	}
	return model.Decision{Flow: f, Action: action}, nil
}

func (s *labSession) close() error { return s.lab.Close() }
