package cmd

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/tierwall/tierwall/api/v1alpha1"
)

func newStatusCommand(s streams) *cobra.Command {
	var cluster clusterFlags
	var out outputFlag
	var watch bool
	c := &cobra.Command{
		Use:   "status",
		Short: "Show the state of agents, and policies that are not enforced",
		Long: `Status reads the live cluster: the Tierwall object, the reports of the agents and
the status of the policies. It prints one line for each node (the
version of its agent, whether the kernel is in sync, how long transactions take), then
the packets that guards dropped or counted, the policies that are not enforced as
written, and the problems.

With -w it runs until interrupted, and prints the report again when something other
than an age has changed. It waits for one answer no longer than --request-timeout, and
for a whole report no longer than --timeout.

The exit status is 1 if there is a problem, and 2 if the cluster cannot be read.
Policies with enforcement Audit, and those that currently select no endpoint, are no
problem.`,
		Example: `  tierwall status
  tierwall status -w
  tierwall status -o json`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			config, err := cluster.config()
			if err != nil {
				return err
			}
			reader, err := statusClient(config)
			if err != nil {
				return err
			}
			p := statusPrinter{streams: s, out: &out, reader: reader, clock: clock.RealClock{}, limit: cluster.limit}
			if watch {
				return p.watch(c.Context())
			}
			return p.once(c.Context())
		},
	}
	c.Flags().BoolVarP(&watch, "watch", "w", false, "keep running, and print the report again when it changes")
	cluster.register(c.Flags())
	out.register(c.Flags())
	completeContexts(c, &cluster)
	return c
}

// statusClient reads what status reads. It knows the kinds beforehand: one that
// the cluster does not have is told apart by its list.
func statusClient(config *rest.Config) (client.Reader, error) {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{corev1.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			return nil, err
		}
	}
	mapper := meta.NewDefaultRESTMapper(nil)
	mapper.Add(corev1.SchemeGroupVersion.WithKind("Node"), meta.RESTScopeRoot)
	for _, kind := range []string{"NodeReport", "Tierwall", "GlobalNetworkPolicy"} {
		mapper.Add(v1alpha1.GroupVersion.WithKind(kind), meta.RESTScopeRoot)
	}
	mapper.Add(v1alpha1.GroupVersion.WithKind("NetworkPolicy"), meta.RESTScopeNamespace)
	config = rest.CopyConfig(config)
	config.QPS = -1
	c, err := client.New(config, client.Options{Scheme: scheme, Mapper: mapper})
	if err != nil {
		return nil, fmt.Errorf("cluster: %w", err)
	}
	return c, nil
}

// statusReport is what `status` prints in JSON and YAML.
type statusReport struct {
	// Healthy: there are no problems.
	Healthy      bool               `json:"healthy"`
	Installation statusInstallation `json:"installation"`
	Agents       []statusAgent      `json:"agents"`
	Guards       statusGuards       `json:"guards"`
	Budgets      statusBudgets      `json:"budgets"`
	Unseen       []statusUnseen     `json:"unseenPods,omitempty"`
	Policies     statusPolicies     `json:"policies"`
	Problems     []statusProblem    `json:"problems"`
	// Notes say what could not be looked at.
	Notes []string `json:"notes,omitempty"`
}

// statusInstallation is the Tierwall object's conditions; empty: not known.
type statusInstallation struct {
	Available   string `json:"available,omitempty"`
	Progressing string `json:"progressing,omitempty"`
	Degraded    string `json:"degraded,omitempty"`
}

// statusAgent is the agent of one node.
type statusAgent struct {
	Node string `json:"node"`
	// State is one of the agent states.
	State agentState `json:"state"`
	// AgeSeconds of the report, by this machine's clock; at least 0.
	AgeSeconds int64              `json:"ageSeconds"`
	Report     v1alpha1.NodeState `json:"report,omitzero"`
}

// agentState sums up what is known of an agent.
type agentState string

const (
	agentOK        agentState = "ok"
	agentErrors    agentState = "errors"      // the kernel is in sync, and something is wrong
	agentNotInSync agentState = "not in sync" // the kernel lags behind
	agentSilent    agentState = "silent"      // no sign of life
	agentMissing   agentState = "no report"   // never one
)

// statusPolicies counts the Tierwall policies.
type statusPolicies struct {
	Total    int `json:"total"`
	Enforced int `json:"enforced"`
	Audited  int `json:"audited"`
	// NotEnforced are all others, by name.
	NotEnforced []statusPolicy `json:"notEnforced"`
}

// statusPolicy is a policy that is not enforced as it is written.
type statusPolicy struct {
	Policy string `json:"policy"`
	// Ready is "enforced/desired" nodes; empty: not known.
	Ready   string `json:"ready,omitempty"`
	Reason  string `json:"reason"`
	Message string `json:"message,omitempty"`
}

// statusProblem is one thing that is wrong.
type statusProblem struct {
	Object  string `json:"object"`
	Message string `json:"message"`
}

// gatherStatus reads a cluster.
func gatherStatus(ctx context.Context, c client.Reader, now time.Time) (*statusReport, error) {
	r := &statusReport{Agents: []statusAgent{}, Problems: []statusProblem{}}
	r.Policies.NotEnforced = []statusPolicy{}
	settings, err := r.installation(ctx, c)
	if err != nil {
		return nil, err
	}
	if err := r.agents(ctx, c, settings, now); err != nil {
		return nil, err
	}
	r.guards(settings)
	r.budgets(settings)
	r.unseen()
	if err := r.policies(ctx, c); err != nil {
		return nil, err
	}
	r.Healthy = len(r.Problems) == 0
	return r, nil
}

func (r *statusReport) problem(object, format string, args ...any) {
	r.Problems = append(r.Problems, statusProblem{object, fmt.Sprintf(format, args...)})
}

// readError says what a failed request means.
func readError(what string, err error) error {
	switch {
	case apierrors.IsNotFound(err) || meta.IsNoMatchError(err):
		return fmt.Errorf("%s: Tierwall's CustomResourceDefinitions are not installed, or are of another version: %w", what, err)
	case apierrors.IsForbidden(err):
		return fmt.Errorf("%s: permission missing: %w", what, err)
	}
	return fmt.Errorf("%s: %w", what, err)
}

// installation reads Tierwall/default; nil: there is none.
func (r *statusReport) installation(ctx context.Context, c client.Reader) (*v1alpha1.Tierwall, error) {
	const name = "Tierwall/" + v1alpha1.TierwallName
	tw := &v1alpha1.Tierwall{}
	err := c.Get(ctx, types.NamespacedName{Name: v1alpha1.TierwallName}, tw)
	switch {
	case apierrors.IsNotFound(err):
		r.problem(name, "does not exist, so no agents are installed")
		return nil, nil
	case err != nil:
		return nil, readError(name, err)
	}
	show := func(typ string, wanted string) string {
		cond := meta.FindStatusCondition(tw.Status.Conditions, typ)
		switch {
		case cond == nil:
			if wanted == "True" {
				r.problem(name, "no condition %s: is the manager running?", typ)
			}
			return ""
		case wanted != "" && string(cond.Status) != wanted:
			r.problem(name, "%s is %s: %s: %s", typ, cond.Status, cond.Reason, cond.Message)
		}
		return string(cond.Status)
	}
	r.Installation = statusInstallation{Available: show("Available", "True"), Progressing: show("Progressing", ""), Degraded: show("Degraded", "False")}
	return tw, nil
}

// errNoNodes: nodes may not be listed.
var errNoNodes = errors.New("nodes may not be listed")

// nodes lists the nodes that should have an agent.
func statusNodes(ctx context.Context, c client.Reader, tw *v1alpha1.Tierwall) (wanted, there map[string]bool, err error) {
	wanted, there = map[string]bool{}, map[string]bool{}
	for next := ""; ; {
		var list corev1.NodeList
		err := c.List(ctx, &list, client.Limit(500), client.Continue(next))
		if apierrors.IsForbidden(err) {
			return nil, nil, errNoNodes
		}
		if err != nil {
			return nil, nil, fmt.Errorf("nodes: %w", err)
		}
		for i := range list.Items {
			there[list.Items[i].Name] = true
			if wantsAgent(&list.Items[i], tw) {
				wanted[list.Items[i].Name] = true
			}
		}
		if next = list.Continue; next == "" {
			return wanted, there, nil
		}
	}
}
