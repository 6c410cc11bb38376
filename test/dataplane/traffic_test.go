package dataplane

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/tierwall/tierwall/lab"
	"github.com/tierwall/tierwall/policy/model"
)

// alwaysDenied are flows that nothing may let through, whatever happens.
var alwaysDenied = []model.Flow{
	tcp(client, server, closedPort), udp(client, server, closedPort), tcp(client6, server6, closedPort),
	tcp(client, near, closedPort), udp(client6, near6, closedPort),
	tcp(intruder, server, webPort), udp(intruder6, server6, mdnsPort), tcp(intruder, near, webPort),
	tcp(server, client, webPort), tcp(server6, client6, webPort), udp(near, client, dnsPort),
	tcp(outside, server, webPort), udp(outside6, near6, mdnsPort),
	tcp(client, outside, webPort), udp(client6, outside6, dnsPort),
	{Src: addr(intruder), Dst: addr(server), Protocol: model.ICMPv4, ICMPType: 8},
	{Src: addr(intruder), Dst: addr(client), Protocol: model.SCTP, DstPort: webPort},
}

// traffic is what goes on all the while: streams that are allowed, and probes
// that are denied.
type traffic struct {
	lab     *lab.Lab
	streams []*lab.Stream
	names   []string

	quit, done chan struct{}
	stopped    sync.Once

	// window is open while denied packets may get through: the rules are gone.
	window atomic.Int64

	mu      sync.Mutex
	probes  uint64
	through []string
	err     error
}

// start opens streams on all ways from clients to servers, and begins to probe.
func start(l *lab.Lab) *traffic {
	GinkgoHelper()
	t := &traffic{lab: l, quit: make(chan struct{}), done: make(chan struct{})}
	for _, way := range [][2]string{{client, server}, {client6, server6}, {client, near}, {client6, near6}} {
		for _, p := range []model.Protocol{model.TCP, model.UDP} {
			port := webPort
			if p == model.UDP {
				port = dnsPort
			}
			from, to := addr(way[0]).String(), addr(way[1])
			o := lab.StreamOptions{Protocol: p, Src: join(from, 0), Dst: join(to.String(), uint16(port)), Rate: 50}
			s, err := l.OpenStream(context.Background(), o)
			Expect(err).NotTo(HaveOccurred())
			t.streams = append(t.streams, s)
			t.names = append(t.names, fmt.Sprintf("%s %s to %s", p, from, o.Dst))
		}
	}
	go t.probe()
	DeferCleanup(t.stop)
	return t
}

func (t *traffic) probe() {
	defer close(t.done)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for i := 0; ; i++ {
		select {
		case <-t.quit:
			return
		case <-tick.C:
		}
		f := alwaysDenied[i%len(alwaysDenied)]
		before := t.window.Load()
		r, err := t.lab.Probe(context.Background(), f, lab.Options{})
		strict := before%2 == 0 && t.window.Load() == before
		t.mu.Lock()
		if strict {
			t.probes++
		}
		switch {
		case err != nil && t.err == nil:
			t.err = err
		case r.Delivered && strict:
			t.through = append(t.through, fmt.Sprintf("%+v", f))
		}
		t.mu.Unlock()
	}
}

// open begins and ends a time in which denied packets may get through.
func (t *traffic) openWindow()  { t.window.Add(1) }
func (t *traffic) closeWindow() { t.window.Add(1) }

// goesOn returns when every stream has sent n more records and each denied flow
// has been probed once more.
func (t *traffic) goesOn(ctx context.Context, n uint64) {
	GinkgoHelper()
	for _, s := range t.streams {
		_, err := s.WaitRecords(ctx, n)
		Expect(err).NotTo(HaveOccurred())
	}
	t.mu.Lock()
	from := t.probes
	t.mu.Unlock()
	Eventually(func() uint64 {
		t.mu.Lock()
		defer t.mu.Unlock()
		return t.probes - from
	}).Should(BeNumerically(">=", len(alwaysDenied)))
}

func (t *traffic) stop() {
	t.stopped.Do(func() { close(t.quit) })
	<-t.done
}

// finish ends the traffic and holds it to what must be: each record has its echo
// at once, no denied probe has arrived.
func (t *traffic) finish() {
	GinkgoHelper()
	t.stop()
	Expect(t.err).NotTo(HaveOccurred())
	total.probes += t.probes
	total.through += uint64(len(t.through))
	var records uint64
	for i, s := range t.streams {
		stats := s.Close()
		total.streams++
		total.records += stats.Sent
		total.lost += stats.Lost() + stats.Late
		records += stats.Sent
		Expect(stats).To(Equal(lab.StreamStats{Sent: stats.Sent, Arrived: stats.Sent, Received: stats.Sent}), t.names[i])
	}
	Expect(t.through).To(BeEmpty(), "denied, and delivered")
	Expect(t.probes).To(BeNumerically(">=", len(alwaysDenied)))
	Expect(records).To(BeNumerically(">=", 100))
	AddReportEntry("traffic", fmt.Sprintf("%d records, none lost; %d denied probes, none through", records, t.probes))
}
