//go:build linux

package cmd

import (
	"context"
	"log/slog"
	"sync"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/controllers/agent/reporter"
)

// reporter returns what tells the cluster how this node is doing; nil where
// there is no cluster.
func (f *agentFlags) reporter(log *slog.Logger, dataplane v1alpha1.Dataplane, unseen func() int) (*reporter.Reporter, error) {
	if f.from != "" {
		return nil, nil
	}
	config, err := f.clusterConfig()
	if err != nil {
		return nil, err
	}
	c, err := reporter.NewClient(config)
	if err != nil {
		return nil, err
	}
	return reporter.New(reporter.Options{
		Client: c, Node: f.node, Version: currentVersion().Version, Dataplane: dataplane, Unseen: unseen, Log: log,
	})
}

// alongside returns a function that runs another one beside main, and ends it with that.
func alongside(run, main func(context.Context) error) func(context.Context) error {
	return func(ctx context.Context) error {
		ctx, cancel := context.WithCancel(ctx)
		var over sync.WaitGroup
		over.Go(func() { _ = run(ctx) }) // it logs its errors
		defer over.Wait()
		defer cancel()
		return main(ctx)
	}
}
