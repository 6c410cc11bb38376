package answers

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"

	"k8s.io/utils/clock"

	"github.com/tierwall/tierwall/controllers/agent/learnt"
	"github.com/tierwall/tierwall/dataplane"
	"github.com/tierwall/tierwall/dataplane/nfqueue"
	"github.com/tierwall/tierwall/policy/names"
)

// Patience is how long an answer waits at most.
const Patience = dataplane.HoldTime

// beat is how often the switch is renewed and waiting answers are checked.
const beat = dataplane.HoldTime / 4

// Switch has answers wait; see dataplane.Answers and nfqueue.Switch.
type Switch interface {
	Renew() bool
	Release() bool
}

// Options of a Keeper. Program is needed.
type Options struct {
	// Reader of the queue; nil: no answers come.
	Reader nfqueue.Reader
	// Switch; nil: whoever feeds the Reader needs none.
	Switch Switch
	// Program has the kernel hold by what addresses have changed, soon. It returns at once,
	// and done is called when the kernel holds it or, with an error, has not taken it: then
	// it is up to the callee to try again. The next call comes after done. It must not call
	// the Keeper before it has returned.
	Program func(deltas []names.Delta, done func(error))
	// File keeps what is known; nil: a restart forgets it.
	File *learnt.Log
	// Known is what is known at the beginning, beside what the File holds.
	Known []names.Known
	// Internal reports whether an address is of the cluster itself, besides those that
	// names.Internal has: no answer may bring it. nil: none is.
	Internal func(netip.Addr) bool
	// Connections returns the addresses that connections go to now; nil: none is in use.
	Connections func() (map[netip.Addr]struct{}, error)
	// Ask sends a question to a server and returns its answer; nil: Keeper asks nothing.
	Ask func(ctx context.Context, server netip.Addr, question []byte) ([]byte, error)
	// Close is called when Run is over; nil: nothing is to be closed.
	Close func() error
	// Clock; nil: the real one.
	Clock clock.Clock
	// Log; nil: none.
	Log *slog.Logger
}

// Config is what may change while a Keeper runs.
type Config struct {
	// Servers are those whose answers count.
	Servers []netip.Addr
	// Table has the bounds of what is known. What it refuses and what is in use is the Keeper's.
	Table names.Options
	// Observe: answers go on before they are learnt from.
	Observe bool
	// TakeInternal: answers may bring internal addresses.
	TakeInternal bool
}

// Keeper keeps the addresses that answers have contained. Make it with New; all methods are safe for
// concurrent use.
type Keeper struct {
	opts    Options
	clock   clock.Clock
	log     *slog.Logger
	metrics *metrics
	// work and questions wake the goroutines for what takes its time.
	work, questions chan struct{}

	mu      sync.Mutex
	config  Config
	servers map[netip.Addr]struct{}
	table   *names.Table
	waiting waiting
	streams streams
	rates   rates
	inUse   map[netip.Addr]struct{}
	// unsaved are names of which something is to be written to the file, restored what it
	// held when the Keeper began and no pattern has asked for yet.
	unsaved  map[string]struct{}
	seen     map[string]struct{} // answered again: written less often
	restored map[string][]names.Known
	saveSeen time.Time
	// asking are names to ask for.
	asking []string
	// bound: the queue is read. taken: the last renewal met rules.
	bound, taken, stopped bool
	renewed               time.Time // the switch; zero: never
	err                   error
	refused               map[netip.Addr]string
}

// New returns a Keeper that knows what its file holds. Parts of the file that cannot be
// read are logged and left out.
func New(o Options) *Keeper {
	if o.Clock == nil {
		o.Clock = clock.RealClock{}
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	k := &Keeper{
		opts: o, clock: o.Clock, log: o.Log, metrics: newMetrics(), work: make(chan struct{}, 1), questions: make(chan struct{}, 1),
		servers: map[netip.Addr]struct{}{}, inUse: map[netip.Addr]struct{}{},
		unsaved: map[string]struct{}{}, seen: map[string]struct{}{}, restored: map[string][]names.Known{}, refused: map[netip.Addr]string{},
		streams: newStreams(), rates: newRates(),
	}
	k.table = names.New(k.options(names.Options{}))
	k.load()
	return k
}

// options are those of the table, with what is the Keeper's. The functions are called
// with mu held.
func (k *Keeper) options(o names.Options) names.Options {
	o.Refuse = k.refuses
	o.InUse = func(a netip.Addr) bool { _, ok := k.inUse[a]; return ok }
	return o
}

// Configure changes the Config.
func (k *Keeper) Configure(c Config) {
	k.mu.Lock()
	defer k.mu.Unlock()
	c.Servers = slices.Clone(c.Servers)
	k.config = c
	clear(k.servers)
	for _, a := range c.Servers {
		k.servers[a.Unmap()] = struct{}{}
	}
	k.table.Configure(k.options(c.Table))
}

// Use takes references to patterns and gives others back, and returns by what their
// addresses have changed at once: what is known of them already. The caller has the
// kernel hold that, as if it were the Program's.
func (k *Keeper) Use(added, removed []names.Pattern) []names.Delta {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := k.clock.Now()
	for _, p := range added {
		k.table.Use(p)
		k.restore(p, now)
		if !p.Wildcard() {
			k.asking = append(k.asking, p.String())
		}
	}
	for _, p := range removed {
		k.table.Release(p)
	}
	wake(k.work)
	wake(k.questions)
	if k.waiting.busy() { // what waits may hang on these deltas; they come in their turn
		k.waiting.more = true
		return nil
	}
	return k.table.Deltas()
}

func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Run works until the context ends. Then it ends the waiting of answers, has those that
// wait go on, and returns. An error of the Reader is logged, and it is tried again.
func (k *Keeper) Run(ctx context.Context) {
	var wg sync.WaitGroup
	reading, stopReading := context.WithCancel(context.WithoutCancel(ctx))
	wg.Go(func() { k.read(reading) })
	wg.Go(func() { k.labour(ctx) })
	wg.Go(func() { k.askAll(ctx) })
	for ctx.Err() == nil {
		k.tick()
		select {
		case <-ctx.Done():
		case <-k.clock.After(beat):
		}
	}
	k.release()
	// A packet that had passed the switch before may still be on its way to the queue.
	select {
	case <-k.clock.After(grace):
	case <-reading.Done():
	}
	stopReading()
	wg.Wait()
	k.acceptAll()
	k.save()
	if k.opts.File != nil {
		_ = k.opts.File.Close()
	}
	if k.opts.Close != nil {
		if err := k.opts.Close(); err != nil {
			k.log.Warn("the queue of DNS answers is not closed", "error", err)
		}
	}
}

// grace is how long the queue is read after answers do not wait any more.
const grace = 20 * time.Millisecond

// retry is the pause after an error of the Reader.
const retry = time.Second

func (k *Keeper) read(ctx context.Context) {
	if k.opts.Reader == nil {
		return
	}
	for ctx.Err() == nil {
		err := k.opts.Reader.Run(ctx, func() { k.setBound(nil) }, k.packets)
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			err = errors.New("stopped unexpectedly")
		}
		before := k.Err()
		k.setBound(err)
		level := slog.LevelError
		if before != nil && before.Error() == err.Error() {
			level = slog.LevelDebug // it has been logged
		}
		k.log.Log(ctx, level, "DNS answers do not wait: first packets to addresses that are new may be lost", "error", err, "tryAgainAfter", retry)
		select {
		case <-ctx.Done():
		case <-k.clock.After(retry):
		}
	}
}

func (k *Keeper) setBound(err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.bound, k.err = err == nil, err
	if err != nil {
		k.waiting.forget() // what waited is lost with the queue
	} else if !k.stopped {
		k.renew()
	}
}

// tick releases what has waited too long, and renews the switch.
func (k *Keeper) tick() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if late := k.waiting.late(k.clock.Now().Add(-Patience)); len(late) > 0 {
		k.metrics.unheld.WithLabelValues("late").Add(float64(len(late)))
		k.accept(late)
		k.opts.releaseSwitch()
	}
	if k.table.Gone() > 0 && !k.waiting.busy() {
		k.waiting.more = true
		if deltas := k.submit(k.clock.Now()); deltas != nil {
			k.program(deltas)
		}
	}
	if k.stopped || !k.bound || k.waiting.stuck {
		return
	}
	k.renew()
}

// renew renews the switch. Where answers have not waited for a while, they have gone by
// unread: the names that rules spell out are asked for then.
func (k *Keeper) renew() {
	if k.opts.Switch == nil {
		return
	}
	now := k.clock.Now()
	if !k.renewed.IsZero() && now.Sub(k.renewed) > dataplane.HoldTime {
		for _, p := range k.table.Patterns() {
			if !p.Wildcard() {
				k.asking = append(k.asking, p.String())
			}
		}
		wake(k.questions)
	}
	k.renewed = now
	before := k.taken
	if k.taken = k.opts.Switch.Renew(); k.taken && !before {
		k.log.Info("DNS answers wait until their addresses are in the kernel")
	}
}

// Begin has answers wait from now on, if they do not yet: the kernel has come to have rules for that.
func (k *Keeper) Begin() { k.tick() }

func (o *Options) releaseSwitch() {
	if o.Switch != nil {
		o.Switch.Release()
	}
}

// release turns the switch off, and releases the answers that wait.
func (k *Keeper) release() {
	k.mu.Lock()
	k.stopped = true
	k.opts.releaseSwitch()
	k.mu.Unlock()
	k.acceptAll()
}

func (k *Keeper) acceptAll() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.accept(k.waiting.all())
}

// accept releases packets.
func (k *Keeper) accept(ids []uint32) {
	if len(ids) == 0 || k.opts.Reader == nil {
		return
	}
	if err := k.opts.Reader.Accept(ids); err != nil {
		k.log.Error("cannot release DNS answers", "error", err, "answers", len(ids))
	}
}

// Err returns why answers are not read; nil if they are, or if that is not known yet.
func (k *Keeper) Err() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.err
}

// Names returns all that is known, sorted by name and address.
func (k *Keeper) Names() []names.Known {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.table.Names()
}

// PatternsOf returns the patterns that a name is counted for, sorted.
func (k *Keeper) PatternsOf(name string) []names.Pattern {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.table.PatternsOf(name)
}

// Patterns returns those that are in use, sorted.
func (k *Keeper) Patterns() []names.Pattern {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.table.Patterns()
}
