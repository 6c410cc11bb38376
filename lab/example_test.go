//go:build linux

package lab_test

import (
	"context"
	"fmt"
	"net/netip"
	"strings"

	"github.com/tierwall/tierwall/lab"
	"github.com/tierwall/tierwall/policy/model"
)

func Example() {
	ctx := context.Background()
	l, err := lab.New(ctx, lab.Spec{
		Nodes: []lab.Node{{Name: "n1", Addrs: []netip.Addr{netip.MustParseAddr("192.0.2.1")}}},
		Pods: []lab.Pod{
			{Namespace: "shop", Name: "web", Node: "n1", Addrs: []netip.Addr{netip.MustParseAddr("10.0.0.1")}},
			{Namespace: "shop", Name: "db", Node: "n1", Addrs: []netip.Addr{netip.MustParseAddr("10.0.0.2")}},
		},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = l.Close() }()

	// What enforces policy runs inside the node's namespace.
	rules := l.Command("n1", "nft", "-f", "-")
	rules.Stdin = strings.NewReader("table inet t {\n chain f { type filter hook forward priority 0; tcp dport 22 drop; }\n }")
	if err := rules.Run(); err != nil {
		fmt.Println(err)
		return
	}
	for _, port := range []uint16{22, 5432} {
		r, err := l.Probe(ctx, model.Flow{
			Src: netip.MustParseAddr("10.0.0.1"), Dst: netip.MustParseAddr("10.0.0.2"), Protocol: model.TCP, DstPort: port,
		}, lab.Options{})
		fmt.Println(port, r.Delivered, r.Answer, err)
	}
	// Output:
	// 22 false  <nil>
	// 5432 true SYN-ACK <nil>
}
