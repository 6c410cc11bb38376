// Package cluster is the agent's Source in a Kubernetes cluster: it delivers the API
// server's objects, and then their changes.
//
//	reflector and reader of a kind ──→ store.put, trim ──→ ownLayer ──→ layers ──→ agent.Sink
//	(pods, policies, …; run.go, watch.go)              └─→ foreignLayer ──┘
//	definitions ──→ which kinds are read
//
// A reflector of client-go lists and watches each kind; it streams the list if the
// server can. Every object is reduced to what package convert reads (digest.go, lean.go)
// and passed on at once. The store (store.go) keeps the names of the objects and a hash of
// the content of each, but no objects. So a change of fields that nothing reads (a status,
// a heartbeat) is discarded, and memory per pod is that of package index.
//
// Kinds that are CustomResourceDefinitions come and go with them (definitions.go). Each
// kind has its own reflector (run.go), which source.go starts and stops. Calico's objects
// are translated, and the automatic host endpoints made, in layers below the cluster's own
// Tierwall objects (layers.go).
//
// While the API server does not answer, a single request probes it, and the others follow
// when it succeeds (gate.go).
//
// Synced is called once every existing kind has been read in full. While the API server
// cannot be reached, the last state stands, and the errors are reported (status.go)
// until all is well again.
//
// The meaning of objects (packages convert and policy) and writing to the cluster are
// not handled here.
package cluster
