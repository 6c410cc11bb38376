package cmd

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/policy/index"
	"github.com/tierwall/tierwall/policy/model"
	"github.com/tierwall/tierwall/policy/policytest"
)

func newExplainCommand(s streams) *cobra.Command {
	var in inputFlags
	var out outputFlag
	var ns namespaceFlag
	var from, to, port, comes, leaves string
	var icmpType, icmpCode, ipVersion int
	var brief bool
	c := &cobra.Command{
		Use:   "explain --from X --to Y --port PORT/PROTOCOL",
		Short: "Say what decides a connection, and why",
		Long: `Explain follows a connection attempt through every stage, tier, policy and rule:
what matched, what was passed over and for which reason, and what decided.

X and Y are pod:NAMESPACE/NAME (or just NAMESPACE/NAME), ip:ADDRESS (or just the
address), hostEndpoint:NAME or node:NAME, or references as Tierwall prints them,
such as Pod/shop/frontend. Y can be svc:NAMESPACE/NAME too, or domain:NAME (or just the
name, with a dot in it): a DNS name, for each of the addresses that DNSAnswers among the
manifests have for it. PORT is a number or the
name of one of the receiver's ports; PROTOCOL is TCP unless given. For protocols
without ports give the protocol alone: --port ICMP, with --icmp-type and --icmp-code.

What is sent to an address of a Service (its cluster address, an external one, a node
port) is explained for each of the Service's endpoints, as the cluster translates it.

A packet need not come and leave as its addresses say. --in names where it comes in:
pod:NAMESPACE/NAME for that pod's interface, interface:NODE/NAME for another one,
node:NAME for what the node itself sends; --out names where it leaves, likewise. So
forged sources, link-local addresses, multicast and neighbour discovery can be asked
about. What goes to a multicast, broadcast or IPv6 link-local address is what the
node of --in gets, unless --out names another receiver.

The exit status is 0 if the connection is allowed, 1 if it is denied.`,
		Example: `  tierwall explain -f config/samples --from pod:shop/frontend --to pod:payments/payments-api --port 8443/TCP
  tierwall explain -f config/samples --from 203.0.113.7 --to node:node-a --port 22
  tierwall explain -f test/scenarios/dns-names --from shop/frontend --to api.example.com --port 443
  tierwall explain --in pod:shop/frontend --from ip:fe80::a --to ip:ff02::fb --port 5353/UDP --out pod:shop/cart`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			namespace := ns.of(&in)
			pc, err := explainCase(qualify(namespace, from), qualify(namespace, to), port)
			if err != nil {
				return err
			}
			optional(&pc.To.ICMPType, c.Flags().Changed("icmp-type"), icmpType)
			optional(&pc.To.ICMPCode, c.Flags().Changed("icmp-code"), icmpCode)
			optional(&pc.To.IPVersion, c.Flags().Changed("ip-version"), ipVersion)
			ix, r, err := in.index(c.Context(), s)
			if err != nil {
				return err
			}
			world := policytest.NewWorld(ix, r.All(), r.Book)
			a, err := world.Attempt(pc)
			if err != nil {
				return explainFault(err)
			}
			if a.Flow.In, err = parseLink(ix, "--in", qualify(namespace, comes)); err != nil {
				return err
			}
			if a.Flow.Out, err = parseLink(ix, "--out", qualify(namespace, leaves)); err != nil {
				return err
			}
			if a.Flow.NamesLinks() { // what is asked about is the packet as it is there
				a = policytest.Attempt{Flow: a.Flow}
			}
			return writeExplanations(s, &out, world, &a, world.Explain(&a), brief)
		},
	}
	in.register(c.Flags())
	ns.register(c.Flags())
	out.register(c.Flags())
	c.Flags().StringVar(&from, "from", "", "sender: pod:NAMESPACE/NAME, ip:ADDRESS, hostEndpoint:NAME or node:NAME")
	c.Flags().StringVar(&to, "to", "", "receiver, likewise, or svc:NAMESPACE/NAME or domain:NAME")
	c.Flags().StringVar(&port, "port", "", "PORT/PROTOCOL, PORT (TCP), or a PROTOCOL without ports")
	c.Flags().StringVar(&comes, "in", "", "where the packet comes in: pod:NAMESPACE/NAME, interface:NODE/NAME or node:NAME; default as the sender's address says")
	c.Flags().StringVar(&leaves, "out", "", "where it leaves, likewise; default as the receiver's address says")
	c.Flags().IntVar(&icmpType, "icmp-type", 0, "ICMP type; default echo request")
	c.Flags().IntVar(&icmpCode, "icmp-code", 0, "ICMP code; default 0")
	c.Flags().IntVar(&ipVersion, "ip-version", 0, "4 or 6, for peers that have both; default 4 where both have it")
	c.Flags().BoolVar(&brief, "brief", false, "leave out the rules that were passed over")
	complete := completer{s, &in}
	complete.register(c)
	for _, f := range []string{"from", "to", "in", "out"} {
		complete.flag(c, f, peerNames)
	}
	for _, f := range []string{"from", "to", "port"} {
		_ = c.MarkFlagRequired(f) // fails only for a flag that does not exist
	}
	return c
}

func optional(p **int, set bool, v int) {
	if set {
		*p = &v
	}
}

// explainCase reads the flags as a policy test's case, so that both mean the same.
func explainCase(from, to, port string) (*v1alpha1.PolicyTestCase, error) {
	pc := &v1alpha1.PolicyTestCase{Name: "explain", Expect: v1alpha1.Allow}
	var err error
	if pc.From, err = parsePeer("--from", from); err != nil {
		return nil, err
	}
	if pc.To.PolicyTestPeer, err = parsePeer("--to", to); err != nil {
		return nil, err
	}
	number, protocol, both := strings.Cut(port, "/")
	if !both {
		if p, err := model.ParseProtocol(port); err == nil && strings.Trim(port, "0123456789") != "" {
			if p.HasPorts() {
				return nil, fmt.Errorf("--port %s: %s needs a port: want PORT/%s", port, p, p)
			}
			number, protocol = "", port
		}
	}
	if protocol != "" {
		p := intstr.Parse(protocol)
		pc.To.Protocol = &p
	}
	if number != "" {
		p := intstr.Parse(number)
		pc.To.Port = &p
	}
	return pc, nil
}

func parsePeer(flag, s string) (p v1alpha1.PolicyTestPeer, err error) {
	if _, err := netip.ParseAddr(s); err == nil {
		return v1alpha1.PolicyTestPeer{IP: s}, nil
	}
	kind, rest, ok := strings.Cut(s, ":")
	if !ok {
		kind, rest = "pod", s
		if !strings.Contains(s, "/") && strings.Contains(s, ".") { // as no pod is called without its namespace
			kind = "domain"
		}
		// As Tierwall prints it. No namespace is called like a kind, with a capital.
		if r, err := model.ParseRef(s); err == nil {
			switch r.Kind {
			case model.KindPod, model.KindHostEndpoint, model.KindNode, model.KindService:
				kind, rest = string(r.Kind), strings.TrimPrefix(s, string(r.Kind)+"/")
			case "svc", "service", "services": // as kubectl has it
				kind = string(model.KindService)
			}
			if r.Kind == model.KindService && r.Namespace == "" {
				rest = s
			}
		}
	}
	switch strings.ToLower(kind) {
	case "pod":
		p.Pod = rest
	case "ip":
		p.IP = rest
	case "hostendpoint", "hep":
		p.HostEndpoint = rest
	case "node":
		p.Node = rest
	case "svc", "service":
		p.Service = rest
	case "domain":
		p.Domain = rest
	default:
		return p, fmt.Errorf("%s %q: want pod:NAMESPACE/NAME, ip:ADDRESS, hostEndpoint:NAME, node:NAME, svc:NAMESPACE/NAME or domain:NAME", flag, s)
	}
	if rest == "" {
		return p, fmt.Errorf("%s %q: the name is missing", flag, s)
	}
	return p, nil
}

// parseLink reads where a packet comes in or leaves; empty: as its address says.
func parseLink(ix *index.Index, flag, s string) (model.Ref, error) {
	if s == "" {
		return model.Ref{}, nil
	}
	r, err := model.ParseRef(s)
	if kind, rest, ok := strings.Cut(s, ":"); ok {
		r, err = model.ParseRef(kind + "/" + rest)
	} else if err != nil || r.Namespace == "" && r.Kind != model.KindNode {
		r, err = model.ParseRef(string(model.KindPod) + "/" + s)
	}
	node := r.Name
	switch strings.ToLower(string(r.Kind)) {
	case "pod":
		r.Kind = model.KindPod
		e, ok := ix.Endpoint(r)
		switch {
		case err != nil || r.Namespace == "":
			err = errors.New("no namespace")
		case !ok:
			return r, fmt.Errorf("%s %q: there is no pod %s/%s with an interface of its own", flag, s, r.Namespace, r.Name)
		case e.Node == "":
			return r, fmt.Errorf("%s %q: the pod is on no node that is known", flag, s)
		default:
			return r, nil
		}
	case "interface":
		r.Kind, node = model.KindInterface, r.Namespace
	case "node":
		r.Kind = model.KindNode
	default:
		err = errors.New("unsupported kind")
	}
	if err != nil || (r.Kind == model.KindInterface) != (r.Namespace != "") {
		return r, fmt.Errorf("%s %q: want pod:NAMESPACE/NAME, interface:NODE/NAME or node:NAME", flag, s)
	}
	if ix.Node(node) == nil {
		return r, fmt.Errorf("%s %q: there is no node %q", flag, s, node)
	}
	return r, nil
}

// explainFault speaks of flags where policy tests speak of fields.
func explainFault(err error) error {
	var fe *policytest.FieldError
	if !errors.As(err, &fe) {
		return err
	}
	flag := map[string]string{
		"to.port": "--port", "to.protocol": "--port", "to.icmpType": "--icmp-type", "to.icmpCode": "--icmp-code", "to.ipVersion": "--ip-version",
	}[fe.Field]
	if flag == "" {
		side, _, _ := strings.Cut(fe.Field, ".")
		flag = "--" + side
	}
	return fmt.Errorf("%s: %s", flag, fe.Message)
}
