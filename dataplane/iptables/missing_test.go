package iptables

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/tierwall/tierwall/dataplane"
)

// TestMissing holds the backend, on kernels that lack a family or a table, to
// saying what is missing and enforcing all else, and to getting well when it is there.
func TestMissing(t *testing.T) {
	ctx := context.Background()
	for _, tt := range []struct {
		missing string
		says    string
		holds   []string // tables with rules, by family
	}{
		{"IPv6", "IPv6", []string{"IPv4 raw", "IPv4 mangle", "IPv4 filter"}},
		{"IPv4", "IPv4", []string{"IPv6 raw", "IPv6 mangle", "IPv6 filter"}},
		{"IPv4 raw", "IPv4 table raw", []string{"IPv4 mangle", "IPv4 filter", "IPv6 raw", "IPv6 mangle", "IPv6 filter"}},
		{"IPv6 mangle", "IPv6 table mangle", []string{"IPv4 raw", "IPv4 mangle", "IPv4 filter", "IPv6 raw", "IPv6 filter"}},
	} {
		k := newSimulated()
		k.missing = []string{tt.missing}
		b := &Backend{opts: Options{}.complete(), kernel: k, litter: map[string]bool{}, alone: true}
		s := stateOf(goldens["host-early"]())
		err := b.Sync(ctx, s)
		if !errors.Is(err, errRefused) || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("without %s: %v", tt.missing, err)
		}
		n := 0
		for _, tables := range k.families {
			n += len(tables)
		}
		for _, at := range tt.holds {
			f := dataplane.IPv4
			if strings.HasPrefix(at, "IPv6") {
				f = dataplane.IPv6
			}
			if len(k.families[f][at[len("IPv4 "):]]) == 0 {
				t.Errorf("without %s: nothing in %s", tt.missing, at)
			}
		}
		if n != len(tt.holds) {
			t.Errorf("without %s: %d tables have rules, want %d", tt.missing, n, len(tt.holds))
		}
		// A kernel that has all of it.
		whole := newSimulated()
		b.kernel = whole
		if err := b.Sync(ctx, s); err != nil || b.have == nil {
			t.Errorf("when %s is there: %v", tt.missing, err)
		}
	}
}
