// Package cluster is the agent's Source in a Kubernetes cluster: it delivers the API
// server's objects, and then their changes.
//
//	reflectors (one per kind) ──→ lean ──→ store ──→ layers ──→ agent.Sink
//	CRD names ──→ which reflectors run            ↑
//	                      Calico's objects, automatic host endpoints
//
// A reflector of client-go lists and watches each kind; it streams the list if the
// server can. Every object is reduced to what package convert reads (lean.go) and
// passed on at once. The store (store.go) keeps the names of the objects and a hash of
// what was delivered of each, but no objects. So a change of fields that nothing reads
// (a status, a heartbeat) is discarded, and memory per pod is that of package index.
//
// Kinds that are CustomResourceDefinitions come and go with them (source.go). Calico's
// objects are translated, and the automatic host endpoints made, in layers below the
// cluster's own Tierwall objects (layers.go).
//
// While the API server does not answer, a single request retries, and the others follow
// when it succeeds (gate.go).
//
// Synced is called once every existing kind has been read in full. While the API server
// cannot be reached, the last state stands, and the errors are reported (status.go)
// until all is well again.
//
// The meaning of objects (packages convert and policy) and writing to the cluster are
// not handled here.
package cluster
