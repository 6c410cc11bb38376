//go:build linux

package cmd

import (
	"context"
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tierwall/tierwall/controllers/agent"
	"github.com/tierwall/tierwall/controllers/nri"
	"github.com/tierwall/tierwall/controllers/startup"
	"github.com/tierwall/tierwall/dataplane/links"
)

// Values of --nri that are no sockets.
const (
	nriAuto = "auto"
	nriOff  = "off"
)

// earlyPods is the part of an agent by which new pods are known early.
type earlyPods struct {
	source  agent.Source
	collect []prometheus.Collector
	// run are what has to run beside the agent.
	run []func(context.Context) error
	// attach says which agent it is.
	attach func(*agent.Agent)
	// unseen counts pods of which nothing shows whether they run; nil: not known.
	unseen func() int
	// follow returns what the agent reads its links by.
	follow func(links.Reader) links.Reader
}

// startup puts the part by which new pods are known early before a source. Where there is no
// cluster it is the source itself: manifests say their addresses. With --nri off
// it still listens to the agents of other nodes.
func (f *agentFlags) startup(log *slog.Logger, from agent.Source) (*earlyPods, error) {
	if f.from != "" {
		return &earlyPods{source: from, attach: func(*agent.Agent) {}, follow: func(r links.Reader) links.Reader { return r }}, nil
	}
	config, err := f.clusterConfig()
	if err != nil {
		return nil, err
	}
	store, err := startup.NewStore(config, f.node)
	if err != nil {
		return nil, err
	}
	reports, err := startup.NewReportWriter(startup.ReportWriterOptions{Store: store, Log: log})
	if err != nil {
		return nil, err
	}
	overlay, err := startup.New(startup.Options{Node: f.node, Source: from, Announcer: reports, Keeper: f.keeper(config), Log: log})
	if err != nil {
		return nil, err
	}
	e := &earlyPods{
		source: overlay, attach: func(a *agent.Agent) { overlay.Attach(a) }, follow: overlay.Follow, unseen: overlay.Unseen,
		collect: []prometheus.Collector{reports, overlay}, run: []func(context.Context) error{reports.Run},
	}
	if f.nri == nriOff {
		return e, nil
	}
	o := nri.Options{Pods: overlay, Require: f.requirePolicy, Log: log}
	if f.nri != nriAuto {
		o.Socket = f.nri
	}
	plugin, err := nri.New(o)
	if err != nil {
		return nil, err
	}
	e.collect, e.run = append(e.collect, plugin), append(e.run, plugin.Run)
	return e, nil
}
