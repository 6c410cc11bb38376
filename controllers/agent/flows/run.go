package flows

import (
	"context"
	"maps"
	"time"

	"github.com/tierwall/tierwall/dataplane/conntrack/events"
	"github.com/tierwall/tierwall/policy/flows"
)

// poll reads all events that wait.
func (r *Recorder) poll() error {
	for {
		r.world.Lock()
		r.tableMu.Lock()
		drained, err := r.reader.Read(batch, r.take)
		if drained && r.change.ambiguous && !r.change.settled.IsZero() && r.clock.Since(r.change.settled) >= settleTime {
			r.change = change{}
		}
		r.tableMu.Unlock()
		r.world.Unlock()
		if err != nil || drained {
			return err
		}
	}
}

// dump looks at all connections.
func (r *Recorder) dump() error {
	r.dumping++
	if r.long == nil {
		r.long = map[uint64]carried{}
	}
	locked, n := false, 0
	lock := func() {
		if !locked {
			r.world.Lock()
			r.tableMu.Lock()
			locked = true
		}
	}
	unlock := func() {
		if locked {
			r.tableMu.Unlock()
			r.world.Unlock()
			locked = false
		}
	}
	lock()
	r.table.listed(false)
	err := r.reader.Dump(func(e *events.Event) {
		lock()
		r.take(e)
		if n++; n%batch == 0 {
			unlock()
		}
	})
	lock()
	if err == nil {
		r.table.listed(true)
	}
	for id, c := range r.long {
		if c.dump != r.dumping && err == nil {
			delete(r.long, id)
		}
	}
	unlock()
	return err
}

// open begins to record.
func (r *Recorder) openReader() error {
	reader, err := r.opts.Open()
	if err != nil {
		return err
	}
	if r.opts.Counts != nil {
		counts, err := r.opts.Counts()
		if err != nil {
			r.log.Debug("whether connections' bytes are counted is not known", "error", err)
		}
		r.counts.Store(counts)
	}
	now := r.clock.Now()
	r.world.Lock()
	r.tableMu.Lock()
	r.reader, r.table, r.cache, r.ports = reader, newTable(r.opts.Node, now), nil, nil
	r.change.before = nil
	r.tableMu.Unlock()
	r.world.Unlock()
	r.long, r.lost = nil, reader.Lost()
	r.dumpAt, r.dumped = now, time.Time{}
	r.denials = maps.Clone(r.countDenials())
	r.readDenied()
	r.log.Info("connections are recorded", "bytes", r.counts.Load())
	return nil
}

// closeReader ends recording; what is recorded is forgotten.
func (r *Recorder) closeReader() {
	r.world.Lock()
	r.tableMu.Lock()
	reader := r.reader
	if reader != nil {
		r.metrics.lost += reader.Lost()
	}
	r.reader, r.table, r.cache = nil, nil, nil
	r.tableMu.Unlock()
	r.world.Unlock()
	r.long = nil
	if r.sampled != nil {
		r.sampled()
		r.sampled = nil
	}
	if reader != nil {
		if err := reader.Close(); err != nil {
			r.log.Warn("events of connections", "error", err)
		}
		r.log.Info("connections are not recorded any more")
	}
}

// Run records until the context ends. Without Always it does so only while the settings
// say so.
func (r *Recorder) Run(ctx context.Context) {
	defer r.closeReader()
	failed := ""
	for ctx.Err() == nil {
		r.world.Lock()
		on, lines, recording := r.on && r.ready, r.lines, r.reader != nil
		r.world.Unlock()
		var err error
		switch {
		case on && !recording:
			err = r.openReader()
		case !on && recording:
			r.closeReader()
		case on:
			err = r.step(lines)
		}
		wait := pause
		switch {
		case err != nil:
			if err.Error() != failed {
				failed = err.Error()
				r.log.Warn("connections are not recorded; all else goes on", "error", err, "tryingAgainEvery", retry)
			}
			r.closeReader()
			wait = retry
		case on:
			failed = ""
		default:
			wait = 0 // until the settings change
		}
		var after <-chan time.Time
		stop := func() bool { return true }
		if wait > 0 {
			t := r.clock.NewTimer(wait)
			after, stop = t.C(), t.Stop
		}
		select {
		case <-ctx.Done():
		case <-r.wake:
		case <-after:
		}
		stop()
	}
}

// retry is the pause before recording that has failed is tried again.
const retry = time.Minute

// step reads events, dumps connections if it is time to, and closes a window that is over.
func (r *Recorder) step(lines bool) error {
	began := r.clock.Now()
	if err := r.poll(); err != nil {
		return err
	}
	now := r.clock.Now()
	if lost := r.reader.Lost(); lost != r.lost {
		r.lost = lost
		if at := r.dumped.Add(dumpAgain); at.Before(r.dumpAt) {
			r.dumpAt = at
		}
	}
	if !now.Before(r.dumpAt) {
		if err := r.dump(); err != nil {
			return err
		}
		r.dumped, r.dumpAt = now, now.Add(dumpEvery)
	}
	var more map[flows.RuleKey]uint64 // that rules have denied
	r.tableMu.Lock()
	over := r.table.over(now)
	r.tableMu.Unlock()
	if over {
		if more = r.countDenials(); r.denials == nil {
			r.denials = maps.Clone(more) // what was denied before is in no record
		}
	}
	r.tableMu.Lock()
	if over {
		r.table.scale(more, r.denials)
	}
	w := r.table.close(now)
	r.metrics.busy += r.clock.Since(began).Seconds()
	if w != nil {
		close(r.closed)
		r.closed = make(chan struct{})
	}
	r.tableMu.Unlock()
	if w != nil && r.opts.Counts != nil {
		if counts, err := r.opts.Counts(); err == nil {
			r.counts.Store(counts)
		}
	}
	if w != nil && lines {
		r.write(w)
	}
	return nil
}
