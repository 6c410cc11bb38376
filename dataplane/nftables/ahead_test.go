package nftables

import (
	"context"
	"errors"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/tierwall/tierwall/dataplane"
	"github.com/tierwall/tierwall/dataplane/nftables/nft"
	"github.com/tierwall/tierwall/lab"
	"github.com/tierwall/tierwall/policy/index"
	"github.com/tierwall/tierwall/test/worlds"
)

// shows says how what packets see in the kernel differs from what a State asks for.
func (b *Backend) shows(s *dataplane.State) error {
	want := newWorld(s, b.opts)
	have, err := b.kernel.Read(want.Ruleset)
	if err != nil {
		return err
	}
	if p := have.Plan(want.Ruleset); p.Shows() || len(p.AddChains)+len(p.AddSets)+len(p.AddCounters) > 0 {
		return b.same(s)
	}
	return nil
}

// preparing drives a Backend as an agent does that has small parts go first.
type preparing struct {
	*worlds.Feed
	t     *testing.T
	b     *Backend
	ready bool
	// ended is how often what was prepared has been given to endpoints.
	ended int
}

func (p *preparing) step(events int, part index.Part) *dataplane.State {
	p.t.Helper()
	part.Ready = p.ready
	if p.ready {
		p.ended++
	}
	p.ready = false
	ch, s := p.StepPart(events, part)
	if err := p.b.Apply(context.Background(), ch, s); err != nil {
		p.t.Fatal(err)
	}
	return s
}

func (p *preparing) prepare() (done bool, err error) {
	ends := p.Compiler.Ahead(p.Index.Ahead())
	done, err = p.b.Prepare(context.Background(), ends, p.State())
	p.ready = done && err == nil && len(ends) > 0
	return done, err
}

// TestPrepare has endpoints of random worlds get their policies one after the other,
// prepared in small slices, with other changes in between. What packets see is what the
// endpoints have at each time; in the end, and after a restart in the midst, nothing else
// is in the kernel.
func TestPrepare(t *testing.T) {
	inKernel(t, func(*lab.Lab) {
		hidden, ended, restarts := uint64(0), 0, 0
		for _, seed := range worlds.Seeds(t, 24) {
			p := &preparing{Feed: worlds.New(seed+300, worlds.Options{}), t: t}
			open := func(s *dataplane.State) {
				var err error
				if p.b, err = New(Options{}); err != nil {
					t.Fatal(err)
				}
				p.b.sliceSize, p.b.goneAtOnce = 200+p.Rand.IntN(2000), p.Rand.IntN(3)
				if err := p.b.Sync(context.Background(), s); err != nil {
					t.Fatalf("seed %d: %v", seed, err)
				}
				if err := p.b.same(s); err != nil {
					t.Fatalf("seed %d: after a start: %v", seed, err)
				}
			}
			_, s := p.Step(40)
			open(s)
			for step := range 60 {
				events := p.Rand.IntN(3)
				s := p.step(events, index.Part{Limit: 2, Longest: true, Ahead: true})
				for range p.Rand.IntN(6) {
					if _, err := p.prepare(); err != nil {
						t.Fatalf("seed %d step %d: %v", seed, step, err)
					}
				}
				if err := p.b.shows(s); err != nil {
					t.Fatalf("seed %d step %d: %v", seed, step, err)
				}
				if p.Rand.IntN(25) == 0 {
					restarts++
					hidden += p.b.stats.Hidden
					if err := p.b.Close(); err != nil {
						t.Fatal(err)
					}
					open(s)
				}
			}
			for i := 0; ; i++ {
				s = p.step(0, index.Part{Limit: 2, Longest: true, Ahead: true})
				done, err := p.prepare()
				if err != nil || i > 10_000 {
					t.Fatalf("seed %d: after %d steps: %v", seed, i, err)
				}
				if done && !p.ready && len(p.Index.Late()) == 0 {
					break
				}
			}
			if err := p.b.same(s); err != nil {
				t.Fatalf("seed %d: in the end: %v", seed, err)
			}
			hidden += p.b.stats.Hidden
			ended += p.ended
			if err := p.b.Close(); err != nil {
				t.Fatal(err)
			}
		}
		t.Logf("%d hidden transactions, %d endings, %d restarts", hidden, ended, restarts)
		if (hidden == 0 || ended == 0 || restarts == 0) && !worlds.One() {
			t.Error("the worlds have gone blind")
		}
	})
}

// failing is a kernel that has no memory for hidden work.
type failing struct{ kernel }

func (failing) Slice(*nft.Backlog, int) error { return unix.ENOMEM }

// A slice that fails changes nothing of what packets see, and the next Sync
// removes what the slices before it have left.
func TestPrepareFails(t *testing.T) {
	inKernel(t, func(*lab.Lab) {
		failed := 0
		for _, seed := range worlds.Seeds(t, 12) {
			p := &preparing{Feed: worlds.New(seed+500, worlds.Options{}), t: t}
			var err error
			if p.b, err = New(Options{}); err != nil {
				t.Fatal(err)
			}
			p.b.sliceSize = 200
			_, s := p.Step(40)
			if err := p.b.Sync(context.Background(), s); err != nil {
				t.Fatal(err)
			}
			for range 20 {
				s = p.step(1, index.Part{Limit: 2, Longest: true, Ahead: true})
				for range 3 {
					if _, err := p.prepare(); err != nil {
						t.Fatal(err)
					}
				}
				real := p.b.kernel
				p.b.kernel = failing{real}
				_, err := p.prepare()
				p.b.kernel = real
				if err == nil {
					continue
				}
				failed++
				if !errors.Is(err, unix.ENOMEM) {
					t.Fatal(err)
				}
				if err := p.b.shows(s); err != nil {
					t.Fatalf("seed %d: %v", seed, err)
				}
				if err := p.b.Sync(context.Background(), s); err != nil {
					t.Fatal(err)
				}
				if err := p.b.same(s); err != nil {
					t.Fatalf("seed %d: after a Sync: %v", seed, err)
				}
			}
			if err := p.b.Cleanup(context.Background()); err != nil {
				t.Fatal(err)
			}
			if err := p.b.Close(); err != nil {
				t.Fatal(err)
			}
		}
		if failed == 0 {
			t.Error("nothing has failed")
		}
	})
}

// Counters are read while the Backend changes them; once it rests both say the same.
func TestReadCounters(t *testing.T) {
	ctx := context.Background()
	inKernel(t, func(*lab.Lab) {
		f := worlds.New(7, worlds.Options{})
		b, err := New(Options{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := b.ReadCounters(ctx); err == nil {
			t.Error("there is something to read before anything has been programmed")
		}
		_, s := f.Step(60)
		if err := b.Sync(ctx, s); err != nil {
			t.Fatal(err)
		}
		end := make(chan struct{})
		var readers sync.WaitGroup
		for range 2 {
			readers.Go(func() { // in whatever network namespace
				for {
					select {
					case <-end:
						return
					default:
					}
					if counts, err := b.ReadCounters(ctx); err != nil || len(counts) == 0 {
						t.Errorf("%d counters, %v", len(counts), err)
						return
					}
				}
			})
		}
		for range 200 {
			ch, s := f.Step(2)
			if err := b.Apply(ctx, ch, s); err != nil {
				t.Fatal(err)
			}
		}
		close(end)
		readers.Wait()
		for range 2 { // the first one asks for what is new
			ch, s := f.Step(1)
			if err := b.Apply(ctx, ch, s); err != nil {
				t.Fatal(err)
			}
			if _, err := b.ReadCounters(ctx); err != nil {
				t.Fatal(err)
			}
		}
		b.reader.origins.Store(nil)
		b.world.renamed = true
		b.reader.publish(b.world)
		want, err := b.Counters(ctx)
		if err != nil {
			t.Fatal(err)
		}
		got, err := b.ReadCounters(ctx)
		if err != nil || len(got) != len(want) {
			t.Errorf("%d counters, %v; want %d", len(got), err, len(want))
		}
		for o := range want {
			if _, ok := got[o]; !ok {
				t.Errorf("no counter of %s", o)
			}
		}
		if err := b.Cleanup(ctx); err != nil {
			t.Error(err)
		}
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
}
