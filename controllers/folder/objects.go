package folder

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/tierwall/tierwall/controllers/manifests"
	"github.com/tierwall/tierwall/policy/convert"
	"github.com/tierwall/tierwall/policy/model"
)

// merge combines the good contents of all files, and adds what they leave out: the node,
// namespaces and automatic host endpoints.
func (f *Source) merge(paths []string) (map[model.Ref]runtime.Object, []error) {
	all := &manifests.Result{}
	var errs []error
	for _, path := range paths {
		good := f.files[path].good
		if good == nil {
			continue
		}
		part := &manifests.Result{}
		for _, o := range good.Objects {
			if have, twice := all.Lookup(o.Ref); twice {
				errs = append(errs, &manifests.Error{File: o.File, Line: o.Line, Object: o.Ref.String(),
					Message: "is in " + have.Place() + " already, and counts as it is there"})
				continue
			}
			part.Objects = append(part.Objects, o)
		}
		all.Overlay(part)
	}
	if err := f.addNode(all); err != nil {
		errs = append(errs, err)
	}
	all.CompleteHost()
	out := make(map[model.Ref]runtime.Object, len(all.Objects))
	for _, o := range all.Objects {
		if _, known := convert.RefOf(o.Object); known {
			out[o.Ref] = o.Object
		}
	}
	return out, errs
}

// addNode adds the host as a node, unless a file defines it. If its addresses cannot
// be read, it keeps those that were read last.
func (f *Source) addNode(all *manifests.Result) error {
	ref := model.Ref{Kind: model.KindNode, Name: f.opts.Node}
	if _, there := all.Lookup(ref); there || f.opts.Node == "" || f.opts.HostAddrs == nil {
		return nil
	}
	addrs, err := f.opts.HostAddrs()
	var node runtime.Object
	if err != nil {
		err = fmt.Errorf("addresses of this host: %w", err)
		if node = f.known[ref]; node == nil {
			return err
		}
	} else {
		n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: f.opts.Node, Labels: map[string]string{corev1.LabelHostname: f.opts.Node}}}
		for _, a := range addrs {
			n.Status.Addresses = append(n.Status.Addresses, corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: a.String()})
		}
		n.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Node"))
		node = n
	}
	all.Overlay(&manifests.Result{Objects: []manifests.Object{{Object: node, Ref: ref, Added: true}}})
	return err
}

// HostAddrs returns the addresses by which others can reach this host, of all its
// interfaces, sorted: no loopback, link-local or multicast ones.
func HostAddrs() ([]netip.Addr, error) {
	list, err := net.InterfaceAddrs()
	if err != nil {
		return nil, err
	}
	var out []netip.Addr
	for _, a := range list {
		p, err := netip.ParsePrefix(a.String())
		if err != nil {
			continue
		}
		if addr := p.Addr().Unmap().WithZone(""); addr.IsGlobalUnicast() {
			out = append(out, addr)
		}
	}
	slices.SortFunc(out, netip.Addr.Compare)
	return slices.Compact(out), nil
}

// objectSet holds the objects that a source has delivered.
type objectSet map[model.Ref]runtime.Object

// update makes the set equal to now, and returns the difference, sorted by name.
func (s objectSet) update(now map[model.Ref]runtime.Object) (upserts []runtime.Object, deletes []model.Ref) {
	for _, r := range slices.SortedFunc(maps.Keys(now), model.Ref.Compare) {
		if before, there := s[r]; !there || before != now[r] && !apiequality.Semantic.DeepEqual(before, now[r]) {
			upserts = append(upserts, now[r])
			s[r] = now[r]
		}
	}
	for _, r := range slices.SortedFunc(maps.Keys(s), model.Ref.Compare) {
		if _, there := now[r]; !there {
			deletes = append(deletes, r)
			delete(s, r)
		}
	}
	return upserts, deletes
}

// memory returns the path at which the last good content of a file is kept.
func (f *Source) memory(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		path = abs
	}
	sum := sha256.Sum256([]byte(path))
	return filepath.Join(f.opts.StateDir, hex.EncodeToString(sum[:16])+".good")
}

// remember keeps the good content of a file. A failure is logged; it matters only if
// the file is broken when the agent starts next.
func (f *Source) remember(path string, data []byte) {
	if f.opts.StateDir == "" {
		return
	}
	name := f.memory(path)
	if have, err := os.ReadFile(name); err == nil && bytes.Equal(have, data) {
		return
	}
	err := os.MkdirAll(f.opts.StateDir, 0o700)
	if err == nil {
		err = os.WriteFile(name+".new", data, 0o600)
	}
	if err == nil {
		err = os.Rename(name+".new", name)
	}
	if err != nil {
		f.log.Warn("good content of a file cannot be kept", "file", path, "error", err)
	}
}

// recall returns the content that remember has kept; nil: there is none that can be read.
func (f *Source) recall(path string) *manifests.Result {
	data, err := os.ReadFile(f.memory(path))
	if err != nil {
		return nil
	}
	if blank(data) {
		return &manifests.Result{}
	}
	r, err := manifests.LoadBytes(path, data)
	if err != nil {
		return nil
	}
	f.adopt(r)
	return r
}
