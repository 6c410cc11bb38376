package packets_test

import (
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/tierwall/tierwall/policy/index"
	"github.com/tierwall/tierwall/policy/model"
	"github.com/tierwall/tierwall/policy/packets"
	"github.com/tierwall/tierwall/policy/verdict"
)

func TestRedirect(t *testing.T) {
	tcp := packets.DstPorts(model.TCP, 80, 90).Intersect(packets.SrcPorts(model.TCP, 1000, 2000)).Union(packets.DstPorts(model.UDP, 80, 80))
	for _, tt := range []struct {
		name string
		got  packets.Space
		want packets.Space
	}{
		{"one port, with its source ports", tcp.Redirect(model.TCP, 85, 8080), packets.DstPorts(model.TCP, 8080, 8080).Intersect(packets.SrcPorts(model.TCP, 1000, 2000))},
		{"the same port", tcp.Redirect(model.UDP, 80, 80), packets.DstPorts(model.UDP, 80, 80)},
		{"a port that is not in it", tcp.Redirect(model.TCP, 91, 8080), packets.Space{}},
		{"another protocol", tcp.Redirect(model.SCTP, 80, 8080), packets.Space{}},
		{"no ports", packets.All().Redirect(model.ICMPv4, 8, 0), packets.Space{}},
		{"a number", packets.All().Redirect(89, 0, 0), packets.Space{}},
	} {
		if !tt.got.Equal(tt.want) {
			t.Errorf("%s: got %v, want %v", tt.name, tt.got, tt.want)
		}
	}
}

// What pods send to the address of a Service gets the verdicts of their node, as it
// names the Service and as it is translated, and then those of the receiver's node.
func TestTranslatedAgainstSinglePackets(t *testing.T) {
	worlds := uint64(150)
	if testing.Short() {
		worlds = 30
	}
	early, denied, allowed := 0, 0, 0
	for seed := range worlds {
		ix, flows := world(seed, 250)
		e := packets.NewEvaluator(ix)
		rng := rand.New(rand.NewPCG(seed, 11))
		for i, f := range flows {
			pod, dst := e.Party(f.Src), e.Party(f.Dst)
			if pod.Pod == nil || pod.Node == "" || dst.Pod != nil && dst.Node == "" || !f.Protocol.HasPorts() || pod.Addr.Is4() != dst.Addr.Is4() {
				continue
			}
			if ix.NodeOf(f.Src) != nil || dst.Pod != nil && ix.NodeOf(f.Dst) != nil {
				continue // a pod that claims a node's address: on that node it is the node's own
			}
			named := e.Party(serviceAddr(f.Dst, flows[(i+rng.IntN(len(flows)))%len(flows)].Dst))
			if end := verdict.EndOf(ix, named.Addr); named.Host || named.Pod != nil || end.IsUnknownWorkload() {
				continue
			}
			before := f
			before.Dst, before.DstPort = named.Addr, uint16(rng.IntN(200))
			want := decideTranslated(ix, pod.Node, before, f)
			got := actionOf(e.Translated(pod, named, dst, f.Protocol, before.DstPort, f.DstPort), f)
			if got != want {
				t.Fatalf("seed %d: %+v as %+v: got %v, want %v; at the pod's node %+v; untranslated %+v", seed, f, before, got, want, verdict.DecideTranslatedAt(ix, pod.Node, before, f), verdict.Decide(ix, f))
			}
			if len(e.BeforeTranslation(pod, named).Courses) > 1 {
				early++
			}
			if got == model.Deny {
				denied++
			} else {
				allowed++
			}
			if actionOf(e.BeforeTranslation(pod, named), before) == model.Deny && want != model.Deny {
				t.Fatalf("seed %d: %+v as %+v is denied before translation and allowed", seed, f, before)
			}
		}
	}
	if early == 0 || denied == 0 || allowed == 0 {
		t.Errorf("stages before translation %d, denied %d, allowed %d: the test tests nothing", early, denied, allowed)
	}
	t.Log(early, denied, allowed)
}

// serviceAddr is other, if it is of the family of an address, else an address outside.
func serviceAddr(like, other netip.Addr) netip.Addr {
	switch {
	case like.Is4() == other.Is4():
		return other
	case like.Is4():
		return netip.MustParseAddr("198.51.100.77")
	}
	return netip.MustParseAddr("2001:db8:77::1")
}

// decideTranslated is the verdict of the sender's node, then that of the receiver's.
func decideTranslated(ix *index.Index, node string, before, after model.Flow) model.Action {
	if d := verdict.DecideTranslatedAt(ix, node, before, after); d.Action == model.Deny {
		return model.Deny
	}
	end := verdict.EndOf(ix, after.Dst)
	if to := end.Node(); to != "" && to != node {
		return verdict.DecideAt(ix, to, after).Action
	}
	return model.Allow
}

func actionOf(f *packets.Fate, flow model.Flow) model.Action {
	for i := range f.Courses {
		if f.Courses[i].Space.Contains(flow) {
			return f.Courses[i].Action
		}
	}
	return model.NoAction
}
