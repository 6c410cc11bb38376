package cmd

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/tierwall/tierwall/controllers/manifests"
	"github.com/tierwall/tierwall/policy/model"
	"github.com/tierwall/tierwall/policy/packets"
	"github.com/tierwall/tierwall/policy/reach"
	"github.com/tierwall/tierwall/policy/workload"
)

// workloads names the workload of each pod of the objects.
func workloads(r *manifests.Result) func(model.Ref) string {
	return func(ref model.Ref) string {
		if o, ok := r.Lookup(ref); ok {
			if pod, ok := o.Object.(*corev1.Pod); ok {
				return workload.NameOf(pod)
			}
		}
		return ""
	}
}

// wayView is an open way for programs.
type wayView struct {
	Traffic string      `json:"traffic"`
	Family  uint8       `json:"family,omitempty"`
	Nodes   reach.Nodes `json:"nodes,omitempty"`
	// Egress and Ingress say what allows it; empty where nothing could decide.
	Egress  string `json:"egress,omitempty"`
	Ingress string `json:"ingress,omitempty"`
}

func viewWays(ways []reach.Way) []wayView {
	out := make([]wayView, 0, len(ways))
	for i := range ways {
		w := &ways[i]
		v := wayView{Traffic: w.Traffic.Describe(w.Family), Family: w.Family, Nodes: w.Nodes, Egress: wayDecider(&w.Egress), Ingress: wayDecider(&w.Ingress)}
		out = append(out, v)
	}
	return out
}

func wayDecider(v *model.Verdict) string {
	switch v.Reason {
	case "", model.ReasonNoEndpoint:
		return ""
	case model.ReasonDefault:
		return "no tier decides"
	}
	return decider(v)
}

// String is the traffic with what restricts it.
func (v *wayView) String() string {
	s := v.Traffic
	if v.Family != 0 {
		s += fmt.Sprintf(" (IPv%d only)", v.Family)
	}
	if v.Nodes != reach.AnyNodes {
		s += " (" + string(v.Nodes) + ")"
	}
	return s
}

// by says what allows a way.
func (v *wayView) by() string {
	var parts []string
	if v.Egress != "" {
		parts = append(parts, "egress: "+v.Egress)
	}
	if v.Ingress != "" {
		parts = append(parts, "ingress: "+v.Ingress)
	}
	if len(parts) == 0 {
		return "no policy applies"
	}
	return strings.Join(parts, "; ")
}

// portFlag is --port: the traffic that is asked about.
type portFlag struct{ text string }

// space is the traffic; all of it where the flag is not set.
func (p *portFlag) space() (packets.Space, error) {
	if p.text == "" {
		return packets.All(), nil
	}
	pc, err := explainCase("ip:192.0.2.1", "ip:192.0.2.1", p.text)
	if err != nil {
		return packets.Space{}, err
	}
	protocol := model.TCP
	if pc.To.Protocol != nil {
		if protocol, err = model.ParseProtocol(pc.To.Protocol.String()); err != nil {
			return packets.Space{}, fmt.Errorf("--port: %w", err)
		}
	}
	if pc.To.Port == nil {
		return packets.Protocol(protocol), nil
	}
	n := pc.To.Port.IntValue()
	if n < 1 || n > 65535 || !protocol.HasPorts() {
		return packets.Space{}, fmt.Errorf("--port %q: want PORT/PROTOCOL with a number from 1 to 65535, or a PROTOCOL", p.text)
	}
	return packets.DstPorts(protocol, uint16(n), uint16(n)), nil
}

// within leaves of the ways what is in a space.
func within(ways []reach.Way, asked packets.Space) []reach.Way {
	var out []reach.Way
	for _, w := range ways {
		if w.Traffic = w.Traffic.Intersect(asked); !w.Traffic.IsEmpty() {
			out = append(out, w)
		}
	}
	return out
}
