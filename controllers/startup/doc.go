// Package startup makes new pods known before the kubelet reports their addresses.
//
//	container runtime ──→ package nri ──→ Overlay ──→ agent (its node's kernel)
//	                                         └──────→ ReportWriter ──→ PodAddressReport ──→ the Overlays of all other nodes
//
// A pod has its addresses once its sandbox exists, the network namespace that its
// containers share. The API server learns them about a second later, when the kubelet
// reports the pod's status. Until then, an agent cannot tell the pod's packets from
// those of an unknown workload. [Overlay] is placed between an agent and its source and
// fills that gap: a pod of this node counts as having the addresses that the runtime
// has given it, and a pod of another node those that its node's agent announces.
// Everything else about a pod (labels, service account, named ports) comes from the API
// server alone.
//
// An address that is known early counts until the pod's status changes, its sandbox
// stops, or the pod is gone. Announcements of other nodes count for pods of that node
// that have no address in their status, and not for addresses that belong to pods of
// other nodes, or to nodes.
//
// A pod of this node ends with its sandbox, and not with its object: until then it is a
// ghost, whose addresses are denied (bury.go and attach.go, package ghosts). The state
// of the node's pods is saved for the next agent (keep.go).
//
// Not handled here: talking to the container runtime (package nri), and the treatment
// of packets with unknown addresses (dataplane, unknownWorkloads).
package startup
