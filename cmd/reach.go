package cmd

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/spf13/pflag"
	corev1 "k8s.io/api/core/v1"

	"github.com/tierwall/tierwall/controllers/manifests"
	"github.com/tierwall/tierwall/policy/index"
	"github.com/tierwall/tierwall/policy/model"
	"github.com/tierwall/tierwall/policy/nearest"
	"github.com/tierwall/tierwall/policy/packets"
	"github.com/tierwall/tierwall/policy/policytest"
	"github.com/tierwall/tierwall/policy/reach"
	"github.com/tierwall/tierwall/policy/verdict"
	"github.com/tierwall/tierwall/policy/workload"
)

// reachFlags are what the commands that ask who reaches whom have in common.
type reachFlags struct {
	in   inputFlags
	port portFlag
}

func (f *reachFlags) register(fs *pflag.FlagSet) {
	f.in.register(fs)
	fs.StringVar(&f.port.text, "port", "", "only this PORT/PROTOCOL, PORT (TCP) or PROTOCOL")
}

// reachWorld is what they look at: objects, their units, and the traffic in question.
type reachWorld struct {
	index   *index.Index
	objects *manifests.Result
	units   *reach.Map
	asked   packets.Space
}

// open reads the objects. The names are those that the command is given: workloads among
// them that have no running pod are looked for in a live cluster.
func (f *reachFlags) open(ctx context.Context, s streams, names ...string) (*reachWorld, error) {
	asked, err := f.port.space()
	if err != nil {
		return nil, err
	}
	f.in.wants(names...)
	ix, r, err := f.in.index(ctx, s)
	if err != nil {
		return nil, err
	}
	return newReachWorld(packets.NewEvaluator(ix), r, asked), nil
}

func newReachWorld(e *packets.Evaluator, r *manifests.Result, asked packets.Space) *reachWorld {
	return &reachWorld{e.Index(), r, reach.New(e.Index(), reach.Options{Workload: workloads(r), Evaluator: e}), asked}
}

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

// unitsOf finds the units that a name means.
func (w *reachWorld) unitsOf(name string) ([]*reach.Unit, error) {
	m := w.units
	if a, err := netip.ParseAddr(strings.TrimPrefix(name, "ip:")); err == nil {
		if a.Zone() != "" {
			return nil, fmt.Errorf("%q: an address with a zone has a meaning on one node only", name)
		}
		return []*reach.Unit{m.Address(a.Unmap())}, nil
	}
	of, isWorkload := workloadRef(name)
	kind, rest, ok := strings.Cut(name, ":")
	if isWorkload && (ok || of.Namespace != "" || len(m.Workload(name)) == 0) {
		return w.unitsOfWorkload(of)
	}
	if !ok {
		kind, rest = "pod", name
		if r, err := model.ParseRef(name); err == nil && (r.Kind == model.KindNode || r.Kind == model.KindHostEndpoint || r.Kind == model.KindPod) {
			kind, rest = strings.ToLower(string(r.Kind)), strings.TrimPrefix(name, string(r.Kind)+"/")
		}
	}
	var out []*reach.Unit
	var known []string
	switch strings.ToLower(kind) {
	case "namespace", "ns":
		for _, u := range m.Pods {
			known = append(known, u.Namespace)
			if u.Namespace == rest {
				out = append(out, u)
			}
		}
	case "node", "hostendpoint", "hep":
		for _, u := range m.Hosts {
			known = append(known, u.Members[0].Name)
			if u.Members[0].Name == rest {
				out = append(out, u)
			}
		}
	case "pod", "pods", "po":
		if ns, pod, ok := strings.Cut(rest, "/"); !ok || ns == "" || pod == "" || strings.Contains(pod, "/") {
			return nil, fmt.Errorf("%q: want NAMESPACE/NAME of a pod or workload, or -n NAMESPACE", name)
		}
		// The name of a workload means all its pods, also where they are several units.
		if out = m.Workload(rest); len(out) > 0 {
			break
		}
		for _, u := range m.Pods {
			for _, ref := range u.Members {
				known = append(known, ref.Namespace+"/"+ref.Name)
				if ref.Namespace+"/"+ref.Name == rest {
					e, _ := w.index.Endpoint(ref)
					out = append(out, m.Address(e.Addrs[0]))
				}
			}
		}
	default:
		return nil, fmt.Errorf("%q: want NAMESPACE/NAME, deploy:NAMESPACE/NAME, namespace:NAME, ip:ADDRESS, node:NAME or hostEndpoint:NAME", name)
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%q: nothing with this name has an address%s", name, nearest.Clause(rest, known))
	}
	return out, nil
}

// unitsOfWorkload finds the units of the pods of a workload.
func (w *reachWorld) unitsOfWorkload(ref model.Ref) ([]*reach.Unit, error) {
	pods, why := policytest.NewWorld(w.index, w.objects.All(), w.objects.Book).Pods(ref)
	if why != "" {
		return nil, fmt.Errorf("%s: %s", ref, why)
	}
	var out []*reach.Unit
	for _, u := range w.units.Pods {
		if slices.ContainsFunc(u.Members, func(pod model.Ref) bool { return slices.Contains(pods, pod) }) {
			out = append(out, u)
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%s: its pods have no addresses of their own", ref)
	}
	return out, nil
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
	return verdict.Decider(v)
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
	pc, err := policytest.ParseCase("--", "ip:192.0.2.1", "ip:192.0.2.1", p.text)
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
