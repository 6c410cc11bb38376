package probe

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"testing"
	"time"

	"github.com/tierwall/tierwall/test/dns"
)

// port is one that is free on TCP and UDP.
func port(t *testing.T) int {
	t.Helper()
	for range 100 {
		l, err := net.Listen(TCP, "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		port := l.Addr().(*net.TCPAddr).Port
		p, err := net.ListenPacket(UDP, fmt.Sprintf("127.0.0.1:%d", port))
		_ = l.Close()
		if err == nil {
			_ = p.Close()
			return port
		}
	}
	t.Fatal("no free port")
	return 0
}

// serve runs a server until the test ends.
func serve(t *testing.T) (c *Client, address string) {
	t.Helper()
	s := &Server{Name: "one", Ports: []int{port(t)}, Control: filepath.Join(t.TempDir(), "s")}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	c = NewClient(s.Control)
	for end := time.Now().Add(10 * time.Second); ; {
		_, err := c.Seen(t.Context(), "x")
		if err == nil {
			return c, fmt.Sprintf("127.0.0.1:%d", s.Ports[0])
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
	}
}

// hole is an address that takes datagrams, and connections, and never answers.
func hole(t *testing.T) string {
	t.Helper()
	p, err := net.ListenPacket(UDP, "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	return p.LocalAddr().String()
}

func TestProbes(t *testing.T) {
	c, address := serve(t)
	nobody := fmt.Sprintf("127.0.0.1:%d", port(t))
	results, err := c.Probes(t.Context(), []Request{
		{Network: TCP, To: address},
		{Network: UDP, To: address},
		{Network: TCP, To: nobody},
		{Network: UDP, To: nobody},
		{Network: UDP, To: hole(t), Timeout: 50 * time.Millisecond},
		{Network: "sctp", To: address},
	})
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []Outcome{Answered, Answered, Refused, Refused, Dropped, Failed} {
		if r := results[i]; r.Outcome != want || (want == Answered) != (r.Name == "one") {
			t.Errorf("probe %d: got %s, want %s", i, r, want)
		}
	}
	seen, err := c.Seen(t.Context(), results[1].Token, results[4].Token)
	if err != nil {
		t.Fatal(err)
	}
	if seen[0].Count != 1 || seen[0].From != results[1].From || seen[1].Count != 0 {
		t.Errorf("the server has seen %+v of %s", seen, results[1].From)
	}
}

func TestStreams(t *testing.T) {
	c, address := serve(t)
	for _, kind := range []Kind{Connection, Datagrams, Connections, Flows} {
		t.Run(string(kind), func(t *testing.T) {
			id, err := c.Start(t.Context(), StreamRequest{Kind: kind, To: address, Interval: time.Millisecond})
			if err != nil {
				t.Fatal(err)
			}
			for end := time.Now().Add(10 * time.Second); ; {
				now, err := c.Counts(t.Context(), id)
				if err != nil {
					t.Fatal(err)
				}
				if now.Answered >= 20 {
					break
				}
				if time.Now().After(end) {
					t.Fatalf("after ten seconds: %s", now)
				}
			}
			counts, err := c.Stop(t.Context(), id)
			if err != nil {
				t.Fatal(err)
			}
			if counts.Lost() != 0 || counts.Refused != 0 || counts.Failed != 0 || counts.Broken != "" {
				t.Errorf("%s", counts)
			}
			seen, err := c.Seen(t.Context(), counts.Token)
			if err != nil {
				t.Fatal(err)
			}
			datagrams := kind == Datagrams || kind == Flows
			if datagrams && seen[0].Count != counts.Sent {
				t.Errorf("%d of %d datagrams seen", seen[0].Count, counts.Sent)
			}
		})
	}
}

func TestStreamsThatNobodyAnswers(t *testing.T) {
	c, address := serve(t)
	if _, err := c.Start(t.Context(), StreamRequest{Kind: Connection, To: fmt.Sprintf("127.0.0.1:%d", port(t))}); err == nil {
		t.Error("a connection to nobody was made")
	}
	if _, err := c.Start(t.Context(), StreamRequest{Kind: "letters", To: address}); err == nil {
		t.Error("a stream of no kind was begun")
	}
	id, err := c.Start(t.Context(), StreamRequest{Kind: Datagrams, To: hole(t), Interval: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	counts, err := c.Stop(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	if counts.Sent == 0 || counts.Lost() != counts.Sent {
		t.Errorf("%s", counts)
	}
	if _, err := c.Counts(t.Context(), "nothing"); err == nil {
		t.Error("a stream that there is not has counts")
	}
}

func TestRaces(t *testing.T) {
	c, address := serve(t)
	to := netip.MustParseAddrPort(address)
	server, err := dns.Listen(netip.MustParseAddrPort("127.0.0.1:0"), dns.Zone{
		"a.example": dns.Addrs(30, to.Addr()), "silent.example": func(dns.Question) dns.Reply { return dns.Reply{Silent: true} },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() })
	for _, tcp := range []bool{false, true} {
		r, err := c.Race(t.Context(), RaceRequest{
			Server: server.Addr(), TCP: tcp, Port: to.Port(), Patience: 100 * time.Millisecond,
			Names: []string{"a.example", "silent.example", "a.example"},
		})
		if err != nil || r.Asked != 3 || r.Answered != 2 || r.Lost+r.Failed != 0 || r.Silence == 0 || r.Median == 0 {
			t.Errorf("over TCP %v: %s, %v", tcp, r, err)
		}
	}
	r, err := c.Race(t.Context(), RaceRequest{Server: server.Addr(), Port: uint16(port(t)), Names: []string{"a.example"}})
	if err != nil || r.Failed != 1 {
		t.Errorf("to a port that nobody has: %s, %v", r, err)
	}
}
