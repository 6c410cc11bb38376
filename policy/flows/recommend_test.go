package flows_test

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/policy/convert"
	"github.com/tierwall/tierwall/policy/flows"
	"github.com/tierwall/tierwall/policy/model"
	"github.com/tierwall/tierwall/policy/verdict"
	"github.com/tierwall/tierwall/policy/workload"
	"github.com/tierwall/tierwall/test/worlds"
)

// TestRecommendLosesNothing: in random worlds, whatever was seen allowed stays allowed when
// what Recommend says for a namespace is enforced, as package verdict judges.
func TestRecommendLosesNothing(t *testing.T) {
	seen, policies := 0, 0
	for seed := range uint64(60) {
		f := worlds.New(seed, worlds.Options{Distinct: true})
		f.Step(80)
		rng := rand.New(rand.NewPCG(seed, 20))
		var pods []*model.Endpoint
		namespaces := map[string]bool{}
		for _, ref := range f.Index.Endpoints() {
			if e, ok := f.Index.Endpoint(ref); ok && ref.Kind == model.KindPod && len(e.Addrs) > 0 {
				pods = append(pods, e)
				namespaces[ref.Namespace] = true
			}
		}
		if len(pods) == 0 {
			continue
		}
		outside := []netip.Addr{netip.MustParseAddr("203.0.113.7"), netip.MustParseAddr("2001:db8:ffff::7")}
		end := func() (flows.End, netip.Addr) {
			if rng.IntN(5) == 0 {
				a := outside[rng.IntN(2)]
				return flows.End{Kind: flows.EndOutside, Addresses: []netip.Addr{a}}, a
			}
			p := pods[rng.IntN(len(pods))]
			a := p.Addrs[rng.IntN(len(p.Addrs))]
			owner := workload.OwnerOf(p.Ref.Namespace, p.Ref.Name, p.Labels)
			return flows.End{Kind: flows.EndPod, Namespace: p.Ref.Namespace, Workload: string(owner.Kind) + "/" + owner.Name, Addresses: []netip.Addr{a}}, a
		}
		var list []flows.Record
		var attempts []model.Flow
		for range 400 {
			from, src := end()
			to, dst := end()
			if src.Is4() != dst.Is4() || src == dst {
				continue
			}
			flow := model.Flow{Src: src, Dst: dst, Protocol: []model.Protocol{model.TCP, model.UDP, model.SCTP}[rng.IntN(3)], SrcPort: 40000, DstPort: []uint16{53, 80, 443, 8080}[rng.IntN(4)]}
			if rng.IntN(8) == 0 {
				flow.Protocol, flow.SrcPort, flow.DstPort, flow.ICMPType = model.ICMPv4, 0, 0, 8
				if src.Is6() {
					flow.Protocol, flow.ICMPType = model.ICMPv6, 128
				}
			}
			d := verdict.Decide(f.Index, flow)
			if d.Action != model.Allow {
				continue
			}
			r := flows.Record{Source: from, Destination: to, Protocol: flow.Protocol, Port: flow.DstPort, ICMPType: flow.ICMPType, ICMPCode: flow.ICMPCode, Connections: flows.Connections{New: 1}}
			r.Decided.Action = d.Action
			if v, ok := d.Deciding(model.Egress); ok {
				r.Decided.Egress = &v
			}
			if v, ok := d.Deciding(model.Ingress); ok {
				r.Decided.Ingress = &v
			}
			list, attempts = append(list, r), append(attempts, flow)
		}
		var names []string
		for n := range namespaces {
			names = append(names, n)
		}
		slices.Sort(names)
		got := flows.Recommend(f.Index, list, names[rng.IntN(len(names))])
		for _, p := range got.Policies {
			if p.Spec.Enforcement != v1alpha1.Audit {
				t.Fatalf("seed %d: %s is enforced", seed, p.Name)
			}
			enforced := p.DeepCopy()
			enforced.Spec.Enforcement = v1alpha1.Enforced
			o, problems, _ := convert.Object(enforced)
			for _, problem := range problems {
				if !problem.Warning {
					t.Fatalf("seed %d: %v", seed, problem)
				}
			}
			f.Index.Upsert(o)
			policies++
		}
		f.Index.Flush()
		for i, flow := range attempts {
			if d := verdict.Decide(f.Index, flow); d.Action != model.Allow {
				t.Errorf("seed %d: lost %+v: %+v\n%+v", seed, flow, d.Stages, list[i])
			}
		}
		seen += len(attempts)
	}
	if seen < 2000 || policies < 100 {
		t.Errorf("only %d flows and %d policies", seen, policies)
	}
	t.Logf("%d flows, %d policies", seen, policies)
}
