package flows

import (
	"math"
	"net/netip"
	"testing"
	"time"

	clocktesting "k8s.io/utils/clock/testing"

	"github.com/tierwall/tierwall/dataplane/conntrack"
	"github.com/tierwall/tierwall/dataplane/conntrack/events"
	"github.com/tierwall/tierwall/policy/flows"
	"github.com/tierwall/tierwall/policy/index"
	"github.com/tierwall/tierwall/policy/model"
)

var start = time.Date(2026, 1, 2, 15, 4, 0, 0, time.UTC)

// rig is a Recorder whose kernel and clock the test has, and whose steps it takes.
type rig struct {
	*Recorder
	t      testing.TB
	kernel *events.Fake
	clock  *clocktesting.FakeClock
	ids    uint32
}

func newRig(t testing.TB, ix *index.Index) *rig {
	t.Helper()
	return newRigOn(t, ix, "")
}

func newRigOn(t testing.TB, ix *index.Index, node string) *rig {
	t.Helper()
	r := &rig{t: t, kernel: &events.Fake{}, clock: clocktesting.NewFakeClock(start)}
	var err error
	r.Recorder, err = New(Options{
		Node: node, Index: ix, Open: func() (events.Reader, error) { return r.kernel, nil },
		Counts: func() (bool, error) { return true, nil }, Clock: r.clock, Always: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	r.Begin(true)
	r.Settle(true)
	if err := r.openReader(); err != nil {
		t.Fatal(err)
	}
	r.settle()
	return r
}

// settle passes the time in which what is read may be from before a change.
func (r *rig) settle() {
	r.t.Helper()
	r.clock.Step(settleTime)
	r.read()
}

// read reads what waits.
func (r *rig) read() {
	r.t.Helper()
	if err := r.step(false); err != nil {
		r.t.Fatal(err)
	}
}

// next closes the window and returns its records.
func (r *rig) next() []flows.Record {
	r.t.Helper()
	open := r.table.open.start
	r.clock.Step(open.Add(flows.Window).Sub(r.clock.Now()))
	r.read()
	last := r.table.ring[len(r.table.ring)-1]
	if !last.start.Equal(open) {
		r.t.Fatalf("closed %s, want %s", last.start, open)
	}
	return last.records("")
}

// connection is the beginning of a connection of a flow, whose destination was named.
func (r *rig) connection(f model.Flow, named netip.AddrPort) events.Event {
	r.ids++
	e := events.Event{ID: r.ids, Original: conntrack.Tuple{
		Src: f.Src, SrcPort: f.SrcPort, Dst: f.Dst, DstPort: f.DstPort, Protocol: f.Protocol, Type: f.ICMPType, Code: f.ICMPCode,
	}, Reply: conntrack.Tuple{Src: f.Dst, SrcPort: f.DstPort, Dst: f.Src, DstPort: f.SrcPort, Protocol: f.Protocol}}
	if named.IsValid() {
		e.Original.Dst, e.Original.DstPort = named.Addr(), named.Port()
	}
	return e
}

func ended(e events.Event, sent, received uint64) events.Event {
	e.Kind, e.Counted, e.Sent, e.Received = events.Ended, true, events.Volume{Packets: 1, Bytes: sent}, events.Volume{Packets: 1, Bytes: received}
	return e
}

func flowTo(src, dst string, port uint16) model.Flow {
	return model.Flow{Src: netip.MustParseAddr(src), Dst: netip.MustParseAddr(dst), Protocol: model.TCP, SrcPort: 40000, DstPort: port}
}

// smallWorld has two pods of a Deployment, one of which is a server.
func smallWorld() *index.Index {
	ix := index.New(index.Options{})
	pod := func(name, a string, labels map[string]string) {
		ix.Upsert(&model.Endpoint{Ref: model.Ref{Kind: model.KindPod, Namespace: "shop", Name: name}, Node: "n1", Labels: labels, Addrs: []netip.Addr{netip.MustParseAddr(a)}})
	}
	pod("web-5d8f7c9b6-abcde", "10.0.0.1", map[string]string{"app": "web", "pod-template-hash": "5d8f7c9b6"})
	pod("web-5d8f7c9b6-fghij", "10.0.0.2", map[string]string{"app": "web", "pod-template-hash": "5d8f7c9b6"})
	pod("db-0", "10.0.0.9", map[string]string{"app": "db", "statefulset.kubernetes.io/pod-name": "db-0"})
	ix.Upsert(&model.Namespace{Name: "shop"})
	ix.Flush()
	return ix
}

const unlimited = math.MaxInt
