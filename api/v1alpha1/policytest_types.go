package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// +kubebuilder:object:root=true

// PolicyTest is a file of expectations about verdicts, run by `tierwall test`.
// It is a file format: it is never stored in an API server.
type PolicyTest struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec PolicyTestSpec `json:"spec"`
}

// PolicyTestSpec lists the objects of a PolicyTest and the expectations about them.
type PolicyTestSpec struct {
	// Resources are files or folders with the objects, relative to the test's file.
	Resources []string `json:"resources,omitempty"`
	// Cases run in order, independently of each other.
	Cases []PolicyTestCase `json:"cases"`
}

// PolicyTestCase is one connection attempt and its expected verdict.
type PolicyTestCase struct {
	// Name of the case, for the report.
	Name string `json:"name"`
	// From is the sender.
	From PolicyTestPeer `json:"from"`
	// To is the receiver, with protocol and port.
	To PolicyTestTarget `json:"to"`
	// Expect is the expected result, Allow or Deny, of every connection that the case stands for.
	Expect Action `json:"expect"`
	// ExpectAudited is the expected result, Allow or Deny, if all policies with
	// enforcement Audit were enforced; empty means that it is not compared.
	ExpectAudited Action `json:"expectAudited,omitempty"`
	// In is where the packet arrives, as pod:namespace/name, interface:node/name or
	// node:name; empty means where the sender's address belongs.
	In string `json:"in,omitempty"`
	// Out is where it leaves, in the same form; empty means where the receiver's address belongs.
	Out string `json:"out,omitempty"`
	// DecidedBy is what must have decided, in either direction; unset fields are not compared.
	DecidedBy *DecidedBy `json:"decidedBy,omitempty"`
}

// PolicyTestPeer names an endpoint, or several pods. Exactly one field is set, except
// that Namespace and Selector may be combined.
type PolicyTestPeer struct {
	// Pod as namespace/name, or the name of a workload, which stands for its pods.
	Pod string `json:"pod,omitempty"`
	// IP address, known or not.
	IP string `json:"ip,omitempty"`
	// HostEndpoint by name.
	HostEndpoint string `json:"hostEndpoint,omitempty"`
	// Node by name.
	Node string `json:"node,omitempty"`
	// Namespace stands for each pod in it that has an address of its own; with
	// Selector, for those of them that it matches.
	Namespace string `json:"namespace,omitempty"`
	// Selector, in the language of policies, stands for each pod that it matches by the
	// pod's labels: in Namespace, or in all namespaces if that is empty.
	Selector string `json:"selector,omitempty"`
	// Service as namespace/name; receivers only. The port is one of the Service's, by its
	// number or name, and may be omitted if it has only one. The case must hold for
	// each of its endpoints.
	Service string `json:"service,omitempty"`
}

// PolicyTestTarget is a peer and the traffic sent to it.
type PolicyTestTarget struct {
	PolicyTestPeer `json:",inline"`
	// Protocol: TCP (default), UDP, SCTP, ICMP, ICMPv6 or an IANA number.
	Protocol *intstr.IntOrString `json:"protocol,omitempty"`
	// Port number or the name of a port of the receiver, for TCP, UDP and SCTP.
	Port *intstr.IntOrString `json:"port,omitempty"`
	// Ports stand for one connection to each of them; cannot be combined with Port.
	Ports []intstr.IntOrString `json:"ports,omitempty"`
	// SourcePort of the sender; unset means an ephemeral one.
	SourcePort *int32 `json:"sourcePort,omitempty"`
	// ICMPType of an ICMP probe; default echo request.
	ICMPType *int `json:"icmpType,omitempty"`
	// ICMPCode of an ICMP probe; default 0.
	ICMPCode *int `json:"icmpCode,omitempty"`
	// IPVersion picks the address of dual-stack peers, 4 or 6; unset means the
	// first family that both peers have, IPv4 before IPv6.
	IPVersion *int `json:"ipVersion,omitempty"`
}

// DecidedBy is the expected origin of the verdict of each direction.
type DecidedBy struct {
	Egress  *Decider `json:"egress,omitempty"`
	Ingress *Decider `json:"ingress,omitempty"`
}

// Decider names what decided one direction; unset fields are not compared.
type Decider struct {
	// Tier by name.
	Tier string `json:"tier,omitempty"`
	// Policy as Kind/name or Kind/namespace/name.
	Policy string `json:"policy,omitempty"`
	// Rule is the index from 0, "end-of-tier" or "default".
	Rule *intstr.IntOrString `json:"rule,omitempty"`
}
