package latency

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/tierwall/tierwall/api/v1alpha1"
)

// Way is what policy says of packets from a new pod to one that is there.
type Way string

// The ways of a new pod.
const (
	// Admitted by a native policy of the receiver, which lets in but pods of the
	// new pod's label: the receiver's node must know the new pod.
	Admitted Way = "allowed"
	// OwnDeny: the new pod's own egress policy does not allow it.
	OwnDeny Way = "denied by the new pod's egress policy"
	// PeerDeny: a policy of the receiver denies pods of the new pod's label and
	// lets in everybody else: the receiver's node must know the new pod.
	PeerDeny Way = "denied by the receiver's ingress policy"
)

// Peer is a pod that new ones send to.
type Peer struct {
	Way Way
	// Where it is, for people: "the same node".
	Where string
	End
}

// Start is what was seen of one new pod by one peer. Times count from the first
// instruction of the new pod's container.
type Start struct {
	// First and Last packet that arrived; zero: none has.
	First, Last time.Duration
	// Arrived packets, and those that were lost after the first that arrived.
	Arrived int
	// Created is how long before the container's start the pod was created.
	Created time.Duration
}

const (
	startPort   = 7800
	labelNew    = "latency-new"
	labelPeer   = "latency-peer"
	peerAllowed = "allowed"
	peerDenied  = "denied"
	peerDenies  = "denies"
)

// peerLabel is what policies know the peers of a way by.
func peerLabel(w Way) string {
	return map[Way]string{Admitted: peerAllowed, OwnDeny: peerDenied, PeerDeny: peerDenies}[w]
}

// startPolicies of a namespace.
func startPolicies(namespace string) []client.Object {
	pods := func(key, value string) metav1.LabelSelector {
		return metav1.LabelSelector{MatchLabels: map[string]string{key: value}}
	}
	peer := func(key, value string) networkingv1.NetworkPolicyPeer {
		s := pods(key, value)
		return networkingv1.NetworkPolicyPeer{PodSelector: &s}
	}
	order := 10.0
	return []client.Object{
		&networkingv1.NetworkPolicy{ObjectMeta: meta(namespace, "latency-new"), Spec: networkingv1.NetworkPolicySpec{
			PodSelector: pods(labelNew, "yes"), PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeEgress},
			Egress: []networkingv1.NetworkPolicyEgressRule{{To: []networkingv1.NetworkPolicyPeer{peer(labelPeer, peerAllowed), peer(labelPeer, peerDenies)}}},
		}},
		&networkingv1.NetworkPolicy{ObjectMeta: meta(namespace, "latency-admit"), Spec: networkingv1.NetworkPolicySpec{
			PodSelector: pods(labelPeer, peerAllowed),
			Ingress:     []networkingv1.NetworkPolicyIngressRule{{From: []networkingv1.NetworkPolicyPeer{peer(labelNew, "yes")}}},
		}},
		&v1alpha1.NetworkPolicy{ObjectMeta: meta(namespace, "latency-refuse"), Spec: v1alpha1.NetworkPolicySpec{
			Order: &order, Selector: fmt.Sprintf("%s == '%s'", labelPeer, peerDenies),
			Ingress: []v1alpha1.Rule{
				{Action: v1alpha1.Deny, Source: v1alpha1.EntityRule{Selector: labelNew + " == 'yes'"}},
				{Action: v1alpha1.Allow},
			},
		}},
	}
}

// starts collects what peers hear of new pods.
type starts struct {
	peers []Peer
	conns []*net.UDPConn
	work  sync.WaitGroup

	mu   sync.Mutex
	seen map[uint64][]Start // by number, one a peer
	born map[uint64]time.Duration
}

// listenStarts opens the peers' sockets. The caller closes them.
func listenStarts(peers []Peer) (*starts, error) {
	s := &starts{peers: peers, seen: map[uint64][]Start{}, born: map[uint64]time.Duration{}}
	for i, p := range peers {
		err := in(p.Netns, func() error {
			u, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(p.Addr, startPort)))
			if err != nil {
				return err
			}
			_ = u.SetReadBuffer(1 << 20) // a default that is smaller does too
			s.conns = append(s.conns, u)
			s.work.Go(func() { s.receive(i, u) })
			return nil
		})
		if err != nil {
			s.close()
			return nil, fmt.Errorf("receiver: %w", err)
		}
	}
	return s, nil
}

func (s *starts) close() {
	for _, u := range s.conns {
		_ = u.Close()
	}
	s.work.Wait()
}

func (s *starts) receive(peer int, u *net.UDPConn) {
	b := make([]byte, 64)
	for {
		n, _, err := u.ReadFromUDPAddrPort(b)
		if err != nil {
			return
		}
		if n == 24 {
			at := now()
			s.heard(peer, binary.BigEndian.Uint64(b), time.Duration(binary.BigEndian.Uint64(b[8:])), at)
		}
	}
}

// heard notes a packet of a new pod whose container began at a time.
func (s *starts) heard(peer int, number uint64, began, at time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.seen[number] == nil {
		s.seen[number] = make([]Start, len(s.peers))
	}
	s.born[number] = began
	x := &s.seen[number][peer]
	if x.Arrived++; x.First == 0 {
		x.First = at - began
	}
	x.Last = at - began
}

// of returns what has been heard of a new pod, one a peer, and when its container
// began; zero: nothing has been heard.
func (s *starts) of(number uint64) ([]Start, time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.seen[number]), s.born[number]
}

// admitted says whether all that is allowed has been heard.
func (s *starts) admitted(number uint64) bool {
	seen, _ := s.of(number)
	for i, p := range s.peers {
		if p.Way == Admitted && (len(seen) == 0 || seen[i].Arrived == 0) {
			return false
		}
	}
	return true
}

// settleStart is how long a new pod is listened to after all that is allowed has
// got through.
const settleStart = 300 * time.Millisecond

// one makes a new pod, hears it, and removes it.
func (s *starts) one(ctx context.Context, c client.Client, namespace, node, image, prefix string, number int) (out []Start, err error) {
	args := []string{strconv.Itoa(number)}
	for _, p := range s.peers {
		args = append(args, netip.AddrPortFrom(p.Addr, startPort).String())
	}
	pod := newPod(namespace, fmt.Sprintf("%s-new-%d", prefix, number), node, image, map[string]string{labelNew: "yes"}, args...)
	created := now()
	if err := c.Create(ctx, pod); err != nil {
		return nil, err
	}
	defer func() {
		err = errors.Join(err, client.IgnoreNotFound(c.Delete(context.WithoutCancel(ctx), pod)))
	}()
	for limit := now() + podTimeout; !s.admitted(uint64(number)); {
		if now() > limit {
			return nil, fmt.Errorf("latency: Pod/%s/%s: not all that is allowed gets through within %s", namespace, pod.Name, podTimeout)
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(10 * time.Millisecond):
		}
	}
	time.Sleep(settleStart)
	out, born := s.of(uint64(number))
	for i := range out {
		out[i].Created = born - created
	}
	return out, nil
}

// startTable says what was seen of all new pods.
func startTable(peers []Peer, seen [][]Start) string {
	var rows []Row
	var denied strings.Builder
	var created Row
	for i, p := range peers {
		first := Row{Name: "first packet allowed, to a pod of " + p.Where}
		total := Row{Name: "the same from the creation of the pod, " + p.Where}
		pods, packets := 0, 0
		var last time.Duration
		for _, x := range seen[i] {
			first.Samples = append(first.Samples, x.First)
			total.Samples = append(total.Samples, x.First+x.Created)
			if i == 0 {
				created.Samples = append(created.Samples, x.Created)
			}
			if x.Arrived > 0 {
				pods++
			}
			packets += x.Arrived
			last = max(last, x.Last)
		}
		if p.Way == Admitted {
			rows = append(rows, first, total)
			continue
		}
		fmt.Fprintf(&denied, "| %s, to a pod of %s | %d of %d | %d | %.1f ms |\n", p.Way, p.Where, pods, len(seen[i]), packets, float64(last.Microseconds())/1000)
	}
	created.Name = "from the creation of the pod to its container's first instruction"
	return Table("from the first instruction of a new pod's container", append(rows, created)) +
		"\n| what must not arrive | pods of which packets arrived | packets | the latest, from the container's start |\n|---|---|---|---|\n" + denied.String()
}
