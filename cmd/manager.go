package cmd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/controllers/admission"
	"github.com/tierwall/tierwall/controllers/operator"
	"github.com/tierwall/tierwall/controllers/scrape"
	"github.com/tierwall/tierwall/controllers/status"
	"github.com/tierwall/tierwall/controllers/tiers"
)

// managerFlags are the flags of `tierwall manager`.
type managerFlags struct {
	log                             logFlags
	metricsAddr, healthAddr         string
	metricsAccess, webhookAddr      string
	leaderElect, createDefault      bool
	namespace, agentImage, kubePath string
	cleanupTimeout                  time.Duration
}

func newManagerCommand(s streams) *cobra.Command {
	var f managerFlags
	c := &cobra.Command{
		Use:   "manager",
		Short: "Install the agents in a cluster and report on them",
		Long: `Manager runs in the cluster that it manages. From the object Tierwall/default it
installs the agents on all nodes, keeps them as they should be and says how they
are; it creates that object if there is none. It takes no part in enforcement:
while it is away, only installation and status wait.

Several replicas may run; one of them works. The environment variables
POD_NAMESPACE and POD_NAME say where it runs, and RELATED_IMAGE_TIERWALL which
image the agents get; without it they get the manager's own.`,
		Example: `  tierwall manager --kubeconfig ~/.kube/config --leader-elect=false --agent-image registry.example/tierwall:v1`,
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return f.run(c.Context(), s)
		},
	}
	fs := c.Flags()
	fs.StringVar(&f.metricsAddr, "metrics-addr", ":8080", "address for /metrics; empty: none")
	fs.StringVar(&f.metricsAccess, "metrics-access", string(scrape.Authenticated), "what it takes others to read --metrics-addr, unless that is a loopback address: authenticated (TLS, and the token of a user of the cluster who may get /metrics) or open (nothing)")
	fs.StringVar(&f.healthAddr, "health-addr", ":8081", "address for /healthz and /readyz; empty: none")
	fs.StringVar(&f.webhookAddr, "webhook-addr", ":9443", "address for the API server's questions about objects; empty: none")
	fs.BoolVar(&f.leaderElect, "leader-elect", true, "work only while this replica is the leader")
	fs.StringVar(&f.namespace, "namespace", "", "namespace of the manager and the agents; default $POD_NAMESPACE, then "+operator.DefaultNamespace)
	fs.StringVar(&f.agentImage, "agent-image", "", "image of the agents where the Tierwall object names none; default $RELATED_IMAGE_TIERWALL, then the manager's own")
	fs.DurationVar(&f.cleanupTimeout, "cleanup-timeout", operator.DefaultCleanupTimeout, "how long the removal of the agents waits for nodes to be cleaned")
	fs.BoolVar(&f.createDefault, "create-default", true, "create Tierwall/default if it does not exist and was never deleted")
	fs.StringVar(&f.kubePath, "kubeconfig", "", "kubeconfig file; default: the cluster that the manager runs in")
	f.log.register(fs)
	return c
}

// run runs a manager until the context ends or the lease is lost.
func (f *managerFlags) run(ctx context.Context, s streams) error {
	handler, err := f.log.handler(s.errOut)
	if err != nil {
		return err
	}
	switch scrape.Access(f.metricsAccess) {
	case "", scrape.Authenticated, scrape.Open:
	default:
		return fmt.Errorf("--metrics-access %s: want %s or %s", f.metricsAccess, scrape.Authenticated, scrape.Open)
	}
	if f.cleanupTimeout <= 0 {
		return fmt.Errorf("--cleanup-timeout %s: want more than 0", f.cleanupTimeout)
	}
	logger := logr.FromSlogHandler(handler)
	log.SetLogger(logger)
	klog.SetLogger(logger)
	cfg, err := f.config()
	if err != nil {
		return err
	}
	mgr, err := f.manager(cfg, logger)
	if err != nil {
		return err
	}
	if err := f.add(mgr); err != nil {
		return err
	}
	if err := f.metrics(mgr, slog.New(handler)); err != nil {
		return fmt.Errorf("--metrics-addr: %w", err)
	}
	if err := mgr.Start(ctx); err != nil {
		return fmt.Errorf("manager: %w", err)
	}
	return nil
}

func (f *managerFlags) config() (*rest.Config, error) {
	cfg, err := rest.InClusterConfig()
	if f.kubePath != "" {
		cfg, err = clientcmd.BuildConfigFromFlags("", f.kubePath)
	}
	switch {
	case errors.Is(err, rest.ErrNotInCluster):
		return nil, errors.New("not in a cluster: want --kubeconfig")
	case err != nil:
		return nil, fmt.Errorf("the cluster's configuration: %w", err)
	}
	// API Priority and Fairness keeps the order among clients; a limit here would
	// only make a large cluster slow.
	cfg.QPS, cfg.Burst = -1, 0
	return rest.AddUserAgent(cfg, "tierwall-manager"), nil
}

// where is the namespace of the manager and the agents.
func (f *managerFlags) where() string {
	return cmp.Or(f.namespace, os.Getenv("POD_NAMESPACE"), operator.DefaultNamespace)
}

func (f *managerFlags) manager(cfg *rest.Config, logger logr.Logger) (ctrl.Manager, error) {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			return nil, fmt.Errorf("scheme: %w", err)
		}
	}
	namespace := f.where()
	keep := operator.Cache(namespace)
	maps.Copy(keep, status.Cache())
	mgr, err := ctrl.NewManager(cfg, ctrl.Options{
		Scheme: scheme, Logger: logger,
		Cache:                   cache.Options{ByObject: keep},
		Metrics:                 metricsserver.Options{BindAddress: "0"}, // see metrics
		HealthProbeBindAddress:  cmp.Or(f.healthAddr, "0"),
		LeaderElection:          f.leaderElect,
		LeaderElectionID:        operator.ManagerName,
		LeaderElectionNamespace: namespace,
		// The process ends right after the manager does, so nothing works on without the lease.
		LeaderElectionReleaseOnCancel: true,
	})
	if err != nil {
		return nil, fmt.Errorf("manager: %w", err)
	}
	return mgr, nil
}

// metrics has the manager serve its metrics as agents do.
func (f *managerFlags) metrics(mgr ctrl.Manager, log *slog.Logger) error {
	if f.metricsAddr == "" {
		return nil
	}
	own := prometheus.NewRegistry()
	server, err := scrape.New(scrape.Options{
		Address: f.metricsAddr, Access: scrape.Access(f.metricsAccess), Config: mgr.GetConfig(), Log: log,
		Gatherer: prometheus.Gatherers{metrics.Registry, own},
	})
	if err != nil {
		return err
	}
	own.MustRegister(server)
	return mgr.Add(server)
}

// webhook is where the webhook listens; port -1: there is none.
func (f *managerFlags) webhook() (host string, port int, err error) {
	if f.webhookAddr == "" {
		return "", -1, nil
	}
	host, text, err := net.SplitHostPort(f.webhookAddr)
	if err != nil {
		return "", 0, fmt.Errorf("--webhook-addr: %w", err)
	}
	number, err := strconv.ParseUint(text, 10, 16)
	if err != nil || number == 0 {
		return "", 0, fmt.Errorf("--webhook-addr %s: want a port from 1 to 65535", f.webhookAddr)
	}
	return host, int(number), nil
}

// add gives the manager all that it does.
func (f *managerFlags) add(mgr ctrl.Manager) error {
	namespace := f.where()
	if err := operator.Add(mgr, operator.Options{
		Namespace:      namespace,
		Image:          cmp.Or(f.agentImage, os.Getenv("RELATED_IMAGE_TIERWALL")),
		Pod:            os.Getenv("POD_NAME"),
		CleanupTimeout: f.cleanupTimeout,
		NoDefault:      !f.createDefault,
	}); err != nil {
		return fmt.Errorf("operator: %w", err)
	}
	if err := status.Add(mgr, status.Options{}); err != nil {
		return err
	}
	if err := tiers.Add(mgr, tiers.Options{}); err != nil {
		return err
	}
	host, port, err := f.webhook()
	if err != nil {
		return err
	}
	if err := admission.Add(mgr, admission.Options{Namespace: namespace, Host: host, Port: port}); err != nil {
		return err
	}
	if err := mgr.AddHealthzCheck("ping", healthz.Ping); err != nil {
		return fmt.Errorf("--health-addr: %w", err)
	}
	// A replica that only waits for the lease is ready too: it has what it needs to take over.
	synced := func(r *http.Request) error {
		if !mgr.GetCache().WaitForCacheSync(r.Context()) {
			return errors.New("not in sync with the API server yet")
		}
		return nil
	}
	if err := mgr.AddReadyzCheck("synced", synced); err != nil {
		return fmt.Errorf("--health-addr: %w", err)
	}
	return nil
}
