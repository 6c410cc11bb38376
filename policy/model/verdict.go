package model

import (
	"fmt"
	"net/netip"
	"strconv"
)

// Flow is the first packet of a connection. Replies and related ICMP errors of
// an allowed connection need no verdict of their own.
type Flow struct {
	Src      netip.Addr `json:"src"`
	Dst      netip.Addr `json:"dst"`
	Protocol Protocol   `json:"protocol"`
	// SrcPort and DstPort of protocols that have them.
	SrcPort uint16 `json:"srcPort,omitempty"`
	DstPort uint16 `json:"dstPort,omitempty"`
	// ICMPType and ICMPCode of ICMP and ICMPv6.
	ICMPType uint8 `json:"icmpType,omitempty"`
	ICMPCode uint8 `json:"icmpCode,omitempty"`
	// In is where the packet arrives: by the interface of a Pod, by an Interface of a
	// node, or from the Node itself. Zero means where Src and the routes say, so that
	// the packet has the address of its actual sender. With In, the packet is as it is
	// on that link, not routed yet.
	In Ref `json:"in,omitzero"`
	// Out is where it leaves: by the interface of a Pod, by an Interface of a node, or
	// to the Node itself. Zero means where Dst and the routes say; for a packet that
	// arrives by an interface with a multicast, broadcast or IPv6 link-local
	// destination, it is the copy that the node itself receives.
	Out Ref `json:"out,omitzero"`
}

// NamesLinks reports whether the flow names an interface by which its packets arrive or
// leave.
func (f *Flow) NamesLinks() bool { return f.In.Kind != "" || f.Out.Kind != "" }

// Stage is the point on a packet's path at which an endpoint's policy is applied.
type Stage string

// The stages.
const (
	// StageWorkload is a pod's own policy.
	StageWorkload Stage = "workload"
	// StageHost is a host endpoint's policy for traffic that starts or ends at the host.
	StageHost Stage = "host"
	// StageForward is a host endpoint's applyOnForward policy for traffic through the host.
	StageForward Stage = "forward"
	// StagePreDNAT is a host endpoint's policy before destination NAT.
	StagePreDNAT Stage = "preDNAT"
	// StageUntracked is a host endpoint's doNotTrack policy.
	StageUntracked Stage = "untracked"
	// StageSelf is the part of a pod's policy that governs what the pod sends itself
	// through a Service. Verdicts name it StageWorkload.
	StageSelf Stage = "self"
	// StageToHost is traffic from a pod to its own node, after the pod's egress.
	StageToHost Stage = "toHost"
)

// Reason is the reason for a verdict in one word.
type Reason string

// The reasons.
const (
	// ReasonRule: a rule allowed or denied.
	ReasonRule Reason = "Rule"
	// ReasonEndOfTier: a policy of the tier selects the endpoint and no rule decided.
	ReasonEndOfTier Reason = "EndOfTier"
	// ReasonDefault: no tier decided; the endpoint's default did.
	ReasonDefault Reason = "Default"
	// ReasonNoEndpoint: the address belongs to no endpoint on this side, so no policy
	// applies.
	ReasonNoEndpoint Reason = "NoEndpoint"
	// ReasonFailsafe: a failsafe port of the host.
	ReasonFailsafe Reason = "Failsafe"
	// ReasonOwnNode: a node can always reach its own pods.
	ReasonOwnNode Reason = "OwnNode"
	// ReasonLoopback: an endpoint can always reach itself.
	ReasonLoopback Reason = "Loopback"
	// ReasonEndpointToHost: Tierwall's endpointToHostAction decided.
	ReasonEndpointToHost Reason = "EndpointToHost"
	// ReasonUnknownWorkload: the address is in a node's pod CIDRs and belongs to no
	// known endpoint. With Policy Guard/link, it is any other address on a pod's
	// interface.
	ReasonUnknownWorkload Reason = "UnknownWorkload"
	// ReasonGuard: one of the Guards drops the packet; Policy names it.
	ReasonGuard Reason = "Guard"
	// ReasonLinkService: traffic that a link cannot work without passes before policy:
	// neighbour discovery, multicast listeners, DHCP.
	ReasonLinkService Reason = "LinkService"
	// ReasonNoServiceEndpoint: traffic to a Service's address reaches no endpoint,
	// because the Service has none or not this port. The cluster's service proxy
	// rejects or drops it.
	ReasonNoServiceEndpoint Reason = "NoServiceEndpoint"
	// ReasonGhost: the pod's object is gone and its sandbox may still be running.
	ReasonGhost Reason = "Ghost"
	// ReasonPastBudget: the pod is past the budget of its node, and denied all.
	ReasonPastBudget Reason = "PastBudget"
)

// RuleIndex is the index of a rule from 0, or one of the two values below.
type RuleIndex int

const (
	// RuleEndOfTier stands for the tier's default action.
	RuleEndOfTier RuleIndex = -1
	// RuleDefault means that no tier decided.
	RuleDefault RuleIndex = -2
)

// String is the index, end-of-tier or default.
func (i RuleIndex) String() string {
	switch i {
	case RuleEndOfTier:
		return "end-of-tier"
	case RuleDefault:
		return "default"
	}
	return strconv.Itoa(int(i))
}

// MarshalText writes the index as String does.
func (i RuleIndex) MarshalText() ([]byte, error) { return []byte(i.String()), nil }

// UnmarshalText reads what MarshalText writes.
func (i *RuleIndex) UnmarshalText(b []byte) error {
	switch s := string(b); s {
	case RuleEndOfTier.String():
		*i = RuleEndOfTier
	case RuleDefault.String():
		*i = RuleDefault
	default:
		n, err := strconv.ParseUint(s, 10, 31)
		if err != nil {
			return fmt.Errorf("unsupported rule %q: want an index from 0, end-of-tier or default", b)
		}
		*i = RuleIndex(n)
	}
	return nil
}

// Verdict is the result of one endpoint's policy in one direction, and its reason. The
// data plane's counters and log lines, explain, tests and diff all use it.
type Verdict struct {
	// Action is Allow or Deny. At stages preDNAT and untracked it may be NoAction:
	// nothing decided there, so the later stages do.
	Action    Action    `json:"action"`
	Direction Direction `json:"direction"`
	Stage     Stage     `json:"stage"`
	// Endpoint whose policy it is; zero if the address belongs to none.
	Endpoint Ref    `json:"endpoint,omitzero"`
	Reason   Reason `json:"reason"`
	// Tier, Policy and Rule that decided. With RuleEndOfTier, Policy is the last one in
	// the tier that selects the endpoint in this direction. With RuleDefault, Tier and
	// Policy are empty, unless a guard decided: then Policy is the guard.
	Tier   string    `json:"tier,omitempty"`
	Policy Ref       `json:"policy,omitzero"`
	Rule   RuleIndex `json:"rule"`
	// RuleName is the name of the deciding rule, if it has one.
	RuleName string `json:"ruleName,omitempty"`
	// Audit is the verdict if the audited policies were enforced, if that differs in
	// its action or in what decides; otherwise nil.
	Audit *Verdict `json:"audit,omitempty"`
}

// Decision is the result for a connection attempt: every stage that it passes, in
// order, up to the first that denies it.
type Decision struct {
	Flow   Flow   `json:"flow"`
	Action Action `json:"action"`
	// Stages that were evaluated, egress stages before ingress stages.
	Stages []Verdict `json:"stages"`
}

// Deciding returns the verdict that decided one direction: the denial if a stage of
// that direction denies; otherwise that of the endpoint's own stage (workload, host,
// toHost), or the one that allowed in its place. The result is false if the connection
// was denied before that direction was reached, or if nothing in that direction had to
// be evaluated.
func (d *Decision) Deciding(dir Direction) (v Verdict, ok bool) {
	for _, s := range d.Stages {
		if s.Direction != dir || s.Action == NoAction {
			continue
		}
		if s.Action == Deny {
			return s, true
		}
		if own := s.Stage == StageWorkload || s.Stage == StageHost || s.Stage == StageToHost; own || !ok {
			v, ok = s, true
		}
	}
	return v, ok
}
