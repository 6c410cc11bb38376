package verdict_test

import (
	"math/rand/v2"
	"net/netip"
	"reflect"
	"testing"

	"github.com/tierwall/tierwall/policy/model"
	"github.com/tierwall/tierwall/policy/verdict"
)

// TestUntranslated: a connection whose destination stays is decided like any other.
func TestUntranslated(t *testing.T) {
	ix := twoNodes("", hostPolicies()...)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	addrs := []string{"10.1.1.5", "10.1.1.6", "10.1.2.5", "10.1.2.9", "192.0.2.1", "192.0.2.2", "203.0.113.9", "198.51.100.1"}
	for range 2000 {
		f := model.Flow{
			Src: netip.MustParseAddr(addrs[rng.IntN(len(addrs))]), Dst: netip.MustParseAddr(addrs[rng.IntN(len(addrs))]),
			Protocol: model.TCP, SrcPort: 40000, DstPort: []uint16{22, 80, 443}[rng.IntN(3)],
		}
		s, d := verdict.EndOf(ix, f.Src), verdict.EndOf(ix, f.Dst)
		inside := s.Pod() != (model.Ref{}) || s.IsHost()
		if d.IsHost() && inside && s.Node() != d.Node() {
			continue // it would be seen by the receiver's node alone as translated
		}
		want, got := verdict.Explain(ix, f), verdict.ExplainTranslated(ix, f, f)
		if got.Action != want.Action || !reflect.DeepEqual(got.Stages, want.Stages) {
			t.Fatalf("%+v:\ngot  %+v\nwant %+v", f, got.Decision, want.Decision)
		}
	}
}
