// Package cluster is the agent's Source in a Kubernetes cluster: it delivers
// what the API server holds, and goes on delivering what changes.
//
//	reflector and reader of a kind ──→ store.put, trim ──→ ownLayer ──→ layers ──→ agent.Sink
//	(pods, policies, …; run.go, watch.go)              └─→ foreignLayer ──┘
//	definitions ──→ which kinds are read
//
// A reflector of client-go lists and watches each kind; it streams the list
// where the server can. Every object is cut down to what package convert reads
// (digest.go, lean.go) and passed on at once; the store (store.go) keeps the names of what
// there is and a hash of the content of each, no objects. So an object that
// changed only in what nothing reads (a status, a heartbeat) is dropped, and memory
// per pod is that of package index.
//
// Kinds that are CustomResourceDefinitions come and go with them (definitions.go). Each
// kind has a reflector of its own (run.go), which source.go starts and stops.
// Calico's objects are translated, and the automatic host endpoints made, in
// layers below the cluster's own Tierwall objects (layers.go).
//
// While the API server does not answer, one request of all probes it, and the others
// follow when that is answered (gate.go).
//
// Synced is called once every kind that there is has been read in full. While the
// API server cannot be reached the last state stands, and the errors are
// reported (status.go) until all is well again.
//
// Not here: what objects mean (packages convert and policy), and writing to
// the cluster.
package cluster
