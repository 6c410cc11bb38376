//go:build linux

package dns

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

var (
	one, two = netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")
	block4   = netip.MustParsePrefix("198.18.0.0/15")
	block6   = netip.MustParsePrefix("2001:db8:1::/64")
)

func serve(t testing.TB, at string, z Zone) *Server {
	t.Helper()
	s, err := Listen(netip.MustParseAddrPort(at), z)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func dial(t testing.TB, s *Server, o Options) *Client {
	t.Helper()
	c, err := Dial(s.Addr(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func some(n int) (out []netip.Addr) {
	for i := range n {
		out = append(out, Nth(block4, uint32(i)))
	}
	return out
}

func TestScripts(t *testing.T) {
	zone := Zone{
		"fixed.example":    Addrs(30, one, two),
		"chain.example":    Chain(12, Addrs(0, one)),
		"rotate.example":   Rotate(5, 8, some(500)...),
		"truncate.example": Truncated(Addrs(5, one)),
		"large.example":    Padded(4000, Addrs(5, one)),
		"*.flood.example":  Numbered(60, block4, block6),
		"forged.example":   func(Question) Reply { return Reply{Addrs: []netip.Addr{one}, Asked: "other.example"} },
	}
	for _, at := range []string{"127.0.0.1:0", "[::1]:0"} {
		s := serve(t, at, zone)
		for _, c := range []struct {
			name string
			t    dnsmessage.Type
			o    Options
			want string
		}{
			{"fixed.example", dnsmessage.TypeA, Options{}, "RCodeSuccess fixed.example [] [192.0.2.1] false small"},
			{"fixed.example", dnsmessage.TypeAAAA, Options{TCP: true}, "RCodeSuccess fixed.example [] [2001:db8::1] false small"},
			{"FiXed.eXample", dnsmessage.TypeA, Options{}, "RCodeSuccess FiXed.eXample [] [192.0.2.1] false small"},
			{"chain.example", dnsmessage.TypeA, Options{}, "RCodeSuccess chain.example 12 [192.0.2.1] false small"},
			{"truncate.example", dnsmessage.TypeA, Options{}, "RCodeSuccess truncate.example [] [] true small"},
			{"truncate.example", dnsmessage.TypeA, Options{TCP: true}, "RCodeSuccess truncate.example [] [192.0.2.1] false small"},
			{"large.example", dnsmessage.TypeA, Options{}, "RCodeSuccess large.example [] [] true small"},
			{"large.example", dnsmessage.TypeA, Options{Room: 4096}, "RCodeSuccess large.example [] [192.0.2.1] false large"},
			{"large.example", dnsmessage.TypeA, Options{TCP: true}, "RCodeSuccess large.example [] [192.0.2.1] false large"},
			{"513.flood.example", dnsmessage.TypeA, Options{}, "RCodeSuccess 513.flood.example [] [198.18.2.1] false small"},
			{"513.a.flood.example", dnsmessage.TypeAAAA, Options{}, "RCodeSuccess 513.a.flood.example [] [2001:db8:1::201] false small"},
			{"x.flood.example", dnsmessage.TypeA, Options{}, "RCodeNameError x.flood.example [] [] false small"},
			{"none.example", dnsmessage.TypeA, Options{}, "RCodeNameError none.example [] [] false small"},
			{"forged.example", dnsmessage.TypeA, Options{}, "RCodeSuccess other.example [] [192.0.2.1] false small"},
		} {
			a, err := dial(t, s, c.o).Ask(c.name, c.t)
			if err != nil {
				t.Errorf("%s: %v", c.name, err)
				continue
			}
			chain, size := fmt.Sprint(a.Chain), "small"
			if len(a.Chain) > 0 {
				chain = fmt.Sprint(len(a.Chain))
			}
			if a.Size > 4000 {
				size = "large"
			}
			got := fmt.Sprintf("%v %s %s %v %v %s", a.RCode, a.Asked, chain, a.Addrs, a.Truncated, size)
			if got != c.want {
				t.Errorf("%s %v %+v:\n got %s\nwant %s", c.name, c.t, c.o, got, c.want)
			}
		}
		c, seen := dial(t, s, Options{}), map[netip.Addr]bool{}
		for range 63 {
			a, err := c.Ask("rotate.example", dnsmessage.TypeA)
			if err != nil || len(a.Addrs) != 8 {
				t.Fatalf("%v, %v", a.Addrs, err)
			}
			for _, addr := range a.Addrs {
				seen[addr] = true
			}
		}
		if len(seen) != 500 {
			t.Errorf("%d of 500 addresses were seen", len(seen))
		}
	}
}

func TestSilence(t *testing.T) {
	s := serve(t, "127.0.0.1:0", Zone{"a.example": func(q Question) Reply { return Reply{Silent: q.Nth == 0} }})
	c := dial(t, s, Options{Timeout: 50 * time.Millisecond})
	if _, err := c.Ask("a.example", dnsmessage.TypeA); !errors.Is(err, ErrNoAnswer) {
		t.Errorf("the first question: %v", err)
	}
	if _, err := c.Ask("a.example", dnsmessage.TypeA); err != nil || s.Asked() != 2 {
		t.Errorf("the second question: %v, asked %d times", err, s.Asked())
	}
}

// TestGarbage: what is no query is left alone, and the server goes on.
func TestGarbage(t *testing.T) {
	s := serve(t, "127.0.0.1:0", Zone{"a.example": Addrs(1, one), "bad.example": func(Question) Reply {
		return Reply{Chain: []string{strings.Repeat("x", 300)}}
	}})
	c, err := net.Dial("udp", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	for _, msg := range [][]byte{{}, {1}, make([]byte, 12), slices.Repeat([]byte{0xc0}, 40)} {
		if _, err := c.Write(msg); err != nil {
			t.Fatal(err)
		}
	}
	client := dial(t, s, Options{})
	if a, err := client.Ask("bad.example", dnsmessage.TypeA); err != nil || a.RCode != dnsmessage.RCodeServerFailure {
		t.Errorf("%+v, %v", a, err)
	}
	if a, err := client.Ask(client.MixCase("a.example"), dnsmessage.TypeA); err != nil || len(a.Addrs) != 1 {
		t.Errorf("%+v, %v", a, err)
	}
}

func TestRace(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	port := uint16(l.Addr().(*net.TCPAddr).Port)
	s := serve(t, "127.0.0.1:0", Zone{
		"good.example":   Addrs(1, netip.MustParseAddr("127.0.0.1")),
		"bad.example":    Addrs(1, netip.MustParseAddr("127.0.0.2")), // refused: the port is open on 127.0.0.1 alone
		"silent.example": func(Question) Reply { return Reply{Silent: true} },
	})
	c := dial(t, s, Options{Timeout: 20 * time.Millisecond})
	r := Race{Type: dnsmessage.TypeA, Port: port, Patience: time.Second}
	got, err := r.Run(c, []string{"good.example", "silent.example", "bad.example", "good.example"})
	if err != nil || got.Asked != 4 || got.Answered != 3 || got.Lost != 0 || got.Failed != 1 || len(got.Silences) != 1 || len(got.Took) != 3 {
		t.Errorf("%+v, %v", got, err)
	}
	got.Add(Score{Asked: 1, Answered: 1, Took: []time.Duration{time.Hour}})
	if got.Asked != 5 || got.Percentile(100) != time.Hour || got.Percentile(50) > time.Minute || (&Score{}).Percentile(50) != 0 {
		t.Errorf("%+v", got)
	}
}

func TestNth(t *testing.T) {
	for _, c := range []struct {
		block string
		n     uint32
		want  string
	}{{"10.0.0.0/8", 1 << 24, "10.0.0.0"}, {"10.0.0.0/8", 257, "10.0.1.1"}, {"10.1.2.3/32", 9, "10.1.2.3"}, {"2001:db8::/64", 1<<32 - 1, "2001:db8::ffff:ffff"}} {
		if got := Nth(netip.MustParsePrefix(c.block), c.n); got.String() != c.want {
			t.Errorf("%s %d: %s", c.block, c.n, got)
		}
	}
}
