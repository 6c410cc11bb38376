package conntrack

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/tierwall/tierwall/policy/model"
)

func only(addrs ...string) func(netip.Addr) bool {
	return func(a netip.Addr) bool { return slices.Contains(addrs, a.String()) }
}

// sweep is all steps of a sweep of the changed addresses, or of all if that is nil.
func sweep(ctx context.Context, t Table, changed func(netip.Addr) bool, decide func(*Entry) model.Action) (int, error) {
	s := Find(ctx, t, func(e *Entry) bool { return changed == nil || e.Touches(changed) })
	return s.Delete(ctx, t, s.Denied(decide))
}

// sweepFlows is sweep for a policy that looks at flows only.
func sweepFlows(ctx context.Context, t Table, changed func(netip.Addr) bool, decide func(model.Flow) model.Action) (int, error) {
	return sweep(ctx, t, changed, func(e *Entry) model.Action { return decide(e.Flow()) })
}

func denyPort(ports ...uint16) func(model.Flow) model.Action {
	return func(f model.Flow) model.Action {
		if slices.Contains(ports, f.DstPort) {
			return model.Deny
		}
		return model.Allow
	}
}

func TestSweep(t *testing.T) {
	ftp := entry(tcp("10.0.0.1:4001", "10.0.0.2:21"))
	data := entry(tcp("10.0.0.2:20", "10.0.0.1:5000"))
	data.Master = ftp.Original
	for _, c := range []struct {
		name    string
		entries []*Entry
		changed func(netip.Addr) bool
		decide  func(model.Flow) model.Action
		want    []*Entry
	}{
		{"allowed stays", []*Entry{plain}, nil, denyPort(81), nil},
		{"denied goes", []*Entry{plain, plain6}, nil, denyPort(80), []*Entry{plain}},
		{"others are not asked", []*Entry{plain, masquerade}, only("198.51.100.1"), denyPort(80, 443), []*Entry{masquerade}},
		{"the backend counts, not the service's port", []*Entry{dnat, both}, only("10.0.0.2"), denyPort(8080), []*Entry{dnat, both}},
		{"a port that only the service has", []*Entry{dnat}, nil, denyPort(80), nil},
		{"the masquerading address is nobody's", []*Entry{both}, only("192.0.2.1"), denyPort(8080), nil},
		{"no action is no denial", []*Entry{plain}, nil, func(model.Flow) model.Action { return model.NoAction }, nil},
		{"data of an allowed connection", []*Entry{ftp, data}, nil, denyPort(5000), nil},
		{"data of a denied connection", []*Entry{ftp, data}, nil, denyPort(5000, 21), []*Entry{ftp, data}},
		{"data of a connection that is gone", []*Entry{data}, nil, denyPort(5000), []*Entry{data}},
		{"data allowed by itself", []*Entry{ftp, data}, nil, denyPort(21), []*Entry{ftp}},
		{"master outside the changed addresses", []*Entry{data, ftp}, only("10.0.0.1"), denyPort(5000), nil},
	} {
		table := &Fake{}
		table.Add(c.entries...)
		n, err := sweepFlows(context.Background(), table, c.changed, c.decide)
		if err != nil || n != len(c.want) || !slices.Equal(table.Deleted(), c.want) {
			t.Errorf("%s: %d deleted: %v, error %v; want %v", c.name, n, table.Deleted(), err, c.want)
		}
	}
}

// stubborn is a Table that cannot delete some entries.
type stubborn struct {
	Fake
	keep []*Entry
}

func (s *stubborn) Delete(ctx context.Context, e *Entry) (bool, error) {
	if slices.Contains(s.keep, e) {
		return false, errors.New("not now")
	}
	return s.Fake.Delete(ctx, e)
}

func TestSweepErrors(t *testing.T) {
	deny := func(model.Flow) model.Action { return model.Deny }
	ctx := context.Background()

	table := &stubborn{keep: []*Entry{plain, dnat}}
	table.Add(plain, dnat, masquerade)
	n, err := sweepFlows(ctx, table, nil, deny)
	if n != 1 || err == nil || !strings.Contains(err.Error(), plain.String()+": not now\nand 1 more") {
		t.Errorf("deleted %d, error %v", n, err)
	}

	broken := errors.New("no such table")
	fake := &Fake{}
	fake.Fail(broken)
	if n, err := sweepFlows(ctx, fake, nil, deny); n != 0 || !errors.Is(err, broken) {
		t.Errorf("deleted %d, error %v", n, err)
	}

	over, cancel := context.WithCancel(ctx)
	cancel()
	fake = &Fake{}
	fake.Add(plain, dnat)
	if n, err := sweepFlows(over, fake, nil, deny); n > 1 || !errors.Is(err, context.Canceled) {
		t.Errorf("deleted %d, error %v", n, err)
	}

	gone := &Fake{}
	gone.Add(plain)
	racing := func(model.Flow) model.Action {
		_, _ = gone.Delete(ctx, plain)
		return model.Deny
	}
	if n, err := sweepFlows(ctx, gone, nil, racing); n != 0 || err != nil {
		t.Errorf("an entry that went by itself: deleted %d, error %v", n, err)
	}
}

// forgetful is a Table whose second list fails.
type forgetful struct {
	Fake
	lists int
}

func (f *forgetful) List(ctx context.Context, visit func(*Entry) bool) error {
	if f.lists++; f.lists > 1 {
		return errors.New("no more")
	}
	return f.Fake.List(ctx, visit)
}

// TestFindErrors: what could not be listed is told of, and never deleted.
func TestFindErrors(t *testing.T) {
	ctx := context.Background()
	deny := func(*Entry) model.Action { return model.Deny }
	data := entry(tcp("10.0.0.2:20", "10.0.0.1:5000"))
	data.Master = tcp("10.0.0.1:4001", "10.0.0.2:21")
	table := &forgetful{}
	table.Add(plain, data)
	n, err := sweep(ctx, table, nil, deny)
	if n != 1 || err == nil || !slices.Equal(table.Deleted(), []*Entry{plain}) {
		t.Errorf("without its master: deleted %d, %v, error %v", n, table.Deleted(), err)
	}
	broken := &Fake{}
	broken.Fail(errors.New("no such table"))
	if n, err := sweep(ctx, broken, nil, deny); n != 0 || err == nil {
		t.Errorf("deleted %d, error %v", n, err)
	}
}
