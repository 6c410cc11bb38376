package bench

import (
	"fmt"
	"runtime"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tierwall/tierwall/lab"
)

// BenchmarkEstablished is what a table costs connections that it has let
// through: throughput, and how long a request and its answer take.
func BenchmarkEstablished(b *testing.B) {
	established(b, lab.Routed, onPlanes("10,000 rules", byPeer(some(10_000, 2000))))
}

// BenchmarkEstablishedBridged is BenchmarkEstablished for pods on one bridge.
func BenchmarkEstablishedBridged(b *testing.B) { established(b, lab.Bridge, nil) }

// established measures pairs of a network in turns: without rules, with one, and more.
func established(b *testing.B, network lab.Network, more []*pair) {
	none := &pair{name: noRules}
	tracked := map[*plane]*pair{}
	pairs := []*pair{none, {name: noRules + ", once more (what chance does)"}}
	for _, p := range trackers() {
		tracked[p.plane], pairs = p, append(pairs, p)
	}
	pairs = slices.Concat(pairs, onPlanes(oneRule, byPeer(1)), unguarded(onPlanes("1 rule, without guards", byPeer(1))),
		hooksOf(network, onPlanes("1 rule, the guards' hooks empty", byPeer(1))), more)
	l := newPairs(b, network, pairs)
	pairs = slices.DeleteFunc(pairs, func(p *pair) bool { return p.missing })
	conns := map[*pair]*conn{}
	for _, p := range pairs {
		c, err := newConn(l, p)
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(c.close)
		conns[p] = c
	}
	measures := []measure{
		{"throughput", "Gbit/s", some(600, 30), func(c *conn) (float64, error) { return c.throughput(40) }, Budget{AtLeast: true, Limit: 0.97, OfRatio: true}},
		{"p99 of requests", "µs", some(60, 5), func(c *conn) (float64, error) { return c.requests(1000, 0.99) }, Budget{Limit: 1.03, OfRatio: true}},
		{"median of requests", "µs", some(30, 5), func(c *conn) (float64, error) { return c.requests(1000, 0.5) }, Budget{}},
		{"median of requests on one thread", "µs", some(60, 5), func(c *conn) (float64, error) { return c.alone(1000) }, Budget{}},
	}
	for b.Loop() {
		for _, m := range measures {
			values, err := m.turnsOf(pairs, conns)
			if err != nil {
				b.Fatal(err)
			}
			for _, p := range pairs {
				row := Row{Part: Established, What: m.name + ", " + on(network, p.name), Column: p.column(), Value: Median(values[p]), Unit: m.unit}
				if p != none {
					row.Baseline, row.Ratio = on(network, noRules), ratio(values[p], values[none])
				}
				if p.feed != nil {
					row.Budget = m.budget
				}
				report.Put(row)
				if p.feed != nil {
					row.What += ", where connections are tracked anyway"
					row.Baseline, row.Ratio = on(network, tracks), ratio(values[p], values[tracked[p.plane]])
					report.Put(row)
				}
			}
		}
	}
}

// measure is something that is measured of connections.
type measure struct {
	name, unit string
	turns      int
	run        func(*conn) (float64, error)
	budget     Budget
}

// turnsOf measures pairs in turns; the first two warm up.
func (m *measure) turnsOf(pairs []*pair, conns map[*pair]*conn) (map[*pair][]float64, error) {
	values := map[*pair][]float64{}
	for turn := range m.turns + 2 {
		for i := range pairs {
			p := pairs[(i+turn)%len(pairs)]
			v, err := m.run(conns[p])
			if err != nil {
				return nil, fmt.Errorf("%s: %s: %w", p.name, m.name, err)
			}
			if turn >= 2 {
				values[p] = append(values[p], v)
			}
		}
	}
	return values, nil
}

// conn is an established connection; sockets are blocking.
type conn struct{ client, server int }

func newConn(l *lab.Lab, p *pair) (*conn, error) {
	c := &conn{}
	err := l.Do(p.clientAt, func() error {
		var err error
		if c.client, c.server, err = p.connect(); err != nil {
			return err
		}
		for _, fd := range []int{c.client, c.server} {
			if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1); err != nil {
				return err
			}
		}
		return nil
	})
	return c, err
}

func (c *conn) close() {
	_ = unix.Close(c.client)
	_ = unix.Close(c.server)
}

// threadTime is how long the calling thread has been running on a CPU.
func threadTime() (time.Duration, error) {
	var t unix.Timespec
	err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t)
	return time.Duration(t.Nano()), err
}

// throughput sends chunks of 64 KiB and reads each, and returns Gbit/s of the time
// that the thread has a CPU: the kernel takes packets all the way on the thread
// that sends them, and what other programs take is no part of it.
func (c *conn) throughput(chunks int) (float64, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	buf := make([]byte, 64<<10)
	start, err := threadTime()
	if err != nil {
		return 0, err
	}
	for range chunks {
		// What the socket has not taken yet is written between the reads.
		for sent, got := 0, 0; got < len(buf); {
			if sent < len(buf) {
				n, err := unix.SendmsgN(c.client, buf[sent:], nil, nil, unix.MSG_DONTWAIT)
				if err != nil && err != unix.EAGAIN {
					return 0, err
				}
				sent += max(n, 0)
			}
			n, err := unix.Read(c.server, buf)
			if err != nil {
				return 0, err
			}
			if n == 0 {
				return 0, fmt.Errorf("the connection has ended")
			}
			got += n
		}
	}
	end, err := threadTime()
	return float64(chunks*len(buf)) * 8 / (end - start).Seconds() / 1e9, err
}

// requests sends one byte and awaits one, n times, between two threads, and
// returns a quantile in microseconds.
func (c *conn) requests(n int, q float64) (float64, error) {
	served := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		buf := make([]byte, 1)
		for range n {
			if err := pass(c.server, buf, false); err != nil {
				served <- err
				return
			}
			if err := pass(c.server, buf, true); err != nil {
				served <- err
				return
			}
		}
		served <- nil
	}()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	took := make([]float64, n)
	buf := make([]byte, 1)
	var err error
	for i := range took {
		start := time.Now()
		if err = pass(c.client, buf, true); err == nil {
			err = pass(c.client, buf, false)
		}
		if err != nil {
			break
		}
		took[i] = float64(time.Since(start)) / 1e3
	}
	if serr := <-served; err == nil {
		err = serr
	}
	return Quantile(took, q), err
}

// alone is requests on one thread: the path of the packets and nothing else.
func (c *conn) alone(n int) (float64, error) {
	took := make([]float64, n)
	buf := make([]byte, 1)
	for i := range took {
		start := time.Now()
		for _, fd := range []int{c.client, c.server} {
			if err := pass(fd, buf, true); err != nil {
				return 0, err
			}
			if err := pass(c.client+c.server-fd, buf, false); err != nil {
				return 0, err
			}
		}
		took[i] = float64(time.Since(start)) / 1e3
	}
	return Median(took), nil
}

// pass writes or reads one byte.
func pass(fd int, buf []byte, write bool) error {
	var n int
	var err error
	if write {
		n, err = unix.Write(fd, buf)
	} else {
		n, err = unix.Read(fd, buf)
	}
	if err == nil && n != 1 {
		err = fmt.Errorf("the connection has ended")
	}
	return err
}
