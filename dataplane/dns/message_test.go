package dns

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// message builds one from text: a question "name TYPE" and answers "name TTL TYPE value".
func message(t testing.TB, change func(*dnsmessage.Header), question string, answers ...string) []byte {
	t.Helper()
	h := dnsmessage.Header{ID: 7, Response: true}
	if change != nil {
		change(&h)
	}
	m := dnsmessage.Message{Header: h}
	types := map[string]dnsmessage.Type{"A": dnsmessage.TypeA, "AAAA": dnsmessage.TypeAAAA, "CNAME": dnsmessage.TypeCNAME, "TXT": dnsmessage.TypeTXT}
	for q := range strings.SplitSeq(question, "; ") {
		if f := strings.Fields(q); len(f) == 2 {
			m.Questions = append(m.Questions, dnsmessage.Question{Name: dnsmessage.MustNewName(f[0] + "."), Type: types[f[1]], Class: dnsmessage.ClassINET})
		}
	}
	for _, a := range answers {
		f := strings.Fields(a)
		r := dnsmessage.Resource{Header: dnsmessage.ResourceHeader{Name: dnsmessage.MustNewName(f[0] + "."), Class: dnsmessage.ClassINET}}
		if _, err := fmt.Sscan(f[1], &r.Header.TTL); err != nil {
			t.Fatal(err)
		}
		switch f[2] {
		case "A":
			r.Body = &dnsmessage.AResource{A: [4]byte(parse4(f[3]))}
		case "AAAA":
			r.Body = &dnsmessage.AAAAResource{AAAA: [16]byte(parse16(f[3]))}
		case "CNAME":
			r.Body = &dnsmessage.CNAMEResource{CNAME: dnsmessage.MustNewName(f[3] + ".")}
		case "TXT":
			r.Body = &dnsmessage.TXTResource{TXT: []string{f[3]}}
		}
		m.Answers = append(m.Answers, r)
	}
	out, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func text(m Message) string {
	s := strings.Join(m.Names, ">")
	for _, a := range m.Addrs {
		s += fmt.Sprintf(" %s/%d", a.Addr, a.TTL/time.Second)
	}
	if m.Aside > 0 {
		s += fmt.Sprintf(" aside %d", m.Aside)
	}
	return s
}

func TestParse(t *testing.T) {
	for _, c := range []struct {
		name, question string
		answers        []string
		want           string
	}{
		{"plain", "a.example A", []string{"a.example 60 A 192.0.2.1", "a.example 30 A 192.0.2.2"}, "a.example 192.0.2.1/60 192.0.2.2/30"},
		{"six", "a.example AAAA", []string{"a.example 60 AAAA 2001:db8::1"}, "a.example 2001:db8::1/60"},
		{"mapped", "a.example AAAA", []string{"a.example 60 AAAA ::ffff:192.0.2.1"}, "a.example 192.0.2.1/60"},
		{"mixed case", "A.eXample A", []string{"a.Example 60 A 192.0.2.1"}, "a.example 192.0.2.1/60"},
		{"chain", "a.example A", []string{"a.example 60 CNAME b.example", "b.example 5 CNAME C.example", "c.example 30 A 192.0.2.1"}, "a.example>b.example>c.example 192.0.2.1/5"},
		{"chain out of order", "a.example A", []string{"c.example 30 A 192.0.2.1", "b.example 5 CNAME c.example", "a.example 60 CNAME b.example"}, "a.example>b.example>c.example 192.0.2.1/5"},
		{"loop", "a.example A", []string{"a.example 1 CNAME b.example", "b.example 1 CNAME a.example", "b.example 9 A 192.0.2.1"}, "a.example>b.example 192.0.2.1/1"},
		{"itself", "a.example A", []string{"a.example 1 CNAME a.example", "a.example 9 A 192.0.2.1"}, "a.example 192.0.2.1/9"},
		{"of another name", "a.example A", []string{"b.example 60 A 192.0.2.1", "a.example 60 A 192.0.2.2"}, "a.example 192.0.2.2/60 aside 1"},
		{"chain to nowhere", "a.example A", []string{"a.example 60 CNAME b.example"}, "a.example>b.example"},
		{"no host in the chain", "a.example A", []string{"a.example 60 CNAME b!.example", "b!.example 60 A 192.0.2.1"}, "a.example"},
		{"nothing", "a.example A", nil, "a.example"},
		{"text", "a.example TXT", []string{"a.example 60 TXT 192.0.2.1"}, "a.example"},
		{"strange TTL", "a.example A", []string{"a.example 4294967295 A 192.0.2.1"}, "a.example 192.0.2.1/0"},
	} {
		m, err := Parse(message(t, nil, c.question, c.answers...))
		if err != nil || text(m) != c.want {
			t.Errorf("%s: %s, %v; want %s", c.name, text(m), err, c.want)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	good := message(t, nil, "a.example A", "a.example 60 A 192.0.2.1")
	for _, c := range []struct {
		name string
		msg  []byte
		want error // nil: any
	}{
		{"a question", message(t, func(h *dnsmessage.Header) { h.Response = false }, "a.example A", "a.example 60 A 192.0.2.1"), ErrNotAnswer},
		{"an update", message(t, func(h *dnsmessage.Header) { h.OpCode = 5 }, "a.example A", "a.example 60 A 192.0.2.1"), ErrNotAnswer},
		{"no question", message(t, nil, "", "a.example 60 A 192.0.2.1"), ErrQuestion},
		{"two questions", message(t, nil, "a.example A; b.example A", "a.example 60 A 192.0.2.1"), ErrQuestion},
		{"no host", message(t, nil, "a!.example A", "a!.example 60 A 192.0.2.1"), ErrName},
		{"nothing", nil, nil},
		{"torn", good[:len(good)-1], nil},
		{"a header", good[:12], nil},
	} {
		m, err := Parse(c.msg)
		if err == nil || c.want != nil && !errors.Is(err, c.want) || len(m.Addrs) > 0 {
			t.Errorf("%s: %+v, %v", c.name, m, err)
		}
	}
	// What the server could not answer brings nothing, whatever else it says.
	m, err := Parse(message(t, func(h *dnsmessage.Header) { h.RCode = dnsmessage.RCodeNameError }, "a.example A", "a.example 60 A 192.0.2.1"))
	if err != nil || text(m) != "a.example" || m.RCode != dnsmessage.RCodeNameError {
		t.Errorf("%+v, %v", m, err)
	}
	m, err = Parse(message(t, func(h *dnsmessage.Header) { h.Truncated = true }, "a.example A", "a.example 60 A 192.0.2.1"))
	if err != nil || text(m) != "a.example 192.0.2.1/60" || !m.Truncated || m.ID != 7 {
		t.Errorf("%+v, %v", m, err)
	}
}

func TestLongChain(t *testing.T) {
	answers := []string{"c99.example 60 A 192.0.2.1"}
	for i := range 99 {
		answers = append(answers, fmt.Sprintf("c%d.example 60 CNAME c%d.example", i, i+1))
	}
	m, err := Parse(message(t, nil, "c0.example A", answers...))
	if err != nil || len(m.Names) != MaxChain+1 || len(m.Addrs) != 0 || m.Aside != 1 {
		t.Errorf("%d names, %v", len(m.Names), err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(message(f, nil, "a.example A", "a.example 60 CNAME b.example", "b.example 60 A 192.0.2.1"))
	f.Add(message(f, nil, "a.example AAAA", "a.example 60 AAAA 2001:db8::1", "a.example 1 TXT x"))
	f.Fuzz(func(t *testing.T, msg []byte) {
		m, err := Parse(msg)
		if err != nil {
			if len(m.Addrs) > 0 {
				t.Errorf("%v, and addresses", err)
			}
			return
		}
		if len(m.Names) == 0 || len(m.Names) > MaxChain+1 || len(m.Addrs) > len(msg)/12 {
			t.Errorf("%d names and %d addresses from %d bytes", len(m.Names), len(m.Addrs), len(msg))
		}
		for _, a := range m.Addrs {
			if !a.Addr.IsValid() || a.Addr.Is4In6() || a.TTL < 0 || a.TTL > (1<<31-1)*time.Second {
				t.Errorf("%+v", a)
			}
		}
	})
}

func BenchmarkParse(b *testing.B) {
	msg := message(b, nil, "a.example A", "a.example 60 CNAME b.example", "b.example 60 A 192.0.2.1", "b.example 60 A 192.0.2.2")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Parse(msg); err != nil {
			b.Fatal(err)
		}
	}
}
