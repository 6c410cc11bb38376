package cmd

import (
	"context"
	"fmt"

	"github.com/tierwall/tierwall/controllers/manifests"
	"github.com/tierwall/tierwall/policy/model"
	"github.com/tierwall/tierwall/policy/policytest"
)

// testRunner decides the cases of a policy test: the core by evaluation, a data
// plane with packets.
type testRunner interface {
	// open prepares for the cases of tests on the same objects, completed.
	open(ctx context.Context, objects *manifests.Result, world *policytest.World) (testSession, error)
}

// testSession is a testRunner's hold on one set of objects.
type testSession interface {
	// decide returns the fate of a packet. A data plane may leave out Stages.
	// decide decides an attempt: at a Service, once for each of its endpoints.
	decide(ctx context.Context, a *policytest.Attempt) ([]*model.Decision, error)
	close() error
}

// coreRunner decides by package verdict.
type coreRunner struct{}

type coreSession struct{ world *policytest.World }

func (coreRunner) open(_ context.Context, _ *manifests.Result, w *policytest.World) (testSession, error) {
	return coreSession{w}, nil
}

func (s coreSession) decide(_ context.Context, a *policytest.Attempt) ([]*model.Decision, error) {
	return s.world.Decide(a), nil
}

func (coreSession) close() error { return nil }

// runnerFor returns the runner of a data plane by name.
func runnerFor(dataplane string) (testRunner, error) {
	if dataplane == "core" {
		return coreRunner{}, nil
	}
	if r, err := kernelRunner(dataplane); r != nil || err != nil {
		return r, err
	}
	return nil, fmt.Errorf("--dataplane %s: want core, nftables or iptables", dataplane)
}
