package dns

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// smallest is how large an answer over UDP may be for those who do not say more.
const smallest = 512

var errNoQuestion = errors.New("no question")

// query is a question as it came.
type query struct {
	header   dnsmessage.Header
	question dnsmessage.Question
	// room is how large the answer over UDP may be.
	room int
}

func parseQuery(msg []byte) (query, error) {
	var p dnsmessage.Parser
	q := query{room: smallest}
	var err error
	if q.header, err = p.Start(msg); err != nil {
		return q, err
	}
	questions, err := p.AllQuestions()
	if err != nil || len(questions) == 0 || q.header.Response {
		return q, errors.Join(errNoQuestion, err)
	}
	q.question = questions[0]
	if err := errors.Join(p.SkipAllAnswers(), p.SkipAllAuthorities()); err != nil {
		return q, err
	}
	for {
		h, err := p.AdditionalHeader()
		if err != nil {
			return q, nil // the end, or something that is not needed
		}
		if h.Type == dnsmessage.TypeOPT {
			q.room = max(smallest, int(h.Class))
		}
		if p.SkipAdditional() != nil {
			return q, nil
		}
	}
}

// build makes the message of a reply. One that is too large for UDP is truncated.
func build(q query, r Reply, tcp bool) ([]byte, error) {
	full, err := assemble(q, r, r.Truncate && !tcp)
	if err == nil && !tcp && len(full) > q.room {
		return assemble(q, r, true)
	}
	return full, err
}

func assemble(q query, r Reply, truncated bool) ([]byte, error) {
	b := dnsmessage.NewBuilder(nil, dnsmessage.Header{
		ID: q.header.ID, Response: true, Authoritative: true, RecursionDesired: q.header.RecursionDesired,
		RecursionAvailable: true, RCode: r.RCode, Truncated: truncated,
	})
	b.EnableCompression()
	question := q.question
	if r.Asked != "" {
		var err error
		if question.Name, err = absolute(r.Asked); err != nil {
			return nil, err
		}
	}
	if err := errors.Join(b.StartQuestions(), b.Question(question), b.StartAnswers()); err != nil {
		return nil, err
	}
	if truncated {
		return b.Finish()
	}
	if err := records(&b, question, r); err != nil {
		return nil, err
	}
	return b.Finish()
}

func records(b *dnsmessage.Builder, question dnsmessage.Question, r Reply) error {
	h := dnsmessage.ResourceHeader{Name: question.Name, Class: dnsmessage.ClassINET, TTL: r.TTL}
	for _, name := range r.Chain {
		next, err := absolute(name)
		if err != nil {
			return err
		}
		if err := b.CNAMEResource(h, dnsmessage.CNAMEResource{CNAME: next}); err != nil {
			return err
		}
		h.Name = next
	}
	for _, a := range r.Addrs {
		var err error
		switch {
		case a.Is4() && question.Type == dnsmessage.TypeA:
			err = b.AResource(h, dnsmessage.AResource{A: a.As4()})
		case a.Is6() && question.Type == dnsmessage.TypeAAAA:
			err = b.AAAAResource(h, dnsmessage.AAAAResource{AAAA: a.As16()})
		}
		if err != nil {
			return err
		}
	}
	if err := errors.Join(b.StartAuthorities(), b.StartAdditionals()); err != nil || r.Pad == 0 {
		return err
	}
	var text []string
	for left := r.Pad; left > 0; left -= 255 {
		text = append(text, strings.Repeat("x", min(left, 255)))
	}
	return b.TXTResource(h, dnsmessage.TXTResource{TXT: text})
}

func absolute(name string) (dnsmessage.Name, error) {
	n, err := dnsmessage.NewName(name + ".")
	if err != nil {
		return n, fmt.Errorf("name %q: %w", name, err)
	}
	return n, nil
}

// Answer is what a client has received.
type Answer struct {
	RCode     dnsmessage.RCode
	Truncated bool
	// Asked is the question that the answer repeats.
	Asked string
	Chain []string
	Addrs []netip.Addr
	// Size of the message, in bytes.
	Size int
	// received is when it had come.
	received time.Time
}

// parseAnswer reads a message, and reports whether it answers the query of an ID.
func parseAnswer(msg []byte, id uint16) (a Answer, ok bool, err error) {
	var m dnsmessage.Message
	if err := m.Unpack(msg); err != nil {
		return a, false, err
	}
	if !m.Response || m.ID != id || len(m.Questions) != 1 {
		return a, false, nil
	}
	a = Answer{RCode: m.RCode, Truncated: m.Truncated, Asked: relative(m.Questions[0].Name), Size: len(msg)}
	for _, r := range m.Answers {
		switch body := r.Body.(type) {
		case *dnsmessage.CNAMEResource:
			a.Chain = append(a.Chain, relative(body.CNAME))
		case *dnsmessage.AResource:
			a.Addrs = append(a.Addrs, netip.AddrFrom4(body.A))
		case *dnsmessage.AAAAResource:
			a.Addrs = append(a.Addrs, netip.AddrFrom16(body.AAAA))
		}
	}
	return a, true, nil
}

func relative(n dnsmessage.Name) string { return strings.TrimSuffix(n.String(), ".") }
