// Package ghosts keeps the ghosts of a node: local pods whose object is gone while
// their containers may still run.
//
//	pods that are deleted ──→ Book ──→ convert.Ghost ──→ agent
//	sandboxes, links, new owners, time ──↗
//
// An object can be deleted before its containers end (kubectl delete --force, a
// finalizer's owner, a pod that is collected while its node is away). A pod ends with its
// sandbox, so its addresses stay denied until one of these ends them:
//
//   - the container runtime reports that the sandbox has stopped;
//   - the interface or route that led to the address is gone;
//   - a pod or node has the address: any on this node; one elsewhere only where no
//     interface of this node still leads to the ghost;
//   - nothing shows that the pod runs, and its grace period and a [Margin] are over,
//     at most [Longest].
//
// While the runtime reports the sandbox as running, or an interface still leads to
// the address, no time ends it.
//
// A ghost is an address that may send and get nothing; see policy/index/ghosts.go for why it
// does not keep its pod's policies. So ghosts cost one entry of a map in the kernel
// each. Their number is bounded all the same: beyond [MaxNamed] the addresses of
// further ones are one ghost together, so that many ghosts open none of them.
//
// The package is pure: it reads no clock and calls nothing.
//
// The files: book.go (what begins and ends ghosts), output.go (what has changed),
// state.go (a book as a file).
package ghosts
