package policytest

import (
	"fmt"
	"strconv"

	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/tierwall/tierwall/api/selector"
	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/policy/model"
)

// several is the name of a peer that stands for pods by namespace and labels.
const several = "namespace or selector"

// maxConnections bounds the number of connections of one case.
const maxConnections = 100_000

// Expand returns the single-connection cases that a case stands for: one for each pod
// that a namespace or selector matches, on either side, and for each port. A pod is not
// paired with itself, because it can always reach itself. A case that stands for only
// one connection is returned as it is. The error is a *FieldError: a case that matches
// no pod at all, or stands for more than 100,000 connections, is probably a mistake.
func (w *World) Expand(c *v1alpha1.PolicyTestCase) ([]*v1alpha1.PolicyTestCase, error) {
	if err := validate(c); err != nil {
		return nil, err
	}
	from, err := w.several(&c.From, "from")
	if err != nil {
		return nil, err
	}
	to, err := w.several(&c.To.PolicyTestPeer, "to")
	if err != nil {
		return nil, err
	}
	ports := []*intstr.IntOrString{c.To.Port}
	if len(c.To.Ports) > 0 {
		ports = ports[:0]
		for i := range c.To.Ports {
			ports = append(ports, &c.To.Ports[i])
		}
	}
	if n := len(from) * len(to) * len(ports); n > maxConnections {
		return nil, &FieldError{"to", fmt.Sprintf("the case stands for %d connections; the limit is %d", n, maxConnections)}
	}
	var out []*v1alpha1.PolicyTestCase
	for _, f := range from {
		for _, t := range to {
			if f.Pod != "" && f.Pod == t.Pod && (c.From.Pod == "" || c.To.Pod == "") {
				continue
			}
			for _, p := range ports {
				one := *c
				one.From, one.To.PolicyTestPeer, one.To.Port, one.To.Ports = f, t, p, nil
				out = append(out, &one)
			}
		}
	}
	if len(out) == 0 {
		return nil, &FieldError{"to", "stands only for the sender, which can always reach itself"}
	}
	return out, nil
}

// several returns the peers that a peer stands for: itself, or pods in the order
// of their names.
func (w *World) several(p *v1alpha1.PolicyTestPeer, field string) ([]v1alpha1.PolicyTestPeer, error) {
	if p.Namespace == "" && p.Selector == "" {
		return []v1alpha1.PolicyTestPeer{*p}, nil
	}
	sel, err := selector.Parse(p.Selector)
	if err != nil {
		return nil, &FieldError{field + ".selector", err.Error()}
	}
	var out []v1alpha1.PolicyTestPeer
	for _, ref := range w.Index.Endpoints() {
		e, ok := w.Index.Endpoint(ref)
		if !ok || ref.Kind != model.KindPod || len(e.Addrs) == 0 ||
			p.Namespace != "" && ref.Namespace != p.Namespace || !sel.Evaluate(selector.MapLabels(e.Labels)) {
			continue
		}
		out = append(out, v1alpha1.PolicyTestPeer{Pod: ref.Namespace + "/" + ref.Name})
	}
	if len(out) > 0 {
		return out, nil
	}
	switch {
	case p.Selector == "":
		return nil, &FieldError{field + ".namespace", strconv.Quote(p.Namespace) + " has no pod with an address of its own"}
	case p.Namespace == "":
		return nil, &FieldError{field + ".selector", strconv.Quote(p.Selector) + " selects no pod with an address of its own"}
	}
	return nil, &FieldError{field + ".selector", fmt.Sprintf("%q selects no pod with an address of its own in namespace %q", p.Selector, p.Namespace)}
}

// Connection describes the connection of an expanded case, as in "shop/web → shop/db
// port 5432".
func Connection(c *v1alpha1.PolicyTestCase) string {
	s := peerName(&c.From) + " → " + peerName(&c.To.PolicyTestPeer)
	if c.To.Port != nil {
		s += " port " + c.To.Port.String()
	}
	return s
}

func peerName(p *v1alpha1.PolicyTestPeer) string {
	switch {
	case p.Pod != "":
		return p.Pod
	case p.IP != "":
		return p.IP
	case p.Node != "":
		return "node " + p.Node
	case p.HostEndpoint != "":
		return "host endpoint " + p.HostEndpoint
	case p.Domain != "":
		return p.Domain
	}
	return "?"
}
