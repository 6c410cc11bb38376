package cmd

import (
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"

	"github.com/tierwall/tierwall/controllers/manifests"
	"github.com/tierwall/tierwall/policy/index"
	"github.com/tierwall/tierwall/policy/model"
	"github.com/tierwall/tierwall/policy/nearest"
	"github.com/tierwall/tierwall/policy/policytest"
)

// effectiveView is what `effective` prints of one class of endpoints.
type effectiveView struct {
	Endpoints []endpointView `json:"endpoints"`
	Chains    []chainView    `json:"chains"`
	Sets      []setView      `json:"sets,omitempty"`
}

type endpointView struct {
	Ref   model.Ref `json:"ref"`
	Node  string    `json:"node,omitempty"`
	Addrs []string  `json:"addrs,omitempty"`
}

// chainView is one direction at one stage. Default is the action if no tier
// decides; it is empty where that is left to a later stage.
type chainView struct {
	Stage     model.Stage     `json:"stage"`
	Direction model.Direction `json:"direction"`
	Tiers     []tierView      `json:"tiers,omitempty"`
	Default   string          `json:"default,omitempty"`
	// partial: other tiers are left out.
	partial bool
}

// tierView is one tier of a chain. End is empty where the end of the tier has
// no action: in stages without one, and with audited policies only.
type tierView struct {
	Name     string       `json:"name"`
	Order    *float64     `json:"order,omitempty"`
	Missing  bool         `json:"missing,omitempty"`
	Policies []policyView `json:"policies"`
	End      string       `json:"end,omitempty"`
}

type policyView struct {
	Ref   model.Ref  `json:"ref"`
	Order *float64   `json:"order,omitempty"`
	Audit bool       `json:"audit,omitempty"`
	Rules []ruleView `json:"rules,omitempty"`
}

type ruleView struct {
	Rule        model.RuleIndex   `json:"rule"`
	Name        string            `json:"name,omitempty"`
	Action      model.Action      `json:"action"`
	Match       string            `json:"match"`
	Sets        []string          `json:"sets,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

type setView struct {
	ID         string `json:"id"`
	Members    int    `json:"members"`
	Definition string `json:"definition"`
}

func newEffectiveCommand(s streams) *cobra.Command {
	var in inputFlags
	var out outputFlag
	var choose selectionFlags
	var all bool
	var only effectiveFilter
	c := &cobra.Command{
		Use:   "effective [ENDPOINT]",
		Short: "Show the merged, ordered policy of an endpoint",
		Long: `Effective shows the policy that applies to an endpoint, in evaluation order: tiers,
policies, rules, the sets that the rules refer to with their sizes, and the action
at the end of each tier and each direction.

ENDPOINT is NAMESPACE/NAME of a pod or a workload, a workload with its kind such as
deploy:NAMESPACE/NAME, hostEndpoint:NAME, or a reference as Tierwall prints it, such as
Pod/shop/frontend. A workload stands for one of its running pods. With --all, -n, -A
or -l, every distinct effective policy is shown once, with the endpoints that share it.`,
		Example: `  tierwall effective -f config/samples shop/frontend
  tierwall effective -f config/samples -n shop -l app=frontend
  tierwall effective -f config/samples --all -o json`,
		Args: func(_ *cobra.Command, args []string) error {
			switch several := all || choose.all || only.policy != "" || choose.selector.text != ""; {
			case len(args) > 1, several && len(args) == 1, len(args) == 0 && !several && choose.namespace.name == "":
				return fmt.Errorf("want one ENDPOINT, or --all, -n, -A or -l")
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			for i := range args {
				args[i] = qualify(choose.namespace.of(&in), args[i])
			}
			in.wants(args...)
			ix, objects, err := in.index(c.Context(), s)
			if err != nil {
				return err
			}
			var refs []model.Ref
			if len(args) == 1 {
				r, err := parseEndpoint(args[0])
				if err != nil {
					return err
				}
				named, why := r, ""
				if r.Kind != model.KindHostEndpoint {
					r, why = policytest.NewWorld(ix, objects.All(), objects.Book).Pod(r)
				}
				if why != "" && named.Kind != model.KindPod {
					return fmt.Errorf("%s: %s", named, why)
				}
				if all := ix.Endpoints(); !slices.Contains(all, r) {
					return fmt.Errorf("%s: %s", r, whyNoEndpoint(r, all, objects))
				}
				refs = []model.Ref{r}
			} else if refs, err = choose.endpoints(ix); err != nil {
				return err
			} else if len(refs) == 0 {
				return errors.New("no endpoint matches")
			}
			if refs, err = only.apply(ix, refs); err != nil {
				return err
			}
			views := effectiveViews(ix, refs)
			only.trim(views)
			if !out.text() {
				if len(args) == 1 {
					return out.write(s.out, views[0])
				}
				return out.write(s.out, views)
			}
			return printEffective(s.out, views)
		},
	}
	in.register(c.Flags())
	choose.register(c.Flags())
	out.register(c.Flags())
	c.Flags().BoolVar(&all, "all", false, "show every distinct effective policy with its endpoints")
	c.Flags().StringVar(&only.tier, "tier", "", "show only this tier")
	c.Flags().StringVar(&only.policy, "policy", "", "show only endpoints that this policy applies to; implies --all without an ENDPOINT")
	complete := completer{s, &in}
	complete.register(c)
	complete.flag(c, "tier", tierNames)
	complete.flag(c, "policy", policyNames)
	c.ValidArgsFunction = complete.values(endpointNames)
	return c
}

// effectiveFilter leaves out what was not asked for. The zero value keeps all.
type effectiveFilter struct{ tier, policy string }

// apply returns the endpoints that the policy governs.
func (f *effectiveFilter) apply(ix *index.Index, refs []model.Ref) ([]model.Ref, error) {
	if f.tier != "" && !slices.Contains(tierNames(ix), f.tier) {
		return nil, fmt.Errorf("--tier: there is no tier %q%s", f.tier, nearest.Clause(f.tier, tierNames(ix)))
	}
	if f.policy == "" {
		return refs, nil
	}
	if known := policyNames(ix); !slices.Contains(known, f.policy) {
		return nil, fmt.Errorf("--policy: there is no %s%s", f.policy, nearest.Clause(f.policy, known))
	}
	var out []model.Ref
	for _, ref := range refs {
		if governs(ix.Effective(ref), f.policy) {
			out = append(out, ref)
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("--policy: %s applies to none of these endpoints", f.policy)
	}
	return out, nil
}

// governs reports whether a policy is part of an effective policy.
func governs(e *index.Effective, name string) bool {
	for _, st := range e.Stages() {
		for i := range st.Chain {
			if slices.ContainsFunc(st.Chain[i].Policies, func(p *index.Policy) bool { return p.Ref.String() == name }) {
				return true
			}
		}
	}
	return false
}

// trim leaves out the other tiers, and the sets that their rules refer to.
func (f *effectiveFilter) trim(views []*effectiveView) {
	if f.tier == "" {
		return
	}
	for _, v := range views {
		used := map[string]bool{}
		for i := range v.Chains {
			c := &v.Chains[i]
			c.partial, c.Default = true, ""
			c.Tiers = slices.DeleteFunc(c.Tiers, func(t tierView) bool { return t.Name != f.tier })
			for _, t := range c.Tiers {
				for _, p := range t.Policies {
					for _, r := range p.Rules {
						for _, id := range r.Sets {
							used[id] = true
						}
					}
				}
			}
		}
		v.Sets = slices.DeleteFunc(v.Sets, func(s setView) bool { return !used[s.ID] })
	}
}

// whyNoEndpoint says why there is no endpoint of a name.
func whyNoEndpoint(r model.Ref, refs []model.Ref, objects *manifests.Result) string {
	if o, ok := objects.Lookup(r); ok {
		switch pod, _ := o.Object.(*corev1.Pod); {
		case pod == nil: // of another kind
		case pod.Spec.HostNetwork:
			return "a pod on the host's network has no policy of its own: its traffic is that of its node"
		case pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed:
			return "the pod has finished (phase " + string(pod.Status.Phase) + "): it sends and receives nothing"
		default:
			return "the pod has no address"
		}
	}
	if n, ok := nearest.Ref(r, refs); ok {
		return fmt.Sprintf("no such endpoint; did you mean %s?", n)
	}
	return "no such endpoint"
}
