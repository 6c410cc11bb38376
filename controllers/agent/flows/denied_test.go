package flows

import (
	"context"
	"net/netip"
	"testing"

	"github.com/tierwall/tierwall/dataplane/nflog"
	"github.com/tierwall/tierwall/policy/flows"
	"github.com/tierwall/tierwall/policy/model"
)

// TestDenied has the sample say who was denied, and the counters how often: none of the
// sample is lost, and what rounding leaves is counted too.
func TestDenied(t *testing.T) {
	ix := smallWorld()
	ix.Upsert(deny("db"))
	ix.Flush()
	r := newRig(t, ix)
	rule := flows.RuleKey{Policy: model.Ref{Kind: model.KindGlobalNetworkPolicy, Name: "deny"}, Tier: model.TierDefault, Direction: model.Ingress}
	counted := map[flows.RuleKey]uint64{rule: 1000}
	r.opts.OpenDenied = func() (nflog.Reader, error) { return nil, context.Canceled }
	r.opts.Denials = func() (map[flows.RuleKey]uint64, error) { return map[flows.RuleKey]uint64{rule: counted[rule]}, nil }
	r.denials = r.countDenials()
	packet := func(src string, port uint16) {
		r.deny(&nflog.Packet{Src: netip.MustParseAddr(src), Dst: netip.MustParseAddr("10.0.0.9"), Protocol: model.TCP, SrcPort: 4000, DstPort: port})
	}
	for _, c := range []struct {
		name    string
		more    uint64 // by the counter
		sampled bool
		want    uint64
	}{
		{"as many as the sample", 3, true, 3},
		{"more than the sample", 10, true, 10},
		{"without a sample", 5, false, 0},
		{"the sample of what was counted before", 0, true, 5},
		{"the sample of what is in records", 0, true, 0},
	} {
		if c.sampled {
			packet("10.0.0.1", 80)
			packet("10.0.0.2", 80)
			packet("203.0.113.7", 443)
		}
		counted[rule] += c.more
		got, sum := r.next(), uint64(0)
		for _, rec := range got {
			sum += rec.Denied
			if rec.Decided.Action != model.Deny || rec.Decided.Ingress.Policy != rule.Policy || rec.Connections != (flows.Connections{}) || rec.Denied == 0 {
				t.Errorf("%s: %+v", c.name, rec)
			}
		}
		if sum != c.want || c.want > 0 && len(got) != 2 {
			t.Errorf("%s: %d denied in %d records, want %d", c.name, sum, len(got), c.want)
		}
	}
	// Packets without addresses, and parts of them, tell nothing.
	r.deny(&nflog.Packet{})
	r.deny(&nflog.Packet{Src: netip.MustParseAddr("10.0.0.1"), Dst: netip.MustParseAddr("10.0.0.9"), Fragment: true})
	if got := r.next(); len(got) != 0 {
		t.Errorf("%+v", got)
	}
}
