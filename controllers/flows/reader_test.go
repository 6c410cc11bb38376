package flows

import (
	"context"
	"log/slog"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	clocktesting "k8s.io/utils/clock/testing"

	"github.com/tierwall/tierwall/policy/flows"
)

// TestReader: what two agents have seen of the same connections is one record, an agent that
// is away is noted, and what an agent says of another node counts as its own.
func TestReader(t *testing.T) {
	now := noon.Add(time.Minute)
	clock := clocktesting.NewFakeClock(now)
	var list []Agent
	for i, node := range []string{"node-a", "node-b"} {
		own := NewStore(clock, Bounds{}, nil)
		r := of(0, "a/web", "b/db", 5432, 3)
		r.Reporters = []string{node}
		if i == 0 {
			r.Decided.Ingress = nil
		} else {
			r.Decided.Egress = nil
			r.Reporters = []string{"node-a"} // a lie
		}
		own.Add([]flows.Record{r})
		own.AddHits(flows.Hits([]flows.Record{r}), noon)
		server := httptest.NewTLSServer(NewHandler(own, rights{}, clock))
		t.Cleanup(server.Close)
		list = append(list, Agent{Node: node, Address: netip.MustParseAddrPort(strings.TrimPrefix(server.URL, "https://"))})
	}
	list = append(list, Agent{Node: "node-c", Address: netip.MustParseAddrPort("127.0.0.1:1")})
	store := NewStore(clock, Bounds{}, nil)
	r := Reader{
		Agents: func(context.Context) ([]Agent, error) { return list, nil },
		Token:  func(context.Context) (string, error) { return "*", nil },
		Store:  store, Clock: clock, Log: slog.New(slog.DiscardHandler), read: noon,
	}
	for range 2 { // the second time there is nothing new
		if err := r.windows(t.Context(), now.Truncate(flows.Window)); err != nil {
			t.Fatal(err)
		}
	}
	got, err := store.Records(t.Context(), &flows.Query{Since: noon}, everyone)
	if err != nil || len(got.Items) != 1 {
		t.Fatalf("%+v, %v", got, err)
	}
	rec := got.Items[0]
	if rec.Connections.New != 3 || rec.Decided.Egress == nil || rec.Decided.Ingress == nil || len(rec.Reporters) != 2 {
		t.Errorf("%+v", rec)
	}
	if len(got.Notes) != 1 || !strings.Contains(got.Notes[0], "node-c") {
		t.Errorf("notes %q", got.Notes)
	}
	rules, err := store.Rules(t.Context(), everyone)
	if err != nil || len(rules.Items) != 2 || rules.Items[0].Packets != 3 {
		t.Errorf("%+v, %v", rules, err)
	}
}
