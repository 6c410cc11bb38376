package cmd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/controllers/manifests"
	"github.com/tierwall/tierwall/controllers/operator"
	"github.com/tierwall/tierwall/controllers/podexec"
	"github.com/tierwall/tierwall/policy/answers"
	"github.com/tierwall/tierwall/policy/index"
	"github.com/tierwall/tierwall/policy/model"
	"github.com/tierwall/tierwall/policy/policytest"
	"github.com/tierwall/tierwall/policy/verdict"
)

// learnFromAgent has the index, which has been read from a live cluster, know what the agent
// of the sender's node has learnt of DNS names: each node knows what its own pods were
// answered. It returns that node's name, empty where no agent was asked: no rule by name
// applies there. What cannot be read is a warning, and rules by name match nothing for it.
func (f *inputFlags) learnFromAgent(ctx context.Context, s streams, ix *index.Index, r *manifests.Result, from *v1alpha1.PolicyTestPeer) (node string) {
	if !f.live() {
		return ""
	}
	node = policytest.NewWorld(ix, r.All(), r.Book).NodeOf(from)
	if node == "" || !slices.ContainsFunc(ix.ByName(), func(ref model.Ref) bool {
		e, ok := ix.Endpoint(ref)
		return ok && e.Node == node
	}) {
		return ""
	}
	known, err := f.askAgent(ctx, r, node)
	if err != nil {
		s.warn("the DNS names that node %s knows cannot be read, and rules by name match nothing for it: %v", node, err)
		return node
	}
	r.Book = r.Learn(ix, known...)
	ix.Flush()
	return node
}

// askAgent reads what `tierwall names` prints in the pod of a node's agent.
func (f *inputFlags) askAgent(ctx context.Context, r *manifests.Result, node string) ([]answers.Answer, error) {
	agent := agentOf(r, node)
	if agent == nil {
		return nil, errors.New("no agent runs there")
	}
	config, err := f.cluster.config()
	if err != nil {
		return nil, err
	}
	ctx, cancel := f.cluster.limit(ctx)
	defer cancel()
	in := podexec.Container{Namespace: agent.Namespace, Pod: agent.Name, Name: operator.AgentContainer}
	out, err := podexec.Output(ctx, config, in, "tierwall", "names", "-o", "json")
	if err != nil {
		return nil, err
	}
	var list []knownView
	if err := json.Unmarshal(out, &list); err != nil {
		return nil, fmt.Errorf("%s: %w", in, err)
	}
	known := make([]answers.Answer, 0, len(list))
	for _, k := range list {
		if a, err := netip.ParseAddr(k.Address); err == nil {
			known = append(known, answers.Answer{Names: []string{k.Name}, Addrs: []netip.Addr{a}, Since: k.Since, Until: k.Expires})
		}
	}
	return known, nil
}

// agentOf finds the running pod of a node's agent; nil: there is none.
func agentOf(r *manifests.Result, node string) *corev1.Pod {
	own := labels.SelectorFromSet(operator.AgentSelector())
	for _, o := range r.All() {
		if p, ok := o.(*corev1.Pod); ok && p.Spec.NodeName == node && p.Status.Phase == corev1.PodRunning && own.Matches(labels.Set(p.Labels)) {
			return p
		}
	}
	return nil
}

// unknownDomain says of a name that DNS has brought nothing for which node that is.
func unknownDomain(err error, node, domain string) error {
	var fe *policytest.FieldError
	if node == "" || domain == "" || !errors.As(err, &fe) || fe.Field != "to.domain" {
		return err
	}
	return &policytest.FieldError{Field: fe.Field, Message: fmt.Sprintf("%s: no DNS answer that node %s knows has brought an address for it", domain, node)}
}

// broughtView is what -o json and -o yaml print of a DNS answer by which a rule by name
// has matched.
type broughtView struct {
	Address string `json:"address"`
	// Names are the one that was asked for, and those of CNAME records on the way. Of what
	// an agent has learnt it is one of these.
	Names []string `json:"names"`
	// Since and Expires are of what an agent has learnt: when an answer brought the address
	// first, and until when it is known unless it is asked for, or used, again.
	Since   *time.Time `json:"since,omitempty"`
	Expires *time.Time `json:"expires,omitempty"`
}

// explanationView is an explanation with the DNS answers that it rests on.
type explanationView struct {
	*verdict.Explanation
	DNSAnswers []broughtView `json:"dnsAnswers,omitempty"`
}

func explanationViews(w *policytest.World, list []*verdict.Explanation) []explanationView {
	out := make([]explanationView, len(list))
	for i, e := range list {
		out[i].Explanation = e
		seen := map[string]bool{}
		for _, t := range e.Traces {
			for _, s := range t.Steps {
				for _, a := range w.Sources(e.Flow.Dst, s.Domains) {
					if seen[a.String()] {
						continue
					}
					seen[a.String()] = true
					v := broughtView{Address: e.Flow.Dst.String(), Names: a.Names}
					if !a.Until.IsZero() {
						v.Since, v.Expires = &a.Since, &a.Until
					}
					out[i].DNSAnswers = append(out[i].DNSAnswers, v)
				}
			}
		}
	}
	return out
}

// broughtBy names the DNS answers by which a rule by name has matched an address.
func broughtBy(w *policytest.World, a netip.Addr, s *verdict.Step, now time.Time) string {
	if len(s.Domains) == 0 {
		return ""
	}
	var out []string
	for _, source := range w.Sources(a, s.Domains) {
		text := source.String()
		if !source.Until.IsZero() {
			text += fmt.Sprintf(" (first at %s, %s ago; known until %s, for %s)",
				source.Since.UTC().Format(time.RFC3339), now.Sub(source.Since).Round(time.Second),
				source.Until.UTC().Format(time.RFC3339), source.Until.Sub(now).Round(time.Second))
		}
		out = append(out, text)
	}
	if out == nil { // known otherwise
		for _, p := range s.Domains {
			out = append(out, p.String())
		}
	}
	return fmt.Sprintf(": DNS has brought %s for %s", a, strings.Join(out, ", "))
}
