package bench

import (
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/sys/unix"

	"github.com/tierwall/tierwall/lab"
	"github.com/tierwall/tierwall/test/dns"
)

// BenchmarkNames is what it costs that answers to a pod with rules by name wait until
// their addresses are in the kernel.
func BenchmarkNames(b *testing.B) {
	for _, p := range planes {
		b.Run("latency/"+p.column.String(), func(b *testing.B) {
			for b.Loop() {
				newResolving(b, p, lab.Routed).latency(b)
			}
		})
		for name, network := range map[string]lab.Network{"routed": lab.Routed, "bridged": lab.Bridge} {
			b.Run("loss/"+name+"/"+p.column.String(), func(b *testing.B) {
				for b.Loop() {
					newResolving(b, p, network).loss(b, name)
				}
			})
		}
	}
}

// BenchmarkNamesBeside is the throughput of established connections of pods without rules
// by name, where DNS answers to another pod of the node wait.
func BenchmarkNamesBeside(b *testing.B) {
	base := onPlanes(oneRule, byPeer(1))
	others := besideNamed(onPlanes("1 rule, answers to another pod wait", byPeer(1)))
	pairs := slices.Concat(base, others)
	l := newPairs(b, lab.Routed, pairs)
	conns := map[*pair]*conn{}
	for _, p := range pairs {
		c, err := newConn(l, p)
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(c.close)
		conns[p] = c
	}
	m := measure{"throughput", "Gbit/s", some(400, 30), func(c *conn) (float64, error) { return c.throughput(40) }, Budget{AtLeast: true, Limit: 0.99, OfRatio: true}}
	for b.Loop() {
		values, err := m.turnsOf(pairs, conns)
		if err != nil {
			b.Fatal(err)
		}
		for i, p := range others {
			report.Put(Row{
				Part: Names, What: "throughput of a pod without rules by name, answers to another pod wait", Column: p.column(), Value: Median(values[p]), Unit: m.unit,
				Baseline: "no answers wait", Ratio: ratio(values[p], values[base[i]]), Budget: m.budget,
			})
		}
	}
}

// names are n names that nobody has asked for.
func (r *resolving) names(n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = strconv.Itoa(r.next) + ".bench.example"
		r.next++
	}
	return out
}

// paced asks for names from a pod, one every interval, and returns how long the answers
// took, in milliseconds. It waits without sleep, so that the client's CPU is awake: what is
// measured is the answer's way.
func (r *resolving) paced(where string, every time.Duration, names []string) (took []float64, err error) {
	err = r.Do(where, func() error {
		c, err := dns.Dial(r.server[0], dns.Options{})
		if err != nil {
			return err
		}
		next := time.Now()
		for _, name := range names {
			for next = next.Add(every); time.Until(next) > 0; {
				time.Sleep(time.Until(next))
			}
			began := time.Now()
			if _, err := c.Ask(name, dnsmessage.TypeA); err != nil {
				return err
			}
			took = append(took, Milliseconds(time.Since(began)))
		}
		return c.Close()
	})
	return took, err
}

// race has clients ask for names from a pod, each as fast as it can, and connect if a
// port is given.
func (r *resolving) race(where string, clients int, server netip.AddrPort, tcp bool, port uint16, names []string) (dns.Score, time.Duration, error) {
	var mu sync.Mutex
	var wg sync.WaitGroup
	var total dns.Score
	var failed error
	race := dns.Race{Type: dnsmessage.TypeA, Port: port, Patience: 900 * time.Millisecond}
	if server.Addr().Is6() {
		race.Type = dnsmessage.TypeAAAA
	}
	began := time.Now()
	for i := range clients {
		list := names[i*len(names)/clients : (i+1)*len(names)/clients]
		wg.Go(func() {
			var s dns.Score
			err := r.Do(where, func() error {
				c, err := dns.Dial(server, dns.Options{TCP: tcp, Seed: uint64(i)})
				if err != nil {
					return err
				}
				if s, err = race.Run(c, list); err != nil {
					return err
				}
				return c.Close()
			})
			mu.Lock()
			defer mu.Unlock()
			total.Add(s)
			if err != nil {
				failed = err
			}
		})
	}
	wg.Wait()
	return total, time.Since(began), failed
}

// cpu is how long the agent has had CPUs.
func (r *resolving) cpu() (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", r.agent.Process.Pid))
	if err != nil {
		return 0, err
	}
	f := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+2:]))
	user, err := strconv.ParseInt(f[11], 10, 64)
	if err != nil {
		return 0, err
	}
	system, err := strconv.ParseInt(f[12], 10, 64)
	const tick = 10 * time.Millisecond // USER_HZ is 100 on all of Go's systems
	return time.Duration(user+system) * tick, err
}

const (
	noInterception = "no interception"
	observed       = "observed"
	held           = "held"
)

// latency measures how long answers take, and how many there are a second.
func (r *resolving) latency(b *testing.B) {
	took := map[string][]float64{}
	measure := func(way, where string) {
		if _, err := r.paced(where, time.Millisecond, r.names(100)); err != nil { // to warm up
			b.Fatal(err)
		}
		list, err := r.paced(where, time.Millisecond, r.names(some(2000, 200)))
		if err != nil {
			b.Fatal(err)
		}
		took[way] = append(took[way], list...)
	}
	row := func(what string, value float64, unit string, budget Budget) {
		report.Put(Row{Part: Names, What: what, Column: r.plane.column, Value: value, Unit: unit, Budget: budget})
	}
	asFastAsPossible := func(way, where string, clients int) {
		if _, _, err := r.race(where, clients, r.server[0], false, 0, r.names(clients*10)); err != nil {
			b.Fatal(err)
		}
		before, err := r.cpu()
		if err != nil {
			b.Fatal(err)
		}
		s, wall, err := r.race(where, clients, r.server[0], false, 0, r.names(some(20_000, 1000)))
		if err != nil {
			b.Fatal(err)
		}
		after, err := r.cpu()
		if err != nil {
			b.Fatal(err)
		}
		what := fmt.Sprintf("answers a second, %d clients", clients)
		if clients == 1 {
			what = "answers a second, 1 client"
		}
		row(what+", "+way, float64(s.Answered)/wall.Seconds(), "", Budget{})
		if way == held {
			row(what+", "+way+", of the agent's CPU time", float64(s.Answered)/(after-before).Seconds(), "", Budget{AtLeast: true, Limit: 10_000})
		}
	}
	r.launch(b, "Never")
	for range 3 {
		measure(observed, named)
	}
	for _, clients := range []int{1, 64} {
		asFastAsPossible(observed, named, clients)
	}
	r.end()
	r.launch(b, "Always")
	for range 3 {
		measure(noInterception, plain)
		measure(held, named)
	}
	for _, clients := range []int{1, 64} {
		asFastAsPossible(noInterception, plain, clients)
		asFastAsPossible(held, named, clients)
	}
	r.end()
	for _, q := range []struct {
		quantile, limit float64
	}{{0.5, 0.3}, {0.99, 2}} {
		what := fmt.Sprintf("an answer at 1,000 a second, p%.0f", q.quantile*100)
		base := Quantile(took[noInterception], q.quantile)
		for _, way := range []string{noInterception, observed, held} {
			row(what+", "+way, Quantile(took[way], q.quantile), "ms", Budget{})
		}
		row(what+", added by holding", Quantile(took[held], q.quantile)-base, "ms", Budget{Limit: q.limit})
	}
}

// loss counts the first packets that are lost after answers that were held.
func (r *resolving) loss(b *testing.B, network string) {
	r.launch(b, "Always")
	n := some(12_500, 100)
	var total dns.Score
	for _, server := range r.server {
		for _, tcp := range []bool{false, true} {
			s, _, err := r.race(named, 8, server, tcp, 443, r.names(n))
			if err != nil {
				b.Fatal(err)
			}
			total.Add(s)
		}
	}
	unheld, err := r.unheld(total.Answered)
	if err != nil {
		b.Fatal(err)
	}
	r.end()
	lost := total.Lost + total.Failed
	heldOnes := float64(total.Answered - unheld)
	put := func(what string, value float64, unit string, budget Budget) {
		report.Put(Row{Part: Names, What: what + ", " + network, Column: r.plane.column, Value: value, Unit: unit, Budget: budget})
	}
	put(fmt.Sprintf("answers held of %d, IPv4 and IPv6, UDP and TCP", 4*n), heldOnes/float64(4*n)*100, "%", Budget{})
	put("first packets lost, answers that were not held included", float64(lost), "", Budget{})
	put("answers held, with the first packet delivered", (heldOnes-max(0, float64(lost-unheld)))/max(heldOnes, 1)*100, "%", Budget{AtLeast: true, Limit: 100})
	put("answers lost", float64(total.Asked-total.Answered), "", Budget{})
	for _, w := range total.Wrong {
		b.Log(w)
	}
}

// unheld is how many answers, each of which was to bring a new address, have gone on before
// it was in the kernel: those that the agent has not read, and those that it has let go.
func (r *resolving) unheld(answered int) (int, error) {
	var page string
	err := r.Do(resolvNode, func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		f := os.NewFile(uintptr(fd), "metrics")
		defer func() { _ = f.Close() }()
		if err := unix.Connect(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}, Port: 9391}); err != nil {
			return err
		}
		if _, err := f.WriteString("GET /metrics HTTP/1.0\r\n\r\n"); err != nil {
			return err
		}
		var text strings.Builder
		_, err = f.WriteTo(&text)
		page = text.String()
		return err
	})
	if err != nil {
		return 0, err
	}
	metric := func(name string) (v float64) {
		_, rest, _ := strings.Cut(page, "\ntierwall_agent_names_"+name+" ")
		value, _, _ := strings.Cut(rest, "\n")
		v, _ = strconv.ParseFloat(strings.TrimSpace(value), 64)
		return v
	}
	read := metric(`answers_total{result="new"}`)
	if read == 0 {
		return 0, fmt.Errorf("the agent has read no answers: %s", page)
	}
	n := max(0, answered-int(read))
	for _, reason := range []string{"late", "rate", "failed"} {
		n += int(metric(`unheld_total{reason="` + reason + `"}`))
	}
	return n, nil
}
