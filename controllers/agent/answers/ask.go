package answers

import (
	"context"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/tierwall/tierwall/dataplane/dns"
)

// askTime bounds a query of the Keeper's own, askMost the number of names in a round of queries.
const (
	askTime = 2 * time.Second
	askMost = 100
)

// askAll asks whenever there are names to ask for, until the context ends.
func (k *Keeper) askAll(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-k.questions:
			k.ask(ctx)
		}
	}
}

// ask resolves the names that new rules spell out, so that connections of clients that
// have an older answer are allowed too.
func (k *Keeper) ask(ctx context.Context) {
	k.mu.Lock()
	n := min(len(k.asking), askMost)
	list := slices.Clone(k.asking[:n])
	k.asking = k.asking[n:]
	servers := slices.Clone(k.config.Servers)
	if len(k.asking) > 0 {
		wake(k.questions)
	}
	k.mu.Unlock()
	if k.opts.Ask == nil || len(servers) == 0 {
		return
	}
	for _, name := range list {
		for _, t := range []dnsmessage.Type{dnsmessage.TypeA, dnsmessage.TypeAAAA} {
			k.askFor(ctx, name, t, servers)
		}
	}
}

// askFor asks the servers in turn until one answers.
func (k *Keeper) askFor(ctx context.Context, name string, t dnsmessage.Type, servers []netip.Addr) {
	id := uint16(rand.Uint32())
	n, err := dnsmessage.NewName(name + ".")
	if err != nil {
		return
	}
	question, err := (&dnsmessage.Message{
		Header:    dnsmessage.Header{ID: id, RecursionDesired: true},
		Questions: []dnsmessage.Question{{Name: n, Type: t, Class: dnsmessage.ClassINET}},
	}).Pack()
	if err != nil {
		return
	}
	for _, server := range servers {
		ctx, cancel := context.WithTimeout(ctx, askTime)
		msg, err := k.opts.Ask(ctx, server, question)
		cancel()
		if err != nil {
			continue
		}
		m, err := dns.Parse(msg)
		if err != nil || m.ID != id || m.Type != t || m.Names[0] != name {
			continue
		}
		k.mu.Lock()
		now := k.clock.Now()
		k.learn(m.Answer, now)
		if deltas := k.submit(now); deltas != nil {
			k.program(deltas)
		}
		k.mu.Unlock()
		return
	}
	k.metrics.unanswered.Inc()
}
