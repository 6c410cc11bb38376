package dns

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/tierwall/tierwall/policy/names"
)

// MaxChain is how many CNAME records are followed; resolvers give up long before.
const MaxChain = 32

// Errors of Parse.
var (
	// ErrNotAnswer: the message is a question, or no message of a query.
	ErrNotAnswer = errors.New("it is no answer")
	// ErrQuestion: the message repeats no question, or several, or one that is not of
	// the Internet class.
	ErrQuestion = errors.New("it does not answer one question")
	// ErrName: the question is for something that cannot be a host's name.
	ErrName = errors.New("the name that was asked for is not one of a host")
)

// Message is an answer.
type Message struct {
	ID   uint16
	Type dnsmessage.Type
	// RCode is the server's word on whether it could answer.
	RCode dnsmessage.RCode
	// Truncated: it says that there is more, to be asked for over TCP. What it
	// holds counts all the same.
	Truncated bool
	// Answer is what it says about addresses. Its first name is the question.
	names.Answer
	// Aside is how many addresses the message holds that do not follow from its question.
	Aside int
}

// record is an address, or a CNAME record, before it is known whether it counts.
type record struct {
	owner, target string
	addr          netip.Addr
	ttl           time.Duration
}

// Parse reads a message. It fails with ErrNotAnswer, ErrQuestion, ErrName or an error of
// dnsmessage, where some record is malformed: nothing of such a message counts. An
// answer without addresses is no error.
func Parse(msg []byte) (Message, error) {
	var m Message
	var p dnsmessage.Parser
	h, err := p.Start(msg)
	if err != nil {
		return m, fmt.Errorf("dns message: %w", err)
	}
	m.ID, m.RCode, m.Truncated = h.ID, h.RCode, h.Truncated
	if !h.Response || h.OpCode != 0 {
		return m, fmt.Errorf("dns message: %w", ErrNotAnswer)
	}
	q, err := question(&p)
	if err != nil {
		return m, err
	}
	m.Type = q.Type
	name, ok := names.Canonical(q.Name.String())
	if !ok {
		return m, fmt.Errorf("dns message: %w", ErrName)
	}
	m.Names = []string{name}
	if h.RCode != dnsmessage.RCodeSuccess {
		return m, nil
	}
	records, err := answers(&p)
	if err != nil {
		return m, fmt.Errorf("dns message: answer for %s: %w", name, err)
	}
	m.follow(records)
	return m, nil
}

func question(p *dnsmessage.Parser) (dnsmessage.Question, error) {
	q, err := p.Question()
	if errors.Is(err, dnsmessage.ErrSectionDone) {
		return q, fmt.Errorf("dns message: %w", ErrQuestion)
	}
	if err != nil {
		return q, fmt.Errorf("dns message: question: %w", err)
	}
	if _, err := p.Question(); !errors.Is(err, dnsmessage.ErrSectionDone) || q.Class != dnsmessage.ClassINET {
		return q, fmt.Errorf("dns message: %w", ErrQuestion)
	}
	return q, nil
}

// answers reads the records that can matter. Those of names that are none of hosts are left out.
func answers(p *dnsmessage.Parser) ([]record, error) {
	var out []record
	for {
		h, err := p.AnswerHeader()
		if errors.Is(err, dnsmessage.ErrSectionDone) {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
		r := record{ttl: ttlOf(h.TTL)}
		ok := h.Class == dnsmessage.ClassINET
		switch {
		case ok && h.Type == dnsmessage.TypeA:
			var body dnsmessage.AResource
			body, err = p.AResource()
			r.addr = netip.AddrFrom4(body.A)
		case ok && h.Type == dnsmessage.TypeAAAA:
			var body dnsmessage.AAAAResource
			body, err = p.AAAAResource()
			r.addr = netip.AddrFrom16(body.AAAA).Unmap()
		case ok && h.Type == dnsmessage.TypeCNAME:
			var body dnsmessage.CNAMEResource
			if body, err = p.CNAMEResource(); err == nil {
				r.target, ok = names.Canonical(body.CNAME.String())
			}
		default:
			ok, err = false, p.SkipAnswer()
		}
		if err != nil {
			return nil, err
		}
		if ok {
			if r.owner, ok = names.Canonical(h.Name.String()); ok {
				out = append(out, r)
			}
		}
	}
}

// ttlOf takes one with the first bit set for 0, as RFC 2181 (section 8) has it.
func ttlOf(ttl uint32) time.Duration {
	if ttl > 1<<31-1 {
		return 0
	}
	return time.Duration(ttl) * time.Second
}

// follow goes from the question by CNAME records, in whatever order they stand, to the
// addresses at the end. The least TTL on the way is that of the addresses.
func (m *Message) follow(records []record) {
	least := map[string]time.Duration{m.Names[0]: 1<<63 - 1} // of the names on the way
	for at := m.Names[0]; len(m.Names) <= MaxChain; {
		i := slices.IndexFunc(records, func(r record) bool { return r.target != "" && r.owner == at })
		if i < 0 {
			break
		}
		next := records[i]
		if _, been := least[next.target]; been {
			break
		}
		least[next.target] = min(least[at], next.ttl)
		at = next.target
		m.Names = append(m.Names, at)
	}
	for _, r := range records {
		if !r.addr.IsValid() {
			continue
		}
		ttl, ok := least[r.owner]
		if !ok {
			m.Aside++
			continue
		}
		m.Addrs = append(m.Addrs, names.Address{Addr: r.addr, TTL: min(ttl, r.ttl)})
	}
}
