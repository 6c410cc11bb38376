// Package startup has new pods known before the kubelet reports their addresses.
//
//	container runtime ──→ package nri ──→ Overlay ──→ agent (its node's kernel)
//	                                         └──────→ ReportWriter ──→ PodAddressReport ──→ the Overlays of all other nodes
//
// A pod has its addresses once its sandbox, the network namespace that its
// containers share, is there. The API server learns of them a second or so later,
// when the kubelet reports the pod's status. Until then no agent could tell the
// pod's packets from those of an unknown workload. [Overlay] stands between an agent and its
// source and fills that gap: a pod of this node counts as having the addresses that
// the runtime has given it, and one of another node those that this node's agent
// announces. Everything else about a pod (labels, service account, named ports)
// is the API server's word alone.
//
// An address that is known early counts until the pod's status says something
// else than it did before, until its sandbox stops, or until the pod is gone.
// What other nodes announce counts for pods of that node that have no address in
// their status, and not for addresses that belong to pods of other nodes, or to
// nodes.
//
// A pod of this node ends with its sandbox, and not with its object: until then it is
// a ghost, whose addresses are denied (bury.go and attach.go, package ghosts). What is
// known of the node's pods is kept for the next agent (keep.go).
//
// Not here: talking to the container runtime (package nri), and how packets of
// addresses are judged that nobody knows (dataplane, unknownWorkloads).
package startup
