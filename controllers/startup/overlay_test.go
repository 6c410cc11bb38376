package startup

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/controllers/agent"
	"github.com/tierwall/tierwall/dataplane/links"
	"github.com/tierwall/tierwall/policy/convert"
	"github.com/tierwall/tierwall/policy/model"
)

// world is an overlay on node n1 with everything around it faked. It is the sink
// and the kernel of the overlay, too.
type world struct {
	*Overlay
	t     *testing.T
	below agent.Sink
	// pods are the addresses as the agent knows them, nodes those of nodes.
	pods      map[string]string // namespace/name → addresses
	nodeOf    map[string]string // namespace/name → node
	nodes     map[string]string // address → node
	announced []v1alpha1.StartedPod
	updates   int
	settle    error
	ghosts    map[string]string // namespace/name@uid → addresses
	clock     *clocktesting.FakeClock
}

func newWorld(t *testing.T) *world {
	t.Helper()
	return keptWorld(t, nil)
}

// keptWorld is a world whose overlay keeps its pods.
func keptWorld(t *testing.T, keeper Keeper) *world {
	t.Helper()
	w := &world{t: t, ghosts: map[string]string{}, pods: map[string]string{}, nodeOf: map[string]string{}, nodes: map[string]string{}, clock: clocktesting.NewFakeClock(time.Unix(1, 0))}
	o, err := New(Options{Node: "n1", Source: w, Announcer: w, Keeper: keeper, Clock: w.clock})
	if err != nil {
		t.Fatal(err)
	}
	w.Overlay = o
	o.Attach(w)
	if err := o.Run(context.Background(), w.sink()); err != nil {
		t.Fatal(err)
	}
	return w
}

// Run implements agent.Source.
func (w *world) Run(_ context.Context, to agent.Sink) error {
	w.below = to
	return nil
}

func (w *world) sink() agent.Sink { return (*sink)(w) }

type sink world

func (s *sink) Synced()         {}
func (s *sink) Report(...error) {}
func (s *sink) Update(upserts []runtime.Object, deletes []model.Ref) {
	s.updates++
	for _, r := range deletes {
		if r.Kind == model.KindPodGhost {
			delete(s.ghosts, r.Namespace+"/"+r.Name)
		}
		delete(s.pods, r.Namespace+"/"+r.Name)
	}
	for _, o := range upserts {
		if g, ok := o.(*convert.Ghost); ok {
			s.ghosts[g.Ref().Namespace+"/"+g.Ref().Name] = strings.Trim(fmt.Sprint(g.Addrs), "[]")
			continue
		}
		p, ok := o.(*corev1.Pod)
		if !ok {
			continue
		}
		var ips []string
		for _, ip := range p.Status.PodIPs {
			ips = append(ips, ip.IP)
		}
		s.pods[p.Namespace+"/"+p.Name], s.nodeOf[p.Namespace+"/"+p.Name] = strings.Join(ips, " "), p.Spec.NodeName
	}
}

// Settled and Holder implement Kernel.
func (w *world) Settled(context.Context, string) error { return w.settle }
func (w *world) Holder(a netip.Addr) (model.Ref, string) {
	for name, ips := range w.pods {
		if ips != "" && strings.Contains(" "+ips+" ", " "+a.String()+" ") {
			k := splitKey(name)
			return podRef(k), w.nodeOf[name]
		}
	}
	if n, ok := w.nodes[a.String()]; ok {
		return model.Ref{Kind: model.KindNode, Name: n}, n
	}
	return model.Ref{}, ""
}

// Announce and Announced implement Announcer.
func (w *world) Announce(pods []v1alpha1.StartedPod) { w.announced = pods }
func (w *world) Announced(context.Context) error     { return nil }

func splitKey(name string) key {
	ns, n, _ := strings.Cut(name, "/")
	return key{ns, n}
}

// apiPod is what the API server says: "ns/name uid node addresses…".
func apiPod(text string) *corev1.Pod {
	f := strings.Fields(text)
	k := splitKey(f[0])
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: k.namespace, Name: k.name, UID: types.UID(f[1])}, Spec: corev1.PodSpec{NodeName: f[2]}}
	for _, ip := range f[3:] {
		p.Status.PodIPs = append(p.Status.PodIPs, corev1.PodIP{IP: ip})
		p.Status.PodIP = p.Status.PodIPs[0].IP
	}
	return p
}

// sandboxText is what the runtime says: "id ns/name uid addresses…".
func sandboxText(text string) Sandbox {
	f := strings.Fields(text)
	k := splitKey(f[1])
	s := Sandbox{ID: f[0], Namespace: k.namespace, Name: k.name, UID: f[2]}
	for _, ip := range f[3:] {
		s.Addrs = append(s.Addrs, netip.MustParseAddr(ip))
	}
	return s
}

// do is a step of a test: "api …", "mirror …", "gone ns/name", "start …", "stop …",
// "running … , …", "report node ns/name uid addresses… , …", "noreport node".
func (w *world) do(step string) {
	w.t.Helper()
	verb, rest, _ := strings.Cut(step, " ")
	list := func(text string) (out []string) {
		for e := range strings.SplitSeq(text, ",") {
			if e = strings.TrimSpace(e); e != "" {
				out = append(out, e)
			}
		}
		return out
	}
	switch verb {
	case "api":
		w.below.Update([]runtime.Object{apiPod(rest)}, nil)
	case "mirror": // mirror STATIC-UID of api pod
		uid, pod, _ := strings.Cut(rest, " ")
		p := apiPod(pod)
		p.Annotations = map[string]string{corev1.MirrorPodAnnotationKey: uid}
		w.below.Update([]runtime.Object{p}, nil)
	case "gone":
		w.below.Update(nil, []model.Ref{podRef(splitKey(rest))})
	case "start":
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_ = w.Started(ctx, sandboxText(rest))
	case "stop":
		w.Stopped(sandboxText(rest))
	case "running", "alive":
		var all []Sandbox
		for _, s := range list(rest) {
			box := sandboxText(s)
			box.Running = verb == "alive"
			all = append(all, box)
		}
		w.Running(all)
	case "lost":
		w.Lost()
	case "grace": // SECONDS of api pod
		seconds, pod, _ := strings.Cut(rest, " ")
		n, err := strconv.ParseInt(seconds, 10, 64)
		if err != nil {
			w.t.Fatal(err)
		}
		p := apiPod(pod)
		p.Spec.TerminationGracePeriodSeconds = &n
		w.below.Update([]runtime.Object{p}, nil)
	case "links": // of pods: "ns/name address interface-or-none, …"
		asked, l := links.Pods{}, model.Links{}
		for _, e := range list(rest) {
			f := strings.Fields(e)
			a := netip.MustParseAddr(f[1])
			asked[a] = podRef(splitKey(f[0]))
			if f[2] != "none" {
				l.Pods = append(l.Pods, model.PodLink{Addr: a, Interface: f[2]})
			}
		}
		kernel := &links.Fake{}
		kernel.Set(l)
		if _, err := w.Follow(kernel).Read(asked); err != nil {
			w.t.Fatal(err)
		}
	case "addresses": // of a Node
		name, addr, _ := strings.Cut(rest, " ")
		n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}
		n.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: addr}}
		w.below.Update([]runtime.Object{n}, nil)
	case "report":
		node, pods, _ := strings.Cut(rest, " ")
		r := &v1alpha1.PodAddressReport{ObjectMeta: metav1.ObjectMeta{Name: node}}
		for _, p := range list(pods) {
			f := strings.Fields(p)
			k := splitKey(f[0])
			r.Pods = append(r.Pods, v1alpha1.StartedPod{Namespace: k.namespace, Name: k.name, UID: f[1], IPs: f[2:]})
		}
		w.below.Update([]runtime.Object{r}, nil)
	case "noreport":
		w.below.Update(nil, []model.Ref{{Kind: reportKind, Name: rest}})
	case "blocks": // of a node
		name, blocks, _ := strings.Cut(rest, " ")
		w.below.Update([]runtime.Object{&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.NodeSpec{PodCIDRs: strings.Fields(blocks)}}}, nil)
	case "unknown":
		tw := &v1alpha1.Tierwall{ObjectMeta: metav1.ObjectMeta{Name: v1alpha1.TierwallName}}
		tw.Spec.UnknownWorkloads = v1alpha1.Action(rest)
		w.below.Update([]runtime.Object{tw}, nil)
	case "forget": // the settings
		w.below.Update(nil, []model.Ref{{Kind: model.KindTierwall, Name: v1alpha1.TierwallName}})
	case "synced":
		w.below.Synced()
	case "wait":
		d, err := time.ParseDuration(rest)
		if err != nil {
			w.t.Fatal(err)
		}
		w.clock.Step(d)
		for w.due() {
			time.Sleep(time.Millisecond) // it is dealt with in a goroutine
		}
	case "node":
		name, addr, _ := strings.Cut(rest, " ")
		w.nodes[addr] = name
	default:
		w.t.Fatalf("no such step: %s", step)
	}
}

// due reports whether a ghost's time is over and it has not been dealt with.
func (w *world) due() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	at := w.graves.at
	return !at.IsZero() && !at.After(w.clock.Now())
}

// have are the pods that have addresses.
func (w *world) have() map[string]string {
	out := map[string]string{}
	for name, ips := range w.pods {
		if ips != "" {
			out[name] = ips
		}
	}
	return out
}

func (w *world) announces() string {
	var out []string
	for _, p := range w.announced {
		out = append(out, p.Namespace+"/"+p.Name+" "+p.UID+" "+strings.Join(p.IPs, " "))
	}
	return strings.Join(out, ", ")
}

type pods = map[string]string

func TestOverlay(t *testing.T) {
	tests := []struct {
		name      string
		steps     string
		want      pods
		announced string
	}{
		{"a pod with an address passes", "api a/p u1 n1 10.0.0.1", pods{"a/p": "10.0.0.1"}, ""},
		{"one without has none", "api a/p u1 n1", pods{}, ""},
		{"a sandbox gives it one", "api a/p u1 n1; start s1 a/p u1 10.0.0.1", pods{"a/p": "10.0.0.1"}, "a/p u1 10.0.0.1"},
		{"of both families", "api a/p u1 n1; start s1 a/p u1 fd00::1 10.0.0.1", pods{"a/p": "10.0.0.1 fd00::1"}, "a/p u1 10.0.0.1 fd00::1"},
		{"a sandbox that comes first", "start s1 a/p u1 10.0.0.1; api a/p u1 n1", pods{"a/p": "10.0.0.1"}, "a/p u1 10.0.0.1"},
		{"a sandbox alone is no pod", "start s1 a/p u1 10.0.0.1", pods{}, ""},
		{"a sandbox of a pod of that name before", "api a/p u2 n1; start s1 a/p u1 10.0.0.1", pods{}, ""},
		{"nor of another node's pod", "api a/p u1 n2; start s1 a/p u1 10.0.0.1", pods{}, ""},
		{"a sandbox without addresses: the host's network", "api a/p u1 n1; start s1 a/p u1", pods{}, ""},
		{"addresses that no pod has", "api a/p u1 n1; start s1 a/p u1 127.0.0.1 169.254.1.1 10.0.0.1 ::", pods{"a/p": "10.0.0.1"}, "a/p u1 10.0.0.1"},
		{"an address in the form of the other family", "api a/p u1 n1; start s1 a/p u1 ::ffff:10.0.0.1", pods{"a/p": "10.0.0.1"}, "a/p u1 10.0.0.1"},
		{"a static pod is its mirror", "mirror hash a/p u1 n1; start s1 a/p hash 10.0.0.1", pods{"a/p": "10.0.0.1"}, "a/p u1 10.0.0.1"},

		{"the status says it too", "api a/p u1 n1; start s1 a/p u1 10.0.0.1; api a/p u1 n1 10.0.0.1", pods{"a/p": "10.0.0.1"}, ""},
		{"the status says something else", "api a/p u1 n1; start s1 a/p u1 10.0.0.1; api a/p u1 n1 10.0.0.2", pods{"a/p": "10.0.0.2"}, ""},
		{"the status of the sandbox before", "api a/p u1 n1 10.0.0.1; start s2 a/p u1 10.0.0.2", pods{"a/p": "10.0.0.2"}, ""},
		{"the same with a change beside", "api a/p u1 n1 10.0.0.1; start s2 a/p u1 10.0.0.2; api a/p u1 n1 10.0.0.1", pods{"a/p": "10.0.0.2"}, ""},
		{"until it is that of this one", "api a/p u1 n1 10.0.0.1; start s2 a/p u1 10.0.0.2; api a/p u1 n1 10.0.0.2", pods{"a/p": "10.0.0.2"}, ""},
		{"a sandbox in place of another", "api a/p u1 n1; start s1 a/p u1 10.0.0.1; start s2 a/p u1 10.0.0.2", pods{"a/p": "10.0.0.2"}, "a/p u1 10.0.0.2"},
		{"the end of one that has been replaced", "api a/p u1 n1; start s1 a/p u1 10.0.0.1; start s2 a/p u1 10.0.0.2; stop s1 a/p u1 10.0.0.1", pods{"a/p": "10.0.0.2"}, "a/p u1 10.0.0.2"},

		{"a sandbox that stops", "api a/p u1 n1; start s1 a/p u1 10.0.0.1; stop s1 a/p u1 10.0.0.1", pods{}, ""},
		{"and whose pod is still said to have its address", "api a/p u1 n1; start s1 a/p u1 10.0.0.1; api a/p u1 n1 10.0.0.1; stop s1 a/p u1 10.0.0.1", pods{}, ""},
		{"and whose pod has another one", "api a/p u1 n1; start s1 a/p u1 10.0.0.1; stop s1 a/p u1 10.0.0.1; api a/p u1 n1 10.0.0.2", pods{"a/p": "10.0.0.2"}, ""},
		{"the stop of one that nobody knows", "api a/p u1 n1 10.0.0.1; stop s1 a/p u1 10.0.0.1", pods{"a/p": "10.0.0.1"}, ""},
		{"a pod that is gone", "api a/p u1 n1; start s1 a/p u1 10.0.0.1; gone a/p", pods{}, ""},
		{"and comes again under its name", "api a/p u1 n1; start s1 a/p u1 10.0.0.1; gone a/p; api a/p u2 n1", pods{}, ""},
		{"with a sandbox", "api a/p u1 n1; start s1 a/p u1 10.0.0.1; gone a/p; api a/p u2 n1; start s2 a/p u2 10.0.0.2; stop s1 a/p u1 10.0.0.1", pods{"a/p": "10.0.0.2"}, "a/p u2 10.0.0.2"},

		{"sandboxes that were there", "api a/p u1 n1; running s1 a/p u1 10.0.0.1", pods{"a/p": "10.0.0.1"}, "a/p u1 10.0.0.1"},
		{"say less than the status", "api a/p u1 n1 10.0.0.2; running s1 a/p u1 10.0.0.1", pods{"a/p": "10.0.0.2"}, ""},
		{"two of one pod say nothing", "api a/p u1 n1; running s1 a/p u1 10.0.0.1, s2 a/p u1 10.0.0.2", pods{}, ""},
		{"unless one is known to be the newer", "api a/p u1 n1; start s2 a/p u1 10.0.0.2; running s1 a/p u1 10.0.0.1, s2 a/p u1 10.0.0.2", pods{"a/p": "10.0.0.2"}, "a/p u1 10.0.0.2"},
		{"in any order", "api a/p u1 n1; start s2 a/p u1 10.0.0.2; running s2 a/p u1 10.0.0.2, s1 a/p u1 10.0.0.1", pods{"a/p": "10.0.0.2"}, "a/p u1 10.0.0.2"},
		{"one that is there no more", "api a/p u1 n1; start s1 a/p u1 10.0.0.1; running ", pods{}, ""},
		{"takes nothing from the status", "api a/p u1 n1; start s1 a/p u1 10.0.0.1; api a/p u1 n1 10.0.0.1; running ", pods{"a/p": "10.0.0.1"}, ""},

		{"an address that a stopped pod is still said to have", "api a/old u1 n1; start s1 a/old u1 10.0.0.1; api a/old u1 n1 10.0.0.1; stop s1 a/old u1 10.0.0.1; api a/p u2 n1; start s2 a/p u2 10.0.0.1",
			pods{"a/p": "10.0.0.1"}, "a/p u2 10.0.0.1"},
		{"and whose stop nobody has seen", "api a/old u1 n1 10.0.0.1; api a/p u2 n1; start s2 a/p u2 10.0.0.1", pods{"a/p": "10.0.0.1"}, "a/p u2 10.0.0.1"},
		{"it stays taken when that pod changes", "api a/old u1 n1 10.0.0.1; api a/p u2 n1; start s2 a/p u2 10.0.0.1; api a/old u1 n1 10.0.0.1 10.0.0.9", pods{"a/p": "10.0.0.1", "a/old": "10.0.0.9"}, "a/p u2 10.0.0.1"},
		{"and is given back", "api a/old u1 n1 10.0.0.1; api a/p u2 n1; start s2 a/p u2 10.0.0.1; stop s2 a/p u2 10.0.0.1", pods{"a/old": "10.0.0.1"}, ""},
		{"two that have changed places", "api a/p u1 n1 10.0.0.1; api a/q u2 n1 10.0.0.2; start s3 a/p u1 10.0.0.2; start s4 a/q u2 10.0.0.1", pods{"a/p": "10.0.0.2", "a/q": "10.0.0.1"}, ""},
		{"and whose status follows", "api a/p u1 n1 10.0.0.1; api a/q u2 n1 10.0.0.2; start s3 a/p u1 10.0.0.2; start s4 a/q u2 10.0.0.1; api a/p u1 n1 10.0.0.2; api a/q u2 n1 10.0.0.1", pods{"a/p": "10.0.0.2", "a/q": "10.0.0.1"}, ""},
		{"a node's address is no pod's", "node n2 10.9.9.9; api a/p u1 n1; start s1 a/p u1 10.9.9.9", pods{}, ""},
		{"one's own runtime is believed", "api b/far u9 n2 10.0.0.1; api a/p u1 n1; start s1 a/p u1 10.0.0.1", pods{"a/p": "10.0.0.1", "b/far": "10.0.0.1"}, "a/p u1 10.0.0.1"},

		{"another node announces", "api a/p u1 n2; report n2 a/p u1 10.0.2.1", pods{"a/p": "10.0.2.1"}, ""},
		{"before the pod is known", "report n2 a/p u1 10.0.2.1; api a/p u1 n2", pods{"a/p": "10.0.2.1"}, ""},
		{"and the status follows", "api a/p u1 n2; report n2 a/p u1 10.0.2.1; api a/p u1 n2 10.0.2.1", pods{"a/p": "10.0.2.1"}, ""},
		{"the status counts", "api a/p u1 n2; report n2 a/p u1 10.0.2.1; api a/p u1 n2 10.0.2.2", pods{"a/p": "10.0.2.2"}, ""},
		{"a report that comes late", "api a/p u1 n2 10.0.2.2; report n2 a/p u1 10.0.2.1", pods{"a/p": "10.0.2.2"}, ""},
		{"a report of less", "api a/p u1 n2; api a/q u2 n2; report n2 a/p u1 10.0.2.1, a/q u2 10.0.2.2; report n2 a/q u2 10.0.2.2", pods{"a/q": "10.0.2.2"}, ""},
		{"a report that is gone", "api a/p u1 n2; report n2 a/p u1 10.0.2.1; noreport n2", pods{}, ""},
		{"a pod that is gone again", "api a/p u1 n2; report n2 a/p u1 10.0.2.1; gone a/p", pods{}, ""},
		{"of a third node", "api a/p u1 n2; report n3 a/p u1 10.0.2.1", pods{}, ""},
		{"of another UID", "api a/p u1 n2; report n2 a/p u2 10.0.2.1", pods{}, ""},
		{"of this node's pod", "api a/p u1 n1; report n2 a/p u1 10.0.2.1", pods{}, ""},
		{"in this node's name", "api a/p u1 n1; report n1 a/p u1 10.0.0.1", pods{}, ""},
		{"no address", "api a/p u1 n2; report n2 a/p u1 10.0.2, a/p u1 300.0.0.1", pods{}, ""},
		{"an address of a third node's pod", "api b/victim u9 n3 10.0.3.1; api a/p u1 n2; report n2 a/p u1 10.0.3.1", pods{"b/victim": "10.0.3.1"}, ""},
		{"an address of this node's pod", "api b/victim u9 n1 10.0.0.1; api a/p u1 n2; report n2 a/p u1 10.0.0.1", pods{"b/victim": "10.0.0.1"}, ""},
		{"an address of this node's pod, early", "api b/victim u9 n1; start s1 b/victim u9 10.0.0.1; api a/p u1 n2; report n2 a/p u1 10.0.0.1", pods{"b/victim": "10.0.0.1"}, "b/victim u9 10.0.0.1"},
		{"an address that a third node has announced", "api b/victim u9 n3; report n3 b/victim u9 10.0.3.1; api a/p u1 n2; report n2 a/p u1 10.0.3.1", pods{"b/victim": "10.0.3.1"}, ""},
		{"an address of a node", "node n3 10.9.9.9; api a/p u1 n2; report n2 a/p u1 10.9.9.9 10.0.2.1", pods{"a/p": "10.0.2.1"}, ""},
		{"an address that its node has given on", "api a/old u9 n2 10.0.2.1; api a/p u1 n2; report n2 a/p u1 10.0.2.1", pods{"a/p": "10.0.2.1"}, ""},
		{"and that the old pod has until it is gone", "api a/old u9 n2 10.0.2.1; api a/p u1 n2; report n2 a/p u1 10.0.2.1; api a/old u9 n2 10.0.2.1 10.0.2.9", pods{"a/p": "10.0.2.1", "a/old": "10.0.2.9"}, ""},

		{"an address that nobody has told of before waits for the other nodes", "blocks n1 10.0.0.0/24; synced; api a/p u1 n1 10.0.0.1; wait 499ms", pods{}, ""},
		{"for a moment", "blocks n1 10.0.0.0/24; synced; api a/p u1 n1 10.0.0.1; wait 500ms", pods{"a/p": "10.0.0.1"}, ""},
		{"from when it was first told", "blocks n1 10.0.0.0/24; synced; api a/p u1 n1 10.0.0.1; wait 300ms; api a/p u1 n1 10.0.0.1; wait 200ms", pods{"a/p": "10.0.0.1"}, ""},
		{"each for itself", "blocks n1 10.0.0.0/24 fd00::/64; synced; api a/p u1 n1 10.0.0.1; wait 300ms; api a/p u1 n1 10.0.0.1 fd00::1; wait 200ms", pods{"a/p": "10.0.0.1"}, ""},
		{"and the other one then", "blocks n1 10.0.0.0/24 fd00::/64; synced; api a/p u1 n1 10.0.0.1; wait 300ms; api a/p u1 n1 10.0.0.1 fd00::1; wait 500ms", pods{"a/p": "10.0.0.1 fd00::1"}, ""},
		{"not what was there at the start", "blocks n1 10.0.0.0/24; api a/p u1 n1 10.0.0.1; synced", pods{"a/p": "10.0.0.1"}, ""},
		{"nor after that", "blocks n1 10.0.0.0/24; api a/p u1 n1 10.0.0.1; synced; api a/p u1 n1 10.0.0.1", pods{"a/p": "10.0.0.1"}, ""},
		{"nor what the runtime has told", "blocks n1 10.0.0.0/24; synced; api a/p u1 n1; start s1 a/p u1 10.0.0.1; api a/p u1 n1 10.0.0.1", pods{"a/p": "10.0.0.1"}, ""},
		{"even if the pod is seen with it first", "blocks n1 10.0.0.0/24; synced; start s1 a/p u1 10.0.0.1; api a/p u1 n1 10.0.0.1", pods{"a/p": "10.0.0.1"}, ""},
		{"nor on other nodes", "blocks n1 10.0.0.0/24; blocks n2 10.0.2.0/24; synced; api a/p u1 n2 10.0.2.1", pods{"a/p": "10.0.2.1"}, ""},
		{"nor outside the node's blocks", "blocks n1 10.0.0.0/24; synced; api a/p u1 n1 10.0.1.1", pods{"a/p": "10.0.1.1"}, ""},
		{"nor where unknown workloads may do what they like", "blocks n1 10.0.0.0/24; unknown Allow; synced; api a/p u1 n1 10.0.0.1", pods{"a/p": "10.0.0.1"}, ""},
		{"but again where they may not", "blocks n1 10.0.0.0/24; unknown Allow; forget; synced; api a/p u1 n1 10.0.0.1", pods{}, ""},
		{"one of the same name waits anew", "blocks n1 10.0.0.0/24; synced; api a/p u1 n1 10.0.0.1; wait 1s; api a/p u2 n1 10.0.0.1", pods{}, ""},
		{"one that is gone meanwhile", "blocks n1 10.0.0.0/24; synced; api a/p u1 n1 10.0.0.1; gone a/p; wait 1s", pods{}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			for step := range strings.SplitSeq(tt.steps, ";") {
				w.do(strings.TrimLeft(step, " "))
			}
			if got := w.have(); !reflect.DeepEqual(got, tt.want) {
				t.Errorf("pods have %v, want %v", got, tt.want)
			}
			if got := w.announces(); got != tt.announced {
				t.Errorf("announced are %q, want %q", got, tt.announced)
			}
			// What is given up leaves nothing behind.
			for k, p := range w.Overlay.pods {
				if p.local || len(p.status) == 0 {
					continue
				}
				t.Errorf("%v is kept", k)
			}
			for a, k := range w.claims {
				if p := w.Overlay.pods[k]; p == nil || !strings.Contains(" "+w.have()[k.namespace+"/"+k.name]+" ", " "+a.String()+" ") {
					t.Errorf("%v is claimed by %v, which has it not", a, k)
				}
			}
		})
	}
}

// Labels are the API server's, and the objects that it has delivered do not change.
func TestOverlayKeepsObjects(t *testing.T) {
	w := newWorld(t)
	p := apiPod("a/p u1 n1")
	p.Labels = map[string]string{"app": "web"}
	before := p.DeepCopy()
	w.below.Update([]runtime.Object{p}, nil)
	w.do("start s1 a/p u1 10.0.0.1")
	if !reflect.DeepEqual(p, before) {
		t.Errorf("the pod has been changed: %v", p)
	}
}

// One call of the source is one of the agent.
func TestOverlayOneTransaction(t *testing.T) {
	w := newWorld(t)
	w.below.Update([]runtime.Object{apiPod("a/p u1 n1 10.0.0.1"), apiPod("a/q u2 n2 10.0.2.1"), &corev1.Namespace{}}, []model.Ref{podRef(key{"a", "r"})})
	if w.updates != 1 {
		t.Errorf("%d updates, want 1", w.updates)
	}
	want := pods{"a/p": "10.0.0.1", "a/q": "10.0.2.1"}
	if got := w.have(); !reflect.DeepEqual(got, want) {
		t.Errorf("pods have %v, want %v", got, want)
	}
}

func TestStarted(t *testing.T) {
	missing := func(t *testing.T, err error, want Missing) {
		t.Helper()
		var late *Late
		if !errors.As(err, &late) || late.What != want || late.Pod != "a/p" {
			t.Errorf("got %v, want late: %s", err, want)
		}
	}
	t.Run("in force", func(t *testing.T) {
		w := newWorld(t)
		w.do("api a/p u1 n1")
		if err := w.Started(t.Context(), sandboxText("s1 a/p u1 10.0.0.1")); err != nil {
			t.Error(err)
		}
	})
	t.Run("waits for the pod", func(t *testing.T) {
		w := newWorld(t)
		over := make(chan error, 1)
		go func() { over <- w.Started(t.Context(), sandboxText("s1 a/p u1 10.0.0.1")) }()
		w.do("api a/other u2 n1")
		w.do("api a/p u0 n1") // one of its name
		select {
		case err := <-over:
			t.Fatalf("it has not waited: %v", err)
		default:
		}
		w.do("api a/p u1 n1")
		if err := <-over; err != nil {
			t.Error(err)
		}
		if got := w.have()["a/p"]; got != "10.0.0.1" {
			t.Errorf("the pod has %q", got)
		}
	})
	t.Run("stops meanwhile", func(t *testing.T) {
		w := newWorld(t)
		over := make(chan error, 1)
		go func() { over <- w.Started(t.Context(), sandboxText("s1 a/p u1 10.0.0.1")) }()
		for w.box("a/p") == nil {
		}
		w.do("stop s1 a/p u1 10.0.0.1")
		if err := <-over; err != nil {
			t.Error(err)
		}
	})
	// For the race detector: what Started waits for changes while it looks.
	t.Run("beside other events", func(t *testing.T) {
		for range 50 {
			w := newWorld(t)
			over := make(chan error, 2)
			go func() { over <- w.Started(t.Context(), sandboxText("s1 a/p u1 10.0.0.1")) }()
			go func() { over <- w.Started(t.Context(), sandboxText("s2 a/q u1 10.0.0.2")) }()
			for range 10 {
				w.do("api a/p u0 n1")
				w.do("api a/q u0 n1")
			}
			w.do("api a/p u1 n1")
			for w.box("a/q") == nil {
			}
			w.do("stop s2 a/q u1 10.0.0.2")
			for range 2 {
				if err := <-over; err != nil {
					t.Error(err)
				}
			}
		}
	})
	t.Run("no such pod", func(t *testing.T) {
		w := newWorld(t)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		missing(t, w.Started(ctx, sandboxText("s1 a/p u1 10.0.0.1")), MissingPod)
	})
	t.Run("the kernel lags behind", func(t *testing.T) {
		w := newWorld(t)
		w.settle = context.DeadlineExceeded
		w.do("api a/p u1 n1")
		missing(t, w.Started(t.Context(), sandboxText("s1 a/p u1 10.0.0.1")), MissingKernel)
	})
	t.Run("no agent", func(t *testing.T) {
		w := newWorld(t)
		w.Attach(nil)
		w.do("api a/p u1 n1")
		missing(t, w.Started(t.Context(), sandboxText("s1 a/p u1 10.0.0.1")), MissingKernel)
	})
	t.Run("the host's network", func(t *testing.T) {
		w := newWorld(t)
		w.settle = context.DeadlineExceeded
		if err := w.Started(t.Context(), sandboxText("s1 a/p u1")); err != nil {
			t.Error(err)
		}
	})
}

func (w *world) box(name string) *box {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.boxes[splitKey(name)]
}
