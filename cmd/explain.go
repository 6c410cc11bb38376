package cmd

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
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
		Short: "Show what decides a connection, and why",
		Long: `Explain follows a connection attempt through every stage, tier, policy and rule: what
matched, what did not match and why, and what decided.

X and Y are NAMESPACE/NAME of a pod or workload (also pod:NAMESPACE/NAME or
deploy:NAMESPACE/NAME), an IP address, node:NAME, hostEndpoint:NAME, or a reference as
Tierwall prints it, such as Pod/shop/frontend. Y can also be svc:NAMESPACE/NAME, or a DNS
name (also domain:NAME), which is explained for each of its addresses: those of the
DNSAnswers among the manifests and, of a live cluster, those that the sender's node has
learnt. PORT is a number or the name of one of the receiver's ports;
PROTOCOL is TCP by default. For a protocol without ports, give it alone: --port ICMP,
with --icmp-type and --icmp-code.

A connection to an address of a Service (cluster address, external address or node
port) is explained for each endpoint of the Service, after address translation.

A packet need not come in and leave where its addresses belong. --in names where it
comes in: pod:NAMESPACE/NAME for the interface of that pod, interface:NODE/NAME for any
other interface, or node:NAME for packets that the node itself sends. --out names where
it leaves, in the same way. Use them for forged source addresses, link-local addresses,
multicast and neighbour discovery. A packet to a multicast, broadcast or IPv6 link-local
address is explained as the node of --in receives it, unless --out names a receiver.

Of a live cluster, where rules by DNS name apply on the sender's node, explain reads what
the agent there has learnt, by running "tierwall names" in its pod (the right to create
pods/exec), and prints which name has brought the address, when, and until when.

The exit status is 0 if the connection is allowed, 1 if it is denied.`,
		Example: `  tierwall explain -f config/samples --from pod:shop/frontend --to pod:payments/payments-api --port 8443/TCP
  tierwall explain -f config/samples --from 203.0.113.7 --to node:node-a --port 22
  tierwall explain --in pod:shop/frontend --from ip:fe80::a --to ip:ff02::fb --port 5353/UDP --out pod:shop/cart`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			namespace := ns.of(&in)
			pc, err := policytest.ParseCase("--", qualify(namespace, from), qualifyReceiver(namespace, to), port)
			if err != nil {
				return err
			}
			optional(&pc.To.ICMPType, c.Flags().Changed("icmp-type"), icmpType)
			optional(&pc.To.ICMPCode, c.Flags().Changed("icmp-code"), icmpCode)
			optional(&pc.To.IPVersion, c.Flags().Changed("ip-version"), ipVersion)
			in.wants(qualify(namespace, from), qualifyReceiver(namespace, to))
			ix, r, err := in.index(c.Context(), s)
			if err != nil {
				return err
			}
			node := in.learnFromAgent(c.Context(), s, ix, r, &pc.From)
			world := policytest.NewWorld(ix, r.All(), r.Book)
			a, err := world.Attempt(pc)
			if err != nil {
				return explainFault(unknownDomain(err, node, pc.To.Domain))
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
	c.Flags().StringVar(&from, "from", "", "sender: NAMESPACE/NAME of a pod or workload, an address, node:NAME or hostEndpoint:NAME")
	c.Flags().StringVar(&to, "to", "", "receiver: the same, svc:NAMESPACE/NAME or a DNS name")
	c.Flags().StringVar(&port, "port", "", "PORT/PROTOCOL, PORT (TCP), or a PROTOCOL without ports")
	c.Flags().StringVar(&comes, "in", "", "where the packet comes in: pod:NAMESPACE/NAME, interface:NODE/NAME or node:NAME; by default where the sender's address belongs")
	c.Flags().StringVar(&leaves, "out", "", "where the packet leaves, in the same form; by default where the receiver's address belongs")
	c.Flags().IntVar(&icmpType, "icmp-type", 0, "ICMP type; default echo request")
	c.Flags().IntVar(&icmpCode, "icmp-code", 0, "ICMP code; default 0")
	c.Flags().IntVar(&ipVersion, "ip-version", 0, "4 or 6, if both peers have both; default 4")
	c.Flags().BoolVar(&brief, "brief", false, "leave out rules that did not match")
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
			return r, fmt.Errorf("%s %q: the node of the pod is unknown", flag, s)
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
