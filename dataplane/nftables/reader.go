package nftables

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/tierwall/tierwall/dataplane"
	"github.com/tierwall/tierwall/dataplane/nftables/nft"
)

// reader reads counters beside the Backend's other work: it has sockets of its own, and
// a copy of what rules counters are of.
type reader struct {
	// origins are the rules by counter; nil: nothing has been programmed yet. The map is
	// not changed any more. old: it has been used, so a newer one is of use.
	origins atomic.Pointer[map[string]dataplane.Origin]
	old     atomic.Bool
	broken  atomic.Bool // the sockets are to be opened anew, by whoever is in the namespace

	mu           sync.Mutex // of one reading, or of the sockets' opening
	inet, bridge *nft.Conn
}

// patience is how often a list of counters is read that changes meanwhile. The last one
// counts: it may lack some of those that are new or gone, and no number in it is wrong.
const patience = 5

func (r *reader) open() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closeSockets()
	var err error
	if r.inet, err = nft.Open(inetTable); err != nil {
		return err
	}
	if r.bridge, err = nft.Open(bridgeTable); err != nil {
		r.closeSockets()
		return err
	}
	r.broken.Store(false)
	return nil
}

func (r *reader) closeSockets() {
	for _, k := range []*nft.Conn{r.inet, r.bridge} {
		if k != nil {
			_ = k.Close()
		}
	}
	r.inet, r.bridge = nil, nil
}

func (r *reader) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closeSockets()
}

// publish hands over what rules counters are of, if that has changed and somebody reads.
func (r *reader) publish(w *world) {
	if r.broken.Load() {
		_ = r.open() // or else the next time
	}
	if w.renamed && (r.old.Load() || r.origins.Load() == nil) {
		origins := maps.Clone(w.origins)
		r.old.Store(false)
		r.origins.Store(&origins)
		w.renamed = false
	}
}

// read lists the counters of a table.
func (r *reader) read(k *nft.Conn) (map[string]nft.Count, error) {
	if k == nil {
		return nil, errors.New("the socket is not open")
	}
	for try := 1; ; try++ {
		counts, err := k.ListCounters()
		if errors.Is(err, nft.ErrInterrupted) {
			if try < patience {
				continue
			}
			err = nil
		}
		if err != nil {
			r.broken.Store(true)
		}
		return counts, err
	}
}

var _ dataplane.CounterReader = (*Backend)(nil)

// ReadCounters implements dataplane.CounterReader.
func (b *Backend) ReadCounters(context.Context) (map[dataplane.Origin]dataplane.Count, error) {
	r := &b.reader
	origins := r.origins.Load()
	if origins == nil {
		return nil, errors.New("nftables: nothing has been programmed")
	}
	r.old.Store(true)
	r.mu.Lock()
	defer r.mu.Unlock()
	counts, err := r.read(r.inet)
	if err != nil {
		return nil, fmt.Errorf("nftables: cannot list counters: %w", err)
	}
	out := make(map[dataplane.Origin]dataplane.Count, len(counts))
	for name, c := range counts {
		if o, ok := (*origins)[name]; ok {
			out[o] = dataplane.Count(c)
		}
	}
	if counts, err = r.read(r.bridge); err != nil && !errors.Is(err, unix.ENOENT) {
		return nil, fmt.Errorf("nftables: cannot list counters of family bridge: %w", err)
	}
	addBridgeCounters(out, counts)
	return out, nil
}
