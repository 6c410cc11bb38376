package links

import (
	"context"
	"net/netip"

	"github.com/tierwall/tierwall/policy/model"
)

// Pods are the addresses of a node's own pods, with the pod of each. The kernel does
// not distinguish pods' addresses from others.
type Pods map[netip.Addr]model.Ref

// Reader reads the Links of a node.
type Reader interface {
	// Read returns what the kernel reports now, without the node's name, and with
	// PodLinks of these pods only. Equal reports give equal Links. It takes a few
	// milliseconds, and longer with many thousand routes. Calls must not overlap. After
	// an error, nothing is known to have changed.
	Read(pods Pods) (*model.Links, error)
	// Watch calls changed after each change of links, addresses or routes, and when
	// notifications were lost, until the context ends; then it returns nil. Several
	// changes may be combined into one call. Changes of neighbours cause no call: to
	// wait for a pod's port, read again a little later. changed must not block.
	Watch(ctx context.Context, changed func()) error
}
