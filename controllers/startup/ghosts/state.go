package ghosts

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/tierwall/tierwall/controllers/sealed"
)

// State is what an agent saves about its node's pods for the next agent: those that it
// knows and those that are ghosts. If the API server does not list one of its pods when
// the next agent starts, the object was deleted in the meantime or before.
type State struct {
	// Cluster, Node and Boot that it belongs to; see kept.Store.
	Cluster string `json:"cluster"`
	Node    string `json:"node"`
	Boot    string `json:"boot"`
	// Pods sorted by namespace, name and UID.
	Pods []KeptPod `json:"pods"`
}

// KeptPod is a Pod as a State has it.
type KeptPod struct {
	Namespace string       `json:"namespace"`
	Name      string       `json:"name"`
	UID       string       `json:"uid"`
	Addrs     []netip.Addr `json:"addrs"`
	Linked    []netip.Addr `json:"linked,omitempty"`
	// Seconds of grace.
	Seconds int64 `json:"seconds"`
}

// Errors of Decode.
var (
	// ErrOther: it belongs to another cluster, node, boot or version.
	ErrOther = errors.New("it is of another cluster, node, boot or version")
	// ErrDamaged: its contents are not what was written.
	ErrDamaged = errors.New("it is damaged")
)

// stateFormat is the file format of a State. Its version changes with State.
var stateFormat = sealed.Format{Name: "tierwall pods", Version: 1}

// Keep converts a pod to its form in a State.
func Keep(p Pod) KeptPod {
	return KeptPod{Namespace: p.Namespace, Name: p.Name, UID: p.UID, Addrs: p.Addrs, Linked: p.Linked, Seconds: int64(p.Grace / time.Second)}
}

// Pod returns the saved pod, with an unknown sandbox.
func (k *KeptPod) Pod() Pod {
	seconds := min(max(k.Seconds, 0), int64(Longest/time.Second))
	return Pod{Namespace: k.Namespace, Name: k.Name, UID: k.UID, Addrs: k.Addrs, Linked: k.Linked, Grace: time.Duration(seconds) * time.Second}
}

// Kept returns the ghosts of a book in the form of a State, sorted.
func (b *Book) Kept() []KeptPod {
	var out []KeptPod
	for _, g := range b.sorted() {
		k := Keep(g.pod)
		k.Addrs, k.Linked = g.addrs(), nil
		for i := range g.places {
			if g.places[i].linked {
				k.Linked = append(k.Linked, g.places[i].addr)
			}
		}
		out = append(out, k)
	}
	return out
}

// Encode writes a State: equal States give equal bytes.
func (s *State) Encode() ([]byte, error) { return stateFormat.Seal(s) }

// Decode reads the State of a cluster, node and boot.
func Decode(content []byte, cluster, node, boot string) ([]Pod, error) {
	var s State
	if err := stateFormat.Open(content, &s); errors.Is(err, sealed.ErrVersion) {
		return nil, fmt.Errorf("%w: %w", ErrOther, err)
	} else if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if s.Cluster != cluster || s.Node != node || s.Boot != boot {
		return nil, ErrOther
	}
	var out []Pod
	for i := range s.Pods {
		p := s.Pods[i].Pod()
		if slices.ContainsFunc(p.Addrs, func(a netip.Addr) bool { return !a.IsValid() || a.Zone() != "" || a.Is4In6() }) {
			return nil, fmt.Errorf("%w: pod %d has an address that no pod has", ErrDamaged, i)
		}
		out = append(out, p)
	}
	return out, nil
}
