package nftables

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/tierwall/tierwall/dataplane"
	"github.com/tierwall/tierwall/lab"
	"github.com/tierwall/tierwall/policy/index"
	"github.com/tierwall/tierwall/policy/model"
)

// TestClassIsTakenOff sends packets through a classed table, and holds their
// priority to being none where other tables see them next.
func TestClassIsTakenOff(t *testing.T) {
	ctx := context.Background()
	addr := netip.MustParseAddr
	block := netip.MustParsePrefix("10.1.0.0/24")
	addrs := map[string]netip.Addr{"web": addr("10.1.0.2"), "n0": addr("10.1.0.3"), "n1": addr("10.1.0.4"), "other": addr("10.1.0.5")}
	spec := lab.Spec{Nodes: []lab.Node{{Name: "n1", Addrs: []netip.Addr{addr("192.0.2.1")}, PodCIDRs: []netip.Prefix{block}}}}
	ix := index.New(index.Options{})
	ix.Upsert(&model.Node{Name: "n1", Addrs: spec.Nodes[0].Addrs, PodCIDRs: []netip.Prefix{block}})
	for _, name := range slices.Sorted(maps.Keys(addrs)) {
		spec.Pods = append(spec.Pods, lab.Pod{Namespace: "shop", Name: name, Node: "n1", Addrs: []netip.Addr{addrs[name]}})
		ix.Upsert(&model.Endpoint{Ref: model.Ref{Kind: model.KindPod, Namespace: "shop", Name: name}, Node: "n1", Labels: map[string]string{"app": name}, Addrs: []netip.Addr{addrs[name]}})
	}
	p := ingress("many", 1)
	for i := range 20 {
		p.IngressRules = append(p.IngressRules, allow(i, sel(fmt.Sprintf("app == 'n%d'", i%2)), 8000+i))
	}
	ix.Upsert(p)
	c := dataplane.NewCompiler(dataplane.Options{Classed: 2})
	c.Apply(ix.Flush())
	s := dataplane.NewState(ix, "n1", c)
	if text := Render(s, Options{}); strings.Count(text, "vmap @t-") != strings.Count(text, "meta priority vmap @t-") || !strings.Contains(text, "map @classes4") {
		t.Fatalf("the world has gone blind:\n%s", text)
	}
	l, err := lab.New(ctx, spec)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}()
	if err := l.Do("n1", func() error {
		b, err := New(Options{})
		if err != nil {
			return err
		}
		return b.Sync(ctx, s)
	}); err != nil {
		t.Fatal(err)
	}
	after := l.Command("n1", "nft", "-f", "-")
	after.Stdin = strings.NewReader(`table inet after {
	counter none { }
	counter some { }
	chain forward {
		type filter hook forward priority 0;
		ct state new meta priority none counter name none
		ct state new meta priority != none counter name some
	}
}
`)
	if out, err := after.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for from, port := range map[string]uint16{"n0": 8000, "n1": 8001} {
		f := model.Flow{Src: addrs[from], Dst: addrs["web"], Protocol: model.TCP, DstPort: port}
		for _, want := range []bool{true, false} {
			got, err := l.Probe(ctx, f, lab.Options{})
			if err != nil {
				t.Fatal(err)
			}
			if got.Delivered != want {
				t.Errorf("%+v: %+v, want %v", f, got, want)
			}
			f.DstPort ^= 1 // the other's port
		}
	}
	if got, err := l.Probe(ctx, model.Flow{Src: addrs["other"], Dst: addrs["web"], Protocol: model.TCP, DstPort: 8000}, lab.Options{}); err != nil || got.Delivered {
		t.Errorf("an address of no class: %+v %v", got, err)
	}
	out, err := l.Command("n1", "nft", "list", "counters", "table", "inet", "after").Output()
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Join(strings.Fields(string(out)), " ")
	if !strings.Contains(text, "counter some { packets 0 ") || !strings.Contains(text, "counter none { packets 2 ") {
		t.Errorf("packets that come out of our chains: %s", text)
	}
}
