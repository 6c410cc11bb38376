// Package cluster is the agent's Source in a Kubernetes cluster: it delivers
// what the API server holds, and goes on delivering what changes.
//
//	reflectors (one a kind) ──→ lean ──→ store ──→ layers ──→ agent.Sink
//	CRD names ──→ which reflectors run          ↑
//	                    Calico's objects, automatic host endpoints
//
// A reflector of client-go lists and watches each kind; it streams the list
// where the server can. Every object is cut down to what package convert reads
// (lean.go) and handed on at once; the store (store.go) keeps the names of what
// there is and a hash of what was said of each, no objects. So an object that
// changed in what nobody reads (a status, a heartbeat) is not news, and memory
// per pod is that of package index.
//
// Kinds that are CustomResourceDefinitions come and go with them (source.go).
// Calico's objects are translated, and the automatic host endpoints made, in
// layers below the cluster's own Tierwall objects (layers.go).
//
// While nobody answers, one request of all tries again, and the others follow when
// it is let in (gate.go).
//
// Synced is said once every kind that there is has been read in full. While the
// API server cannot be reached the last state stands, and the errors are
// reported (status.go) until all is well again.
//
// Not here: what objects mean (packages convert and policy), and writing to
// the cluster.
package cluster
