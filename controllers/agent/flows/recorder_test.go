package flows

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/tierwall/tierwall/api/selector"
	"github.com/tierwall/tierwall/dataplane/conntrack/events"
	"github.com/tierwall/tierwall/policy/flows"
	"github.com/tierwall/tierwall/policy/index"
	"github.com/tierwall/tierwall/policy/model"
	"github.com/tierwall/tierwall/policy/names"
)

// TestWindow sums connections by workload, with a Service's name, their volumes and what is
// open.
func TestWindow(t *testing.T) {
	r := newRig(t, smallWorld())
	r.Note(model.Ref{Kind: model.KindService, Namespace: "shop", Name: "db"}, &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "db"},
		Spec:       corev1.ServiceSpec{ClusterIP: "10.96.0.9", Ports: []corev1.ServicePort{{Port: 5432}}},
	})
	r.Settle(true)
	r.settle()
	service := netip.MustParseAddrPort("10.96.0.9:5432")
	a := r.connection(flowTo("10.0.0.1", "10.0.0.9", 15432), service)
	b := r.connection(flowTo("10.0.0.2", "10.0.0.9", 15432), service)
	direct := r.connection(flowTo("10.0.0.2", "10.0.0.9", 15432), netip.AddrPort{})
	r.kernel.Put(a, b, direct, ended(a, 100, 1000))
	got := r.next()
	if len(got) != 2 {
		t.Fatalf("records %+v", got)
	}
	plain, named := got[0], got[1]
	if plain.Service != "" || plain.Connections != (flows.Connections{New: 1, Live: 1}) || plain.Sent != nil {
		t.Errorf("direct: %+v", plain)
	}
	if named.Service != "shop/db" || named.Port != 15432 || named.Connections != (flows.Connections{New: 2, Closed: 1, Live: 1}) ||
		*named.Sent != (flows.Volume{Packets: 1, Bytes: 100}) || *named.Received != (flows.Volume{Packets: 1, Bytes: 1000}) {
		t.Errorf("by the Service: %+v", named)
	}
	wantSource := flows.End{Kind: flows.EndPod, Namespace: "shop", Workload: "Deployment/web", Node: "n1", Addresses: []netip.Addr{a.Original.Src, b.Original.Src}}
	if fmt.Sprint(named.Source) != fmt.Sprint(wantSource) || named.Destination.Workload != "StatefulSet/db" {
		t.Errorf("ends %+v, %+v", named.Source, named.Destination)
	}
	if named.Decided.Action != model.Allow || !named.Start.Equal(start) || !named.End.Equal(start.Add(flows.Window)) {
		t.Errorf("%+v", named)
	}
	r.kernel.Put(ended(b, 1, 2))
	if got := r.next(); len(got) != 1 || got[0].Connections != (flows.Connections{Closed: 1}) {
		t.Errorf("the window after: %+v", got)
	}
}

// TestDump counts what long connections carry as they go, each byte once, and what is open.
func TestDump(t *testing.T) {
	r := newRig(t, smallWorld())
	c := r.connection(flowTo("10.0.0.1", "10.0.0.9", 80), netip.AddrPort{})
	r.kernel.Put(c)
	at := c
	at.Counted = true
	total := func(want uint64) {
		t.Helper()
		var sum uint64
		for _, w := range r.table.ring {
			for _, rec := range w.records("") {
				if rec.Sent != nil {
					sum += rec.Sent.Bytes
				}
			}
		}
		if sum != want {
			t.Errorf("%d bytes, want %d", sum, want)
		}
	}
	for i := range uint64(3) {
		at.Sent.Bytes = 1000 * (i + 1)
		r.kernel.SetOpen(at)
		dumps := r.kernel.Dumps()
		for n := 0; r.kernel.Dumps() == dumps; n++ {
			if r.next(); n > 5 {
				t.Fatal("no dump in a minute")
			}
		}
		r.next()
		total(1000 * (i + 1))
	}
	// A second connection, of which no event came, is open: a dump shows it.
	other := r.connection(flowTo("10.0.0.2", "10.0.0.9", 80), netip.AddrPort{})
	other.Counted = true
	r.kernel.SetOpen(at, other)
	var last []flows.Record
	for range 5 {
		last = append(last, r.next()...)
	}
	if !slices.ContainsFunc(last, func(rec flows.Record) bool { return rec.Connections.Live == 2 }) {
		t.Errorf("open: %+v", last)
	}
	r.kernel.Put(ended(c, 3500, 0))
	r.next()
	total(3500)
	if len(r.long) != 1 {
		t.Errorf("%d long connections are remembered", len(r.long))
	}
}

// TestLoss dumps soon after events were lost.
func TestLoss(t *testing.T) {
	r := newRig(t, smallWorld())
	r.next()
	dumps := r.kernel.Dumps()
	r.kernel.Lose()
	r.clock.Step(dumpAgain)
	r.read()
	if r.kernel.Dumps() != dumps+1 {
		t.Errorf("%d dumps", r.kernel.Dumps()-dumps)
	}
}

// deny is a policy that denies what goes to a pod.
func deny(app string) *model.Policy {
	return &model.Policy{
		Ref: model.Ref{Kind: model.KindGlobalNetworkPolicy, Name: "deny"}, Tier: model.TierDefault, Order: 1, Selector: selector.Equal("app", app),
		Ingress: true, IngressRules: []model.Rule{{Action: model.Deny}},
	}
}

// TestChange says of each connection by what it was decided: what came before a change by
// what was before, what came after it by what is now, and of others both.
func TestChange(t *testing.T) {
	ix := smallWorld()
	r := newRig(t, ix)
	put := func(n int) {
		for range n {
			r.kernel.Put(r.connection(flowTo("10.0.0.1", "10.0.0.9", 80), netip.AddrPort{}))
		}
	}
	put(1) // read ahead of the change
	r.Begin(true)
	ix.Upsert(deny("db"))
	ix.Flush()
	r.Settle(true)
	put(2) // maybe before, maybe after
	r.settle()
	put(4) // after: the kernel takes longer to delete than the test
	got := r.next()
	byAction := map[string]uint64{}
	for _, rec := range got {
		name := rec.Decided.Action.String()
		if rec.Before != nil {
			name += " before " + rec.Before.Action.String()
			if rec.Before.Generation >= rec.Decided.Generation {
				t.Errorf("generations %d, %d", rec.Before.Generation, rec.Decided.Generation)
			}
		}
		byAction[name] += rec.Connections.New
	}
	want := map[string]uint64{"Allow": 1, "Deny before Allow": 2, "Deny": 4}
	if fmt.Sprint(byAction) != fmt.Sprint(want) {
		t.Errorf("got %v, want %v", byAction, want)
	}
}

// TestUndecided has no doubt about connections of which it is known that both policies
// decide alike.
func TestUndecided(t *testing.T) {
	ix := smallWorld()
	r := newRig(t, ix)
	r.kernel.Put(r.connection(flowTo("10.0.0.1", "10.0.0.9", 80), netip.AddrPort{}))
	r.Begin(true)
	ix.Upsert(deny("web"))
	ix.Flush()
	r.Settle(true)
	r.kernel.Put(r.connection(flowTo("10.0.0.1", "10.0.0.9", 80), netip.AddrPort{}))
	if got := r.next(); len(got) != 1 || got[0].Before != nil {
		t.Errorf("%+v", got)
	}
}

// TestSourcePorts asks policy with the port of the source where rules tell them apart.
func TestSourcePorts(t *testing.T) {
	ix := smallWorld()
	p := deny("db")
	p.IngressRules = []model.Rule{
		{Action: model.Allow, Match: model.Match{Protocol: model.TCP, Source: model.Peer{Ports: []model.Port{{First: 1000, Last: 1999}}}}},
		{Index: 1, Action: model.Deny},
	}
	ix.Upsert(p)
	ix.Flush()
	r := newRig(t, ix)
	want := map[model.Action]uint64{}
	for port, action := range map[uint16]model.Action{1: model.Deny, 999: model.Deny, 1000: model.Allow, 1500: model.Allow, 1999: model.Allow, 2000: model.Deny, 65535: model.Deny} {
		f := flowTo("10.0.0.1", "10.0.0.9", 80)
		f.SrcPort = port
		r.kernel.Put(r.connection(f, netip.AddrPort{}))
		want[action]++
	}
	got := map[model.Action]uint64{}
	for _, rec := range r.next() {
		got[rec.Decided.Action] += rec.Connections.New
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// TestOff opens nothing while nothing is to be recorded, and closes what is open then.
func TestOff(t *testing.T) {
	ix := smallWorld()
	opened := make(chan *events.Fake, 10)
	fails := errors.New("no such thing")
	var mu sync.Mutex
	var fail error
	r, err := New(Options{Index: ix, Open: func() (events.Reader, error) {
		mu.Lock()
		defer mu.Unlock()
		f := &events.Fake{}
		opened <- f
		return f, fail
	}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	over := make(chan struct{})
	go func() { r.Run(ctx); close(over) }()
	switchTo := func(on bool) {
		r.Begin(true)
		f := model.DefaultFlows()
		f.On = on
		r.Configure(&f)
		r.Settle(true)
	}
	switchTo(false)
	if _, err := r.Records(&flows.Query{}); err == nil {
		t.Error("records without recording")
	}
	select {
	case <-opened:
		t.Error("opened")
	default:
	}
	switchTo(true)
	first := <-opened
	switchTo(false)
	for !first.Closed() {
		r.ring()
	}
	mu.Lock()
	fail = fails
	mu.Unlock()
	switchTo(true)
	<-opened
	cancel()
	<-over
}

// TestLimits has more distinct keys than there is room for: the heaviest are there, the
// others are summed, and no connection is missing.
func TestLimits(t *testing.T) {
	ix := smallWorld()
	r := newRig(t, ix)
	heavy := flowTo("10.0.0.1", "10.0.0.9", 1)
	total, sum, omitted := uint64(0), uint64(0), uint64(0)
	for w := range 4 {
		for i := range 60_000 {
			f := flowTo("10.0.0.2", "10.0.0.9", uint16(1+i))
			r.kernel.Put(r.connection(f, netip.AddrPort{}))
			total++
			if i%10 == 0 {
				r.kernel.Put(r.connection(heavy, netip.AddrPort{}))
				total++
			}
			if i%10_000 == 0 {
				r.clock.Step(1)
				r.rate.left = unlimited // the clock stands still
				r.read()
			}
		}
		for _, rec := range r.next() {
			sum += rec.Connections.New
			if rec.Other {
				omitted += rec.Connections.New
			}
		}
		if r.table.size > maxKeys || r.table.total > maxCounts {
			t.Errorf("window %d: %d keys, %d counts", w, r.table.size, r.table.total)
		}
		if k := r.table.ring[len(r.table.ring)-1]; !slices.ContainsFunc(k.counts, func(c count) bool { return c.key.port == 1 && c.began >= 6000 }) {
			t.Errorf("window %d: the heaviest is missing", w)
		}
	}
	if sum != total || omitted == 0 {
		t.Errorf("%d connections of %d, %d without ends", sum, total, omitted)
	}
}

// TestExpire forgets what is older than an hour, with all that only it had.
func TestExpire(t *testing.T) {
	r := newRig(t, smallWorld())
	c := r.connection(flowTo("10.0.0.1", "10.0.0.9", 80), netip.AddrPort{})
	r.kernel.Put(c, ended(c, 1, 1))
	for range windows + 2 {
		r.next()
	}
	if len(r.table.ring) > windows || r.table.size != 0 || r.table.total != 0 || len(r.table.keys) != 0 {
		t.Errorf("%d windows, %d keys, %d counts", len(r.table.ring), r.table.size, r.table.total)
	}
}

// TestEnds names ends by what the rule that decided names: a network set or a DNS name; and
// nodes by their name.
func TestEnds(t *testing.T) {
	ix := smallWorld()
	pattern, err := names.ParsePattern("*.example.com")
	if err != nil {
		t.Fatal(err)
	}
	ix.Upsert(&model.Node{Name: "n1", Addrs: []netip.Addr{netip.MustParseAddr("192.0.2.1")}})
	ix.Upsert(&model.NetworkSet{
		Ref: model.Ref{Kind: model.KindGlobalNetworkSet, Name: "office"}, Labels: map[string]string{"set": "office"},
		Nets: []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")},
	})
	ix.Upsert(&model.Policy{
		Ref: model.Ref{Kind: model.KindGlobalNetworkPolicy, Name: "web"}, Tier: model.TierDefault, Order: 1, Selector: selector.Equal("app", "web"),
		Egress: true, EgressRules: []model.Rule{
			{Action: model.Allow, Match: model.Match{Destination: model.Peer{Selector: selector.Equal("set", "office")}}},
			{Index: 1, Action: model.Allow, Match: model.Match{Destination: model.Peer{Domains: []names.Pattern{pattern}}}},
			{Index: 2, Action: model.Allow},
		},
	})
	ix.Flush()
	ix.ApplyNames([]names.Delta{{Pattern: pattern, Added: []netip.Addr{netip.MustParseAddr("203.0.113.5")}}})
	ix.Flush()
	r := newRig(t, ix)
	for to, want := range map[string]flows.End{
		"198.51.100.7": {Kind: flows.EndSet, Set: "GlobalNetworkSet/office"},
		"203.0.113.5":  {Kind: flows.EndDomain, Domain: "*.example.com"},
		"203.0.113.6":  {Kind: flows.EndOutside},
		"192.0.2.1":    {Kind: flows.EndHost, Workload: "Node/n1", Node: "n1"},
	} {
		r.kernel.Put(r.connection(flowTo("10.0.0.1", to, 443), netip.AddrPort{}))
		got := r.next()
		if len(got) != 1 {
			t.Fatalf("%s: %+v", to, got)
		}
		want.Addresses = []netip.Addr{netip.MustParseAddr(to)}
		if fmt.Sprint(got[0].Destination) != fmt.Sprint(want) {
			t.Errorf("%s: %+v, want %+v", to, got[0].Destination, want)
		}
	}
}

// TestSides keeps what local pods send apart from what others send to them, if the
// workloads have pods on both nodes: a node decides for its own pods only, so what decided
// differs. flows.Joiner relies on it.
func TestSides(t *testing.T) {
	ix := index.New(index.Options{})
	for name, at := range map[string][2]string{
		"web-0": {"10.0.0.1", "here"}, "web-1": {"10.0.1.1", "there"}, "db-0": {"10.0.0.9", "here"}, "db-1": {"10.0.1.9", "there"},
	} {
		app, _, _ := strings.Cut(name, "-")
		ix.Upsert(&model.Endpoint{
			Ref: model.Ref{Kind: model.KindPod, Namespace: "shop", Name: name}, Node: at[1], Addrs: []netip.Addr{netip.MustParseAddr(at[0])},
			Labels: map[string]string{"app": app, "statefulset.kubernetes.io/pod-name": name},
		})
	}
	ix.Upsert(&model.Namespace{Name: "shop"})
	ix.Flush()
	r := newRigOn(t, ix, "here")
	for _, f := range [][2]string{{"10.0.0.1", "10.0.0.9"}, {"10.0.0.1", "10.0.1.9"}, {"10.0.1.1", "10.0.0.9"}} {
		r.kernel.Put(r.connection(flowTo(f[0], f[1], 80), netip.AddrPort{}))
	}
	var nodes []string
	for _, rec := range r.next() {
		nodes = append(nodes, rec.Source.Node+" to "+rec.Destination.Node)
	}
	slices.Sort(nodes)
	if want := []string{"here to here", "here to there", "there to here"}; !slices.Equal(nodes, want) {
		t.Errorf("got %q, want %q", nodes, want)
	}
}
