package links

import (
	"context"
	"net/netip"

	"github.com/tierwall/tierwall/policy/model"
)

// Pods are the addresses of a node's own pods, and whose each of them is. The
// kernel does not tell pods' addresses from others'.
type Pods map[netip.Addr]model.Ref

// Reader reads the Links of a node.
type Reader interface {
	// Read returns what the kernel reports now, without the node's name, and with
	// PodLinks of these pods only. Equal reports give equal Links. It takes some
	// milliseconds, longer where there are many thousand routes. One call at a
	// time. After an error nothing is known to have changed.
	Read(pods Pods) (*model.Links, error)
	// Watch calls changed after each change of links, addresses or routes, and
	// when notifications were lost, until the context ends; then it returns nil.
	// Several changes may have one call. Changes of neighbours have none: whoever
	// waits for a pod's port reads again a little later. changed must not block.
	Watch(ctx context.Context, changed func()) error
}
