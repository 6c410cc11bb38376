package startup

import (
	"net/netip"

	corev1 "k8s.io/api/core/v1"

	"github.com/tierwall/tierwall/dataplane/links"
	"github.com/tierwall/tierwall/policy/model"
)

// Follow returns a Reader that has the Overlay learn what another one reads: which of
// the pods' addresses an interface leads to. The agent reads by it.
func (o *Overlay) Follow(r links.Reader) links.Reader { return &follower{r, o} }

// follower is a Reader of which an Overlay learns.
type follower struct {
	links.Reader
	o *Overlay
}

// Read implements links.Reader.
func (f *follower) Read(pods links.Pods) (*model.Links, error) {
	l, err := f.Reader.Read(pods)
	if err == nil {
		f.o.read(pods, l)
	}
	return l, err
}

// read takes what the kernel lists of these pods.
func (o *Overlay) read(pods links.Pods, l *model.Links) {
	linked := make(map[netip.Addr]bool, len(l.Pods))
	for _, p := range l.Pods {
		linked[p.Addr] = true
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	before := o.graves.attached
	o.graves.attached = make(map[netip.Addr]attachment, len(pods))
	for a, pod := range pods {
		was := before[a]
		o.graves.attached[a] = attachment{pod: pod, now: linked[a], once: linked[a] || was.once && was.pod == pod}
	}
	o.graves.book.Link(func(a netip.Addr) bool { _, asked := pods[a]; return asked }, func(a netip.Addr) bool { return linked[a] })
	for _, a := range l.Addrs {
		if usable(a.Addr) {
			o.graves.owned([]netip.Addr{a.Addr}, true)
		}
	}
	o.deliver()
}

// nodeUpserted takes a Node's addresses: no ghost has them any more.
func (o *Overlay) nodeUpserted(n *corev1.Node) {
	here := n.Name == o.opts.Node
	if !here && o.graves.book.Len() == 0 {
		return
	}
	var addrs []netip.Addr
	for _, a := range n.Status.Addresses {
		addrs = appendAddr(addrs, a.Address)
	}
	if here {
		clear(o.graves.own)
		for _, a := range addrs {
			o.graves.own[a] = struct{}{}
		}
	}
	o.graves.owned(addrs, here)
}
