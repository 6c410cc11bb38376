//go:build linux

package cmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/spf13/cobra"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/utils/clock"

	"github.com/tierwall/tierwall/controllers/agent"
	clustersource "github.com/tierwall/tierwall/controllers/cluster"
	"github.com/tierwall/tierwall/controllers/folder"
	"github.com/tierwall/tierwall/controllers/manifests"
	"github.com/tierwall/tierwall/controllers/nri"
	"github.com/tierwall/tierwall/controllers/scrape"
	"github.com/tierwall/tierwall/dataplane"
	"github.com/tierwall/tierwall/dataplane/conntrack"
	"github.com/tierwall/tierwall/dataplane/conntrack/events"
	"github.com/tierwall/tierwall/dataplane/links"
	"github.com/tierwall/tierwall/dataplane/nflog"
	"github.com/tierwall/tierwall/dataplane/nftables"
)

// agentFlags are the flags of `tierwall agent`.
type agentFlags struct {
	log                               logFlags
	from, node, metricsAddr, stateDir string
	kubeconfig, context, dataplane    string
	nri, metricsAccess                string
	cleanup, stay, requirePolicy      bool
	boot                              bool
	flows, flowLines                  bool
}

func newAgentCommand(s streams) *cobra.Command {
	var f agentFlags
	c := &cobra.Command{
		Use:   "agent [--from DIR]",
		Short: "Enforce the policies of a cluster, or of a folder, on this host",
		Long: `Agent programs this host's kernel (nftables table inet tierwall; with --dataplane
iptables chains TW-… and ipsets tw-… instead) with what the
cluster says that this host is a node of: the policies of its pods, and its host
endpoints. It cuts established connections that a changed policy does not allow
any more, and repairs the table if somebody else changes it.

Nothing is written before all objects of the cluster have been read. While the
API server cannot be reached, what it said last stays in force; so it does when
the agent starts meanwhile, for the kernel keeps its rules. After a boot, when the
kernel has none, the host endpoints of the time before are put in force first, and
the node's blocks of pod addresses without any pods; --boot does only that.

With --from it does the same by the manifests of a folder, with no cluster: a
host endpoint without spec.node means this host then. A file that does not parse
counts as it last did, and is reported.

Packets that Log rules match are lines on standard output, as Tierwall/default
says under spec.logging. So are records of connections, if it says so under
spec.flows or with --flow-lines; all else that the agent has to say is on standard error.

Where the container runtime has NRI (containerd 2.1), a new pod's containers start
when the kernel holds the pod's policy; see --nri.

When the agent ends, the kernel goes on with the rules it has; --cleanup removes
them. With --metrics-addr it serves /metrics, /healthz and /readyz: on a loopback
address to the node alone; on another one with TLS, to users whose token the API
server accepts and who may get /metrics, unless --metrics-access is open.`,
		Example: `  tierwall agent
  tierwall agent --kubeconfig /etc/tierwall/kubeconfig --node worker-1
  tierwall agent --from /etc/tierwall
  tierwall agent --boot
  tierwall agent --cleanup`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return f.run(c.Context(), s)
		},
	}
	fs := c.Flags()
	fs.StringVar(&f.from, "from", "", "folder with manifests (*.yaml, *.yml, *.json), folders below it too; empty: the cluster")
	fs.StringVar(&f.kubeconfig, "kubeconfig", "", "kubeconfig file of the cluster; default the service account of the pod that the agent runs in")
	fs.StringVar(&f.context, "context", "", "context of the kubeconfig; default the current one")
	fs.StringVar(&f.node, "node", "", "name of this node; default $NODE_NAME, then the host's name")
	fs.StringVar(&f.metricsAddr, "metrics-addr", "127.0.0.1:9391", "address for /metrics, /healthz and /readyz; empty: none")
	fs.StringVar(&f.metricsAccess, "metrics-access", string(scrape.Authenticated), "what it takes other machines to read --metrics-addr: authenticated (TLS, and the token of a user of the cluster who may get /metrics) or open (nothing)")
	fs.StringVar(&f.stateDir, "state-dir", "/var/lib/tierwall", "where host endpoints and their policies are kept for the next boot and, with --from, the last good content of each file; empty: nowhere")
	f.log.register(fs)
	fs.StringVar(&f.dataplane, "dataplane", "auto", "what programs the kernel: nftables, iptables (whose commands must be installed), or auto: nftables where the kernel has it, else iptables")
	fs.StringVar(&f.nri, "nri", "auto", "socket of the container runtime's plugins, which has new pods wait for their policy; auto: "+nri.DefaultSocket+", if there is one, now or later; off: none")
	fs.BoolVar(&f.requirePolicy, "require-policy", false, "have a new pod's start fail, and be tried again, if its policy is not in force within the time that the runtime grants; default: it starts")
	fs.BoolVar(&f.flows, "flows", false, "record connections and serve them at /flows/v1 of --metrics-addr, whatever Tierwall/default says under spec.flows")
	fs.BoolVar(&f.flowLines, "flow-lines", false, "--flows, and write the records of every 15 seconds on standard output, as JSON lines")
	fs.BoolVar(&f.boot, "boot", false, "put what is kept for this boot into the kernel, unless it has rules, and exit; for a unit that runs before the kubelet. Without --node: whatever node it was kept for")
	fs.BoolVar(&f.cleanup, "cleanup", false, "remove everything of Tierwall's from the kernel, and what is kept for the next boot, and exit")
	fs.BoolVar(&f.stay, "stay", false, "with --cleanup: do not exit, and be ready when the kernel is clean")
	return c
}

// check looks at the flags before anything is touched.
func (f *agentFlags) check() error {
	switch {
	case f.stay && !f.cleanup:
		return errors.New("--stay goes with --cleanup")
	case f.cleanup && f.from != "":
		return errors.New("--cleanup cannot be combined with --from")
	case f.boot && (f.cleanup || f.from != ""):
		return errors.New("--boot cannot be combined with --cleanup and --from: it puts in force what is kept of a cluster")
	case f.cleanup, f.boot:
		return nil
	case f.from != "" && (f.kubeconfig != "" || f.context != ""):
		return errors.New("--from cannot be combined with --kubeconfig and --context: there is no cluster")
	case f.requirePolicy && f.from != "":
		return errors.New("--require-policy cannot be combined with --from: no pods start")
	case f.requirePolicy && f.nri == nriOff:
		return errors.New("--require-policy cannot be combined with --nri off: nothing would wait")
	}
	switch scrape.Access(f.metricsAccess) {
	case "", scrape.Authenticated, scrape.Open:
	default:
		return fmt.Errorf("--metrics-access %s: want %s or %s", f.metricsAccess, scrape.Authenticated, scrape.Open)
	}
	if f.from != "" {
		if err := checkFolder(f.from); err != nil {
			return err
		}
	} else if f.node == "" {
		f.node = os.Getenv("NODE_NAME")
	}
	if f.node == "" {
		name, err := os.Hostname()
		if err != nil {
			return fmt.Errorf("--node: the host's name cannot be read: %w", err)
		}
		f.node = strings.ToLower(name)
	}
	return nil
}

// checkFolder looks whether there is a folder. One that cannot be read later is
// waited for; at the start it is more likely a slip.
func checkFolder(path string) error {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return fmt.Errorf("--from %s: no such folder", path)
	case err != nil:
		return fmt.Errorf("--from: %w", err)
	case !info.IsDir():
		return fmt.Errorf("--from %s: not a folder", path)
	}
	return nil
}

// source returns where the objects come from.
func (f *agentFlags) source(log *slog.Logger) (agent.Source, error) {
	if f.from != "" {
		return folder.New(folder.Options{
			Dir: f.from, Node: f.node, HostAddrs: folder.HostAddrs, StateDir: f.stateDir, Log: log,
		}), nil
	}
	config, err := f.clusterConfig()
	if err != nil {
		return nil, err
	}
	return clustersource.New(clustersource.Options{Config: config, Node: f.node, Log: log})
}

// clusterConfig finds the API server. Unlike people's commands the agent does
// not look for a kubeconfig that is not named.
func (f *agentFlags) clusterConfig() (*rest.Config, error) {
	if f.kubeconfig != "" {
		return manifests.ClusterConfig(f.kubeconfig, &clientcmd.ConfigOverrides{CurrentContext: f.context})
	}
	config, err := rest.InClusterConfig()
	if errors.Is(err, rest.ErrNotInCluster) {
		return nil, errors.New("not in a pod of a cluster: want --kubeconfig FILE, or --from DIR, a folder with manifests")
	}
	if err != nil {
		return nil, fmt.Errorf("service account of the pod: %w", err)
	}
	return config, nil
}

func (f *agentFlags) run(ctx context.Context, s streams) error {
	handler, err := f.log.handler(s.errOut)
	if err != nil {
		return err
	}
	log := slog.New(handler)
	if err := f.check(); err != nil {
		return err
	}
	backend, err := hostPlanes.choose(f.dataplane, log)
	if err != nil {
		return err
	}
	if f.stay {
		return stayClean(ctx, log, forgetting{backend, f.stateDir}, f.metricsAddr)
	}
	if f.cleanup {
		if err := (forgetting{backend, f.stateDir}).Cleanup(ctx); err != nil {
			return err
		}
		_, err := fmt.Fprintln(s.out, "removed all of Tierwall's: nftables table inet tierwall, iptables chains TW-…, ipsets tw-…")
		return err
	}
	if f.boot {
		return f.restore(ctx, log, s.out, backend)
	}
	return f.enforce(ctx, log, s.out, backend)
}

// enforce runs the agent until the context ends. Lines of Log rules go to out.
func (f *agentFlags) enforce(ctx context.Context, log *slog.Logger, out io.Writer, backend *chosenBackend) error {
	from, err := f.source(log)
	if err != nil {
		return err
	}
	early, err := f.startup(log, from)
	if err != nil {
		return err
	}
	o := agent.Options{Node: f.node, Backend: backend.forAgent(), Log: log, Source: early.source, Lines: out, Boot: f.kept(log), Names: f.names()}
	if table, err := conntrack.New(); err != nil {
		log.Warn("established connections are left alone", "error", err)
	} else {
		defer table.Close()
		o.Conntrack = table
	}
	if own, err := links.New(); err != nil {
		log.Warn("the node has the addresses of its Node object only, and where its pods are attached is not known", "error", err)
	} else {
		defer own.Close()
		o.Links = early.follow(own)
	}
	o.Audit = backend.audit
	if w, err := backend.watcher(); err != nil {
		log.Warn("changes by other programs are found by periodic comparison only", "error", err)
	} else {
		o.Watcher = w
	}
	if packets, err := nflog.New(nftables.DefaultLogGroup, clock.RealClock{}); err != nil {
		log.Warn("Log rules write no lines", "error", err)
	} else {
		defer func() { _ = packets.Close() }()
		o.Logs = packets
	}
	o.Flows = &agent.FlowsOptions{
		Open: func() (events.Reader, error) { return events.New() }, Counts: events.Counts,
		OpenDenied: func() (nflog.Reader, error) { return nflog.New(dataplane.DeniedGroup, clock.RealClock{}) },
		Lines:      out, Always: f.flows || f.flowLines, AlwaysLines: f.flowLines,
	}
	collect := early.collect
	report, err := f.reporter(log, backend.dataplane, early.unseen)
	if err != nil {
		return err
	}
	if report != nil {
		o.Reporter, collect = report, append(collect, report)
	}
	a, err := agent.New(o)
	if err != nil {
		return err
	}
	early.attach(a)
	if f.metricsAddr != "" {
		metrics, err := f.metrics(log, a, collect...)
		if err != nil {
			return fmt.Errorf("--metrics-addr: %w", err)
		}
		early.run = append(early.run, metrics.Start)
	}
	run := a.Run
	for _, r := range early.run {
		run = alongside(r, run)
	}
	if report != nil {
		run = alongside(report.Run, run)
	}
	return run(ctx)
}

// metrics returns what serves an agent's metrics and probes, and what else there
// is to collect.
func (f *agentFlags) metrics(log *slog.Logger, a *agent.Agent, also ...prometheus.Collector) (*scrape.Server, error) {
	registry := prometheus.NewRegistry()
	registry.MustRegister(also...)
	registry.MustRegister(a, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	o := scrape.Options{Address: f.metricsAddr, Access: scrape.Access(f.metricsAccess), Gatherer: registry, Probes: a.Probes(), Flows: a.Flows(), Log: log}
	if f.from == "" {
		config, err := f.clusterConfig()
		if err != nil {
			return nil, err
		}
		o.Config = config
	}
	server, err := scrape.New(o)
	if err != nil {
		return nil, err
	}
	registry.MustRegister(server)
	return server, nil
}
