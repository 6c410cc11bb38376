package flows

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"net/url"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/tierwall/tierwall/policy/model"
)

func TestParseQuery(t *testing.T) {
	now := time.Date(2026, 1, 2, 15, 0, 0, 0, time.UTC)
	for _, tc := range []struct {
		in   string
		want Query
		err  string
	}{
		{in: "", want: Query{Since: now.Add(-time.Hour)}},
		{in: "since=30d&until=1h", want: Query{Since: now.Add(-720 * time.Hour), Until: now.Add(-time.Hour)}},
		{
			in: "since=2026-01-02T14:00:00%2B01:00&namespace=b&namespace=a&workload=shop/Deployment/web&from=a/Pod/x&to=b/Job/y&action=Deny&audited=true&policy=NetworkPolicy/a/b" +
				"&tier=default&protocol=tcp&port=80&address=::ffff:10.0.0.1&domain=*.example.com&node=n&limit=10000&step=5m",
			want: Query{Since: now.Add(-2 * time.Hour), Namespaces: []string{"a", "b"}, Workload: "shop/Deployment/web", From: "a/Pod/x", To: "b/Job/y", Action: model.Deny, Audited: true,
				Policy: model.Ref{Kind: model.KindNetworkPolicy, Namespace: "a", Name: "b"}, Tier: "default", Protocol: model.TCP, Port: 80, Address: netip.MustParseAddr("10.0.0.1"),
				Domain: "*.example.com", Node: "n", Limit: 10000, Step: LongWindow},
		},
		{in: "since=soon", err: `since: unsupported value "soon": want a time such as 2026-01-02T15:04:05Z, or how long ago, such as 90s, 1h or 30d`},
		{in: "since=1h&until=2h", err: "until: 2026-01-02T13:00:00Z is before since, 2026-01-02T14:00:00Z"},
		{in: "action=Pass", err: `action: unsupported value "Pass": want Allow or Deny`},
		{in: "workload=web", err: `workload: unsupported value "web": want namespace/Kind/name`},
		{in: "port=0", err: `port: unsupported value "0": want 1-65535`},
		{in: "limit=10001", err: `limit: unsupported value "10001": want 1-10000`},
		{in: "step=1m", err: `step: unsupported value "1m": want 15s or 5m`},
		{in: "cursor=x", err: `cursor: "x" is no cursor of a list of records`},
		{in: "namespaces=a", err: "namespaces: unknown parameter"},
		{in: "tier=a&tier=b", err: "tier: given 2 times"},
	} {
		values, err := url.ParseQuery(tc.in)
		if err != nil {
			t.Fatal(err)
		}
		got, err := ParseQuery(values, now)
		if tc.err != "" {
			if err == nil || err.Error() != tc.err {
				t.Errorf("%s: %v, want %s", tc.in, err, tc.err)
			}
			continue
		}
		if err != nil || !reflect.DeepEqual(got, tc.want) {
			t.Errorf("%s: %+v, %v, want %+v", tc.in, got, err, tc.want)
		}
		again, err := ParseQuery(got.Values(), now)
		if err != nil || !reflect.DeepEqual(again, got) {
			t.Errorf("%s: written and read again: %+v, %v", tc.in, again, err)
		}
	}
}

// random is a record of few possible ones, so that some are alike.
func random(rng *rand.Rand) Record {
	end := func() End {
		switch rng.IntN(5) {
		case 0:
			return End{Kind: EndOutside, Addresses: []netip.Addr{netip.AddrFrom4([4]byte{203, 0, 113, byte(rng.IntN(3))})}}
		case 1:
			return End{Kind: EndHost, Workload: "Node/a", Node: "a"}
		case 2:
			return End{Kind: EndSet, Set: "GlobalNetworkSet/office"}
		}
		return pod(string(rune('a'+rng.IntN(2))), fmt.Sprint("ns", rng.IntN(3)), fmt.Sprint("Deployment/w", rng.IntN(2)))
	}
	d := allowedBy(by(model.Egress, model.Allow, "out", model.RuleIndex(rng.IntN(2))), nil)
	if rng.IntN(3) == 0 {
		d = Decided{Action: model.Deny, Ingress: by(model.Ingress, model.Deny, "in", model.RuleEndOfTier)}
	}
	r := record(rng.IntN(50), "a", end(), end(), d, Connections{New: uint64(rng.IntN(3)), Live: uint64(rng.IntN(2))})
	r.Denied = uint64(rng.IntN(2))
	r.Port = uint16(80 + rng.IntN(2))
	if rng.IntN(2) == 0 {
		r.Sent = &Volume{1, 100}
	}
	return r
}

func randomList(rng *rand.Rand, n int) []Record {
	var list []Record
	for range n {
		list = append(list, random(rng))
	}
	return list
}

// TestPages: pages put together are the list, whatever their size.
func TestPages(t *testing.T) {
	for seed := range uint64(50) {
		rng := rand.New(rand.NewPCG(seed, 17))
		list := Step(randomList(rng, 300), 0)
		q := Query{Limit: 1 + rng.IntN(40)}
		var got []Record
		for {
			page, next, err := q.Page(list)
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, page...)
			if next == "" {
				break
			}
			q.Cursor = next
		}
		if !reflect.DeepEqual(got, list) {
			t.Fatalf("seed %d: %d records in pages of %d, want %d", seed, len(got), q.Limit, len(list))
		}
	}
}

// TestStep: longer windows count the same, in any order of what they are made of.
func TestStep(t *testing.T) {
	sum := func(list []Record) (n uint64) {
		for i := range list {
			n += list[i].Connections.New + list[i].Denied
			if v := list[i].Sent; v != nil {
				n += v.Bytes
			}
		}
		return n
	}
	for seed := range uint64(50) {
		rng := rand.New(rand.NewPCG(seed, 18))
		list := randomList(rng, 300)
		want, before := sum(list), toJSON(t, list)
		got := Step(list, LongWindow)
		if sum(got) != want || toJSON(t, list) != before {
			t.Fatalf("seed %d: %d, want %d", seed, sum(got), want)
		}
		if !slices.IsSortedFunc(got, func(a, b Record) int { return Compare(&a, &b) }) {
			t.Fatalf("seed %d: not sorted", seed)
		}
		slices.Reverse(list)
		if again := Step(list, LongWindow); toJSON(t, again) != toJSON(t, got) {
			t.Fatalf("seed %d: the order matters", seed)
		}
	}
}

func toJSON(t *testing.T, v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestRecordJSON: a record is read as it was written.
func TestRecordJSON(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 19))
	for range 100 {
		want := random(rng)
		want.Decided.Egress = by(model.Egress, model.Deny, "x", model.RuleDefault)
		want.Decided.Egress.Audit = by(model.Egress, model.Allow, "y", 7)
		var got Record
		if err := json.Unmarshal([]byte(toJSON(t, want)), &got); err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("%+v, %v, want %+v", got, err, want)
		}
	}
}
