package answers

import (
	"context"
	"encoding/binary"
	"errors"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
	testclock "k8s.io/utils/clock/testing"

	"github.com/tierwall/tierwall/controllers/agent/learnt"
	"github.com/tierwall/tierwall/dataplane"
	"github.com/tierwall/tierwall/dataplane/nfqueue"
	"github.com/tierwall/tierwall/policy/names"
)

var (
	server = netip.MustParseAddr("10.96.0.10")
	client = netip.MustParseAddr("10.1.0.2")
	start  = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
)

// world is a Keeper and what is around it.
type world struct {
	t      *testing.T
	clock  *testclock.FakeClock
	reader *nfqueue.Fake
	keeper *Keeper
	stop   func()

	mu       sync.Mutex
	deltas   [][]names.Delta
	dones    []func(error)
	called   chan struct{}
	switched []string
}

func (w *world) Renew() bool   { return w.note("on") }
func (w *world) Release() bool { return w.note("off") }

func (w *world) note(s string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if n := len(w.switched); n == 0 || w.switched[n-1] != s {
		w.switched = append(w.switched, s)
	}
	return true
}

func newWorld(t *testing.T, change func(*Options, *Config)) *world {
	t.Helper()
	w := &world{t: t, clock: testclock.NewFakeClock(start), reader: nfqueue.NewFake(), called: make(chan struct{}, 100)}
	o := Options{Reader: w.reader, Switch: w, Clock: w.clock, Program: func(d []names.Delta, done func(error)) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.deltas, w.dones = append(w.deltas, d), append(w.dones, done)
		w.called <- struct{}{}
	}}
	c := Config{Servers: []netip.Addr{server}}
	if change != nil {
		change(&o, &c)
	}
	w.keeper = New(o)
	w.keeper.Configure(c)
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { w.keeper.Run(ctx) })
	w.stop = sync.OnceFunc(func() {
		cancel()
		for over := make(chan struct{}); ; {
			go func() { wg.Wait(); close(over) }()
			for {
				select {
				case <-over:
					return
				case <-time.After(time.Millisecond):
					w.clock.Step(grace)
				}
			}
		}
	})
	t.Cleanup(w.stop)
	return w
}

// change waits for the next change that the kernel is to be brought.
func (w *world) change() (text string, done func(error)) {
	w.t.Helper()
	select {
	case <-w.called:
	case <-time.After(10 * time.Second):
		w.t.Fatal("no change has come")
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	d := w.deltas[0]
	done = w.dones[0]
	w.deltas, w.dones = w.deltas[1:], w.dones[1:]
	return deltaText(d), done
}

func deltaText(list []names.Delta) string {
	var out []string
	for _, d := range list {
		s := d.Pattern.String()
		for _, a := range d.Added {
			s += " +" + a.String()
		}
		for _, a := range d.Removed {
			s += " -" + a.String()
		}
		out = append(out, s)
	}
	return strings.Join(out, "; ")
}

func (w *world) use(list ...string) string {
	w.t.Helper()
	return deltaText(w.keeper.Use(patterns(w.t, list...), nil))
}

func patterns(t *testing.T, list ...string) (out []names.Pattern) {
	t.Helper()
	for _, s := range list {
		p, err := names.ParsePattern(s)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, p)
	}
	return out
}

// gone reports whether a packet goes on, soon.
func gone(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	case <-time.After(5 * time.Second):
		return false
	}
}

func waits(c <-chan struct{}) bool {
	select {
	case <-c:
		return false
	default:
		return true
	}
}

func message(name string, ttl uint32, addrs ...string) []byte {
	m := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: 7, Response: true},
		Questions: []dnsmessage.Question{{Name: dnsmessage.MustNewName(name + "."), Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET}},
	}
	for _, s := range addrs {
		h := dnsmessage.ResourceHeader{Name: m.Questions[0].Name, Class: dnsmessage.ClassINET, TTL: ttl}
		m.Answers = append(m.Answers, dnsmessage.Resource{Header: h, Body: &dnsmessage.AResource{A: netip.MustParseAddr(s).As4()}})
	}
	out, err := m.Pack()
	if err != nil {
		panic(err)
	}
	return out
}

// datagram is a packet of IPv4 and UDP.
func datagram(from, to netip.Addr, payload []byte) []byte {
	b := make([]byte, 28, 28+len(payload))
	b[0], b[9] = 0x45, 17
	binary.BigEndian.PutUint16(b[2:], uint16(28+len(payload)))
	copy(b[12:], from.AsSlice())
	copy(b[16:], to.AsSlice())
	binary.BigEndian.PutUint16(b[20:], port)
	binary.BigEndian.PutUint16(b[22:], 40000)
	binary.BigEndian.PutUint16(b[24:], uint16(8+len(payload)))
	return append(b, payload...)
}

func answer(name string, addrs ...string) []byte {
	return datagram(server, client, message(name, 60, addrs...))
}

func TestAnswerWaits(t *testing.T) {
	w := newWorld(t, nil)
	if got := w.use("a.example", "*.b.example"); got != "" {
		t.Errorf("what nobody has answered is known: %s", got)
	}
	first := w.reader.Send(answer("a.example", "192.0.2.1"), answer("other.example", "192.0.2.9"), answer("x.b.example", "192.0.2.2"))
	text, done := w.change()
	if want := "*.b.example +192.0.2.2; a.example +192.0.2.1"; text != want {
		t.Errorf("%s; want %s", text, want)
	}
	if !gone(first[1]) || !waits(first[0]) || !waits(first[2]) {
		t.Error("what waits is not what brings something new")
	}
	// While a change is under way the next one gathers, and what is known waits for the former.
	second := w.reader.Send(answer("a.example", "192.0.2.1"), answer("a.example", "192.0.2.3"))
	done(nil)
	if !gone(first[0]) || !gone(first[2]) {
		t.Error("an answer that is in the kernel does not go on")
	}
	text, done = w.change()
	if text != "a.example +192.0.2.3" || !waits(second[1]) {
		t.Errorf("the second change is %s", text)
	}
	done(nil)
	if !gone(second[0]) || !gone(second[1]) {
		t.Error("the second answers do not go on")
	}
	// Known by now.
	if !gone(w.reader.Send(answer("a.example", "192.0.2.1", "192.0.2.3"))[0]) {
		t.Error("an answer that brings nothing new waits")
	}
}

// What answers push out does not hold them up: it goes when no answer waits for it.
func TestWhatGoesDoesNotHoldUpAnswers(t *testing.T) {
	w := newWorld(t, func(_ *Options, c *Config) { c.Table.MaxNamesPerWildcard = 1 })
	w.use("*.b.example")
	w.reader.Send(answer("x.b.example", "192.0.2.1"))
	_, done := w.change()
	done(nil)
	second := w.reader.Send(answer("y.b.example", "192.0.2.2"))
	text, done := w.change()
	if text != "*.b.example +192.0.2.2" {
		t.Errorf("the answer waits for %s", text)
	}
	done(nil)
	if !gone(second[0]) {
		t.Error("an answer that is in the kernel does not go on")
	}
	w.keeper.tick()
	if text, done = w.change(); text != "*.b.example -192.0.2.1" {
		t.Errorf("then comes %s", text)
	}
	done(nil)
	// One that comes back before it has gone stays, and its answer has nothing to wait for.
	third := w.reader.Send(answer("x.b.example", "192.0.2.1"))
	_, done = w.change()
	done(nil)
	if fourth := w.reader.Send(answer("y.b.example", "192.0.2.2")); !gone(third[0]) || !gone(fourth[0]) {
		t.Error("an answer with an address that the kernel still has waits")
	}
}

// segment is a packet of IPv4 and TCP.
func segment(seq uint32, flags byte, payload []byte) []byte {
	b := make([]byte, 40, 40+len(payload))
	b[0], b[9] = 0x45, 6
	binary.BigEndian.PutUint16(b[2:], uint16(40+len(payload)))
	copy(b[12:], server.AsSlice())
	copy(b[16:], client.AsSlice())
	binary.BigEndian.PutUint16(b[20:], port)
	binary.BigEndian.PutUint16(b[22:], 40000)
	binary.BigEndian.PutUint32(b[24:], seq)
	b[32], b[33] = 5<<4, flags
	return append(b, payload...)
}

// A server's kernel sends again what is not acknowledged soon. What it repeats of an answer
// that waits must not overtake it.
func TestRepeatedSegmentWaits(t *testing.T) {
	const syn, ack, fin = 2, 16, 1
	w := newWorld(t, nil)
	w.use("a.example")
	msg := message("a.example", 60, "192.0.2.1", "192.0.2.2")
	msg = append([]byte{0, byte(len(msg))}, msg...)
	half := len(msg) / 2
	first := w.reader.Send(segment(99, syn|ack, nil), segment(100, ack, msg[:half]), segment(100+uint32(half), ack|fin, msg[half:]))
	_, done := w.change()
	if !gone(first[0]) || !gone(first[1]) || !waits(first[2]) {
		t.Error("what waits is not what completes the answer")
	}
	again := w.reader.Send(segment(100+uint32(half), ack|fin, msg[half:]), segment(100, ack, msg), segment(100+uint32(len(msg))+1, ack, nil))
	if !gone(again[2]) || !waits(again[0]) || !waits(again[1]) {
		t.Error("what repeats an answer that waits overtakes it")
	}
	done(nil)
	if !gone(first[2]) || !gone(again[0]) || !gone(again[1]) {
		t.Error("an answer that is in the kernel does not go on")
	}
	if !gone(w.reader.Send(segment(100, ack, msg))[0]) {
		t.Error("what repeats an answer that has gone on waits")
	}
}

func TestChangeFails(t *testing.T) {
	w := newWorld(t, nil)
	w.use("a.example")
	p := w.reader.Send(answer("a.example", "192.0.2.1"))
	_, done := w.change()
	done(errors.New("refused"))
	if !gone(p[0]) {
		t.Error("an answer waits for a change that has failed")
	}
}

func TestPatience(t *testing.T) {
	w := newWorld(t, nil)
	w.use("a.example")
	p := w.reader.Send(answer("a.example", "192.0.2.1"))
	_, done := w.change()
	for range 5 {
		w.clock.Step(beat)
		w.keeper.tick()
	}
	if !gone(p[0]) {
		t.Fatal("an answer waits for longer than the switch lets it")
	}
	if !slices.Contains(w.switchedNow(), "off") {
		t.Errorf("answers go on to wait: %v", w.switchedNow())
	}
	if !gone(w.reader.Send(answer("a.example", "192.0.2.2"))[0]) {
		t.Error("an answer waits for a change that is not through")
	}
	done(nil)
	if s := w.switchedNow(); s[len(s)-1] != "on" {
		t.Errorf("answers do not wait again: %v", s)
	}
}

func (w *world) switchedNow() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.switched)
}

func TestStop(t *testing.T) {
	w := newWorld(t, nil)
	w.use("a.example")
	p := w.reader.Send(answer("a.example", "192.0.2.1"))
	w.change()
	w.stop()
	if !gone(p[0]) || w.reader.Waiting() > 0 {
		t.Error("an answer is lost with the agent")
	}
	if s := w.switchedNow(); s[len(s)-1] != "off" {
		t.Errorf("answers go on to wait: %v", s)
	}
}

func TestRefused(t *testing.T) {
	w := newWorld(t, func(o *Options, _ *Config) { o.Internal = netip.MustParsePrefix("10.0.0.0/8").Contains })
	w.use("a.example", "*.a.example")
	for _, addr := range []string{"10.1.2.3", "127.0.0.1", "169.254.169.254", "224.0.0.1"} {
		if !gone(w.reader.Send(answer("a.example", addr))[0]) {
			t.Errorf("an answer with nothing that counts waits: %s", addr)
		}
	}
	if got := w.keeper.Names(); len(got) > 0 {
		t.Errorf("internal addresses are learnt: %v", got)
	}
	// Of another server, and of another port.
	if !gone(w.reader.Send(datagram(client, server, message("a.example", 60, "192.0.2.1")))[0]) || len(w.keeper.Names()) > 0 {
		t.Error("an answer of somebody else's is learnt from")
	}
}

func TestObserve(t *testing.T) {
	w := newWorld(t, func(_ *Options, c *Config) { c.Observe = true })
	w.use("a.example")
	if !gone(w.reader.Send(answer("a.example", "192.0.2.1"))[0]) {
		t.Error("an answer waits")
	}
	if text, _ := w.change(); text != "a.example +192.0.2.1" {
		t.Errorf("%s is learnt", text)
	}
}

func TestRestart(t *testing.T) {
	path := filepath.Join(t.TempDir(), learnt.FileName)
	keep := func(o *Options, _ *Config) { o.File = &learnt.Log{Path: path} }
	w := newWorld(t, keep)
	w.use("a.example", "*.b.example")
	w.reader.Send(answer("a.example", "192.0.2.1"), answer("x.b.example", "192.0.2.2"))
	_, done := w.change()
	done(nil)
	w.stop()
	w = newWorld(t, keep)
	if got := w.use("*.b.example"); got != "*.b.example +192.0.2.2" {
		t.Errorf("after a restart: %s", got)
	}
	w.stop()
	w = newWorld(t, keep) // nobody has asked for a.example meanwhile
	if got := w.use("a.example"); got != "a.example +192.0.2.1" {
		t.Errorf("after another: %s", got)
	}
}

func TestExpiry(t *testing.T) {
	used := map[netip.Addr]struct{}{netip.MustParseAddr("192.0.2.1"): {}}
	w := newWorld(t, func(o *Options, _ *Config) {
		o.Connections = func() (map[netip.Addr]struct{}, error) { return used, nil }
	})
	w.use("a.example")
	w.reader.Send(answer("a.example", "192.0.2.1", "192.0.2.2"))
	_, done := w.change()
	done(nil)
	w.clock.Step(60*time.Second + names.DefaultExtraTTL)
	w.keeper.Expire()
	text, done := w.change()
	if text != "a.example -192.0.2.2" {
		t.Errorf("%s expires", text)
	}
	done(nil)
	used = nil
	w.clock.Step(names.KeepInUse)
	w.keeper.Expire()
	if text, _ := w.change(); text != "a.example -192.0.2.1" {
		t.Errorf("%s expires at last", text)
	}
}

func TestAsksItself(t *testing.T) {
	asked := make(chan string, 10)
	w := newWorld(t, func(o *Options, _ *Config) {
		o.Ask = func(_ context.Context, to netip.Addr, question []byte) ([]byte, error) {
			var p dnsmessage.Parser
			h, err := p.Start(question)
			if err != nil {
				return nil, err
			}
			q, err := p.Question()
			if err != nil {
				return nil, err
			}
			asked <- to.String() + " " + q.Name.String() + " " + q.Type.String()
			m := dnsmessage.Message{Header: dnsmessage.Header{ID: h.ID, Response: true}, Questions: []dnsmessage.Question{q}}
			if q.Type == dnsmessage.TypeA {
				m.Answers = []dnsmessage.Resource{{Header: dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class, TTL: 5}, Body: &dnsmessage.AResource{A: [4]byte{192, 0, 2, 7}}}}
			}
			return m.Pack()
		}
	})
	w.use("a.example", "*.b.example")
	text, done := w.change()
	if text != "a.example +192.0.2.7" {
		t.Errorf("%s", text)
	}
	done(nil)
	if got := <-asked; got != "10.96.0.10 a.example. TypeA" {
		t.Errorf("asked: %s", got)
	}
	<-asked // TypeAAAA
	// The agent was halted: answers have gone by meanwhile.
	gone(w.reader.Send(answer("other.example"))[0]) // the queue is read, and the switch on
	w.clock.Step(2 * dataplane.HoldTime)
	w.keeper.tick()
	if got := <-asked; got != "10.96.0.10 a.example. TypeA" {
		t.Errorf("asked after a halt: %s", got)
	}
}

func TestRate(t *testing.T) {
	w := newWorld(t, nil)
	w.use("*.a.example")
	flood := make([][]byte, burstPerAddr+10)
	for i := range flood {
		flood[i] = answer("n"+string(rune('a'+i%26))+".a.example", netip.AddrFrom4([4]byte{198, 18, byte(i >> 8), byte(i)}).String())
	}
	sent := w.reader.Send(flood...)
	_, done := w.change()
	if !gone(sent[len(sent)-1]) || !waits(sent[0]) {
		t.Error("what is over a pod's share waits, or what is not does not")
	}
	// Another pod's answers wait.
	p := w.reader.Send(datagram(server, client.Next(), message("z.a.example", 60, "192.0.2.1")))
	if !waits(p[0]) {
		t.Error("one pod's flood has another's answers not wait")
	}
	done(nil)
	w.change()
}
