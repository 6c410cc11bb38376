package cmd

import (
	"context"
	"errors"
	"log/slog"
	"reflect"
	"testing"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/controllers/agent"
	"github.com/tierwall/tierwall/dataplane"
	"github.com/tierwall/tierwall/dataplane/fake"
	"github.com/tierwall/tierwall/dataplane/iptables"
	"github.com/tierwall/tierwall/dataplane/nftables"
	"github.com/tierwall/tierwall/policy/index"
	"github.com/tierwall/tierwall/policy/model"
)

// namedKernel is a fake kernel as an agent wants it.
type namedKernel struct{ fake.Backend }

func (*namedKernel) Origin(string) (dataplane.Origin, bool)    { return dataplane.Origin{}, false }
func (*namedKernel) Bar(context.Context, []model.Flow) error   { return nil }
func (*namedKernel) Unbar(context.Context, []model.Flow) error { return nil }
func (k *namedKernel) ReadCounters(ctx context.Context) (map[dataplane.Origin]dataplane.Count, error) {
	return k.Counters(ctx)
}

// The agent asks its backend for what it can do beside programming, by type: what wraps
// a backend must not hide any of it.
func TestNothingOfABackendIsHidden(t *testing.T) {
	for name, kernel := range map[string]agentKernel{"nftables": (*nftables.Backend)(nil), "iptables": (*iptables.Backend)(nil)} {
		given := (&chosenBackend{agentKernel: kernel}).forAgent()
		for _, can := range []reflect.Type{
			reflect.TypeFor[dataplane.Barrer](), reflect.TypeFor[dataplane.CounterReader](), reflect.TypeFor[dataplane.Holder](),
			reflect.TypeFor[dataplane.Preparer](), reflect.TypeFor[agent.Namer](),
		} {
			if reflect.TypeOf(kernel).Implements(can) != reflect.TypeOf(given).Implements(can) {
				t.Errorf("%s: what the agent gets differs from the backend in %s", name, can)
			}
		}
	}
	if !reflect.TypeFor[*nftables.Backend]().Implements(reflect.TypeFor[dataplane.Preparer]()) {
		t.Error("nftables prepares nothing")
	}
}

func TestPlanesChoose(t *testing.T) {
	no := errors.New("the kernel has none")
	plane := func(d v1alpha1.Dataplane, err error) func(*slog.Logger) (*chosenBackend, error) {
		return func(*slog.Logger) (*chosenBackend, error) {
			if err != nil {
				return nil, err
			}
			return &chosenBackend{dataplane: d}, nil
		}
	}
	for _, c := range []struct {
		asked                  string
		usable, nftables, ipts error
		want                   v1alpha1.Dataplane
		wantErr                string
	}{
		{asked: "auto", want: v1alpha1.DataplaneNFTables},
		{asked: "auto", usable: no, want: v1alpha1.DataplaneIPTables},
		{asked: "auto", usable: no, ipts: errors.New("no commands"), wantErr: "--dataplane auto: no nftables (the kernel has none) and no iptables (no commands)"},
		{asked: "auto", nftables: no, wantErr: "the kernel has none"}, // not iptables: nftables is in use there
		{asked: "nftables", usable: no, want: v1alpha1.DataplaneNFTables},
		{asked: "nftables", nftables: no, wantErr: "the kernel has none"},
		{asked: "iptables", want: v1alpha1.DataplaneIPTables},
		{asked: "iptables", ipts: no, wantErr: "the kernel has none"},
		{asked: "IPTables", wantErr: "--dataplane IPTables: want auto, nftables or iptables"},
	} {
		p := planes{
			usable:   func() error { return c.usable },
			nftables: plane(v1alpha1.DataplaneNFTables, c.nftables), iptables: plane(v1alpha1.DataplaneIPTables, c.ipts),
		}
		b, err := p.choose(c.asked, slog.New(slog.DiscardHandler))
		switch {
		case c.wantErr != "" && (err == nil || err.Error() != c.wantErr):
			t.Errorf("%+v: %v", c, err)
		case c.wantErr == "" && (err != nil || b.dataplane != c.want):
			t.Errorf("%+v: %v, %v", c, b, err)
		}
	}
}

// The other data plane's rules go when this one's hold, not before, and are asked
// for until they are gone.
func TestChosenBackendRemovesTheOther(t *testing.T) {
	var kernel namedKernel
	asked, left := 0, errors.New("busy")
	b := &chosenBackend{agentKernel: &kernel, log: slog.New(slog.DiscardHandler), removeOther: func(context.Context) error {
		asked++
		return left
	}}
	state := dataplane.NewState(index.New(index.Options{}), "n", dataplane.NewCompiler(dataplane.Options{}))
	refused := errors.New("refused")
	kernel.Before = func(fake.Op, *dataplane.State) error { return refused }
	if err := b.Sync(t.Context(), state); !errors.Is(err, refused) || asked != 0 {
		t.Errorf("refused: %v, asked %d times", err, asked)
	}
	kernel.Before = nil
	for i, want := range []int{1, 2, 2} {
		if i == 1 {
			left = nil
		}
		if err := b.Sync(t.Context(), state); err != nil || asked != want {
			t.Errorf("sync %d: %v, asked %d times, want %d", i, err, asked, want)
		}
	}
}
