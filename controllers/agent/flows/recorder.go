package flows

import (
	"errors"
	"hash/maphash"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/clock"

	"github.com/tierwall/tierwall/dataplane/conntrack/events"
	"github.com/tierwall/tierwall/dataplane/nflog"
	"github.com/tierwall/tierwall/policy/flows"
	"github.com/tierwall/tierwall/policy/index"
	"github.com/tierwall/tierwall/policy/model"
)

// Options of a Recorder. Index and Open are needed.
type Options struct {
	// Node that reports.
	Node string
	// Index that is asked what policy decides. It changes between Begin and Settle alone.
	Index *index.Index
	// Open has the kernel make events, in the network namespace of the agent. It is called
	// whenever recording is switched on, and the reader closed when it is switched off.
	Open func() (events.Reader, error)
	// OpenDenied has the kernel hand over a sample of the packets that policies deny, as
	// Open does; nil: there is none, and records have nothing denied.
	OpenDenied func() (nflog.Reader, error)
	// Denials are how many packets each rule, and each end of a tier, has denied so far;
	// nil: the sample is all that is counted.
	Denials func() (map[flows.RuleKey]uint64, error)
	// Counts reports whether the kernel counts packets and bytes; nil: it is not known.
	Counts func() (bool, error)
	// Lines is where records go as JSON lines, if the settings say so; nil: nowhere.
	Lines io.Writer
	// Always has connections recorded, and AlwaysLines their records written, whatever the
	// settings say.
	Always, AlwaysLines bool
	// Clock; nil: the real one.
	Clock clock.Clock
	// Log; nil: none.
	Log *slog.Logger
}

const (
	// pause is how long events wait in the socket before they are read together.
	pause = 50 * time.Millisecond
	// batch events are attributed before the agent's other work has its turn.
	batch = 256
	// dumpEvery is how often all connections are dumped, and dumpAgain how soon after a
	// dump they are again when events were lost.
	dumpEvery, dumpAgain = time.Minute, 5 * time.Second
	// settleTime is how long after a change packets may be under way that met what was
	// there before.
	settleTime = 20 * time.Millisecond
	// maxFlows is how many flows' attributions are remembered.
	maxFlows = 16_384
	// attributions is how many flows are attributed a second; connections of others are
	// summed.
	attributions = 20_000
	// maxLong is how many connections' volumes are remembered from one dump to the next.
	maxLong = 32_768
	// ahead is how many events are read before the index changes, at some 1 µs each.
	ahead = 1024
)

// Recorder records the connections of a node: see New, Run, and Begin and Settle, by which
// the agent says when its index changes.
type Recorder struct {
	opts    Options
	clock   clock.Clock
	log     *slog.Logger
	metrics *metrics
	wake    chan struct{} // of room 1: settings have changed

	// What follows is of the goroutine of Begin and Settle.
	changing bool // between the two
	said     bool // what Settle last said

	// world is held while the index changes, and while it is asked.
	world    sync.Mutex
	on       bool // by the settings
	lines    bool
	ready    bool          // the index has been what the kernel holds
	reader   events.Reader // nil: nothing is recorded
	services *services
	ports    *sourcePorts // nil: to be read anew
	// portsBefore are those at Begin.
	portsBefore *sourcePorts
	cache       map[flow]*key
	// generation counts the changes of the index.
	generation uint64
	change     change
	rate       rate

	// table is held while records are counted or read. Whoever holds world may take it.
	tableMu sync.Mutex
	table   *table
	closed  chan struct{} // closed with the next window

	// What follows is Run's goroutine's.
	seed    maphash.Seed
	long    map[uint64]carried
	dumpAt  time.Time
	dumped  time.Time
	lost    uint64
	dumping uint64                   // counts dumps
	denials map[flows.RuleKey]uint64 // by rules, that records have
	sampled func()                   // ends the reading of denied packets
	counts  atomic.Bool
}

// New returns a Recorder that records nothing until Run.
func New(o Options) (*Recorder, error) {
	if o.Index == nil || o.Open == nil {
		return nil, errors.New("flows: an index and a source of events are needed")
	}
	if o.Clock == nil {
		o.Clock = clock.RealClock{}
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	r := &Recorder{
		opts: o, clock: o.Clock, log: o.Log, wake: make(chan struct{}, 1), services: newServices(), generation: 1,
		closed: make(chan struct{}), seed: maphash.MakeSeed(), on: o.Always, lines: o.AlwaysLines,
	}
	r.metrics = newMetrics(r)
	return r, nil
}

// ring has Run look at what is to be done.
func (r *Recorder) ring() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// Note takes a Service as it is now; a nil object: it is gone.
func (r *Recorder) Note(ref model.Ref, o runtime.Object) {
	if r == nil {
		return
	}
	r.Begin(false)
	r.services.note(ref, o)
}

// Samples reports whether a sample of what policies deny is wanted, by the settings that
// Configure took last.
func (r *Recorder) Samples() bool { return r != nil && r.on && r.opts.OpenDenied != nil }

// Configure takes the settings of Tierwall/default, and reports whether Samples answers
// otherwise than before.
func (r *Recorder) Configure(f *model.Flows) (changed bool) {
	if r == nil {
		return false
	}
	before := r.Samples()
	defer func() { changed = r.Samples() != before }()
	if !r.changing {
		r.world.Lock()
		defer r.world.Unlock()
	}
	on := f.On || r.opts.Always
	lines := f.Stdout || r.opts.AlwaysLines
	if on == r.on && lines == r.lines {
		return false
	}
	r.on, r.lines = on, lines
	r.ring()
	return false
}

// On reports whether connections are recorded. Safe for concurrent use.
func (r *Recorder) On() bool {
	r.tableMu.Lock()
	defer r.tableMu.Unlock()
	return r.table != nil
}
