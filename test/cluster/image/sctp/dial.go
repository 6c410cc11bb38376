//go:build linux

package sctp

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"syscall"
	"time"
)

// again is how long an unanswered packet waits to be sent once more. The kernel
// waits three seconds for the first, which is as long as the tests' time-outs.
const again = time.Second

// Dial makes an association, sends text, and returns the first message that the
// other side sends; then it takes the association down. A peer that refuses is
// syscall.ECONNREFUSED, a time-out the error of ctx.
func Dial(ctx context.Context, to netip.AddrPort, text []byte) ([]byte, error) {
	answer, err := dial(ctx, to, text)
	if err != nil {
		return nil, fmt.Errorf("sctp: %s: %w", to, err)
	}
	return answer, nil
}

func dial(ctx context.Context, to netip.AddrPort, text []byte) ([]byte, error) {
	w, err := connect(to.Addr())
	if err != nil {
		return nil, err
	}
	defer func() { _ = w.close() }()
	c := client{
		wire: w, to: to,
		// Outside of the range in which the kernel picks ports by itself.
		port: uint16(10000 + rand.N(20000)),
		own:  beginning{tag: nonZero(), tsn: rand.Uint32()},
	}
	reply, err := c.exchange(ctx, 0, []chunk{c.own.chunk(chunkInit)}, chunkInitAck)
	if err != nil {
		return nil, err
	}
	accepted, _ := reply.find(chunkInitAck)
	peer, err := parseBeginning(accepted)
	if err != nil {
		return nil, err
	}
	reply, err = c.exchange(ctx, peer.tag, []chunk{{kind: chunkCookieEcho, value: peer.cookie}, data(c.own.tsn, text)}, chunkData)
	if err != nil {
		return nil, err
	}
	message, _ := reply.find(chunkData)
	tsn, answer, err := parseData(message)
	if err != nil {
		return nil, err
	}
	// An abort needs no answer, and tells connection tracking that it is over.
	return answer, c.send(peer.tag, []chunk{sack(tsn), {kind: chunkAbort}})
}

type client struct {
	wire *wire
	to   netip.AddrPort
	port uint16
	own  beginning
}

func (c *client) send(tag uint32, chunks []chunk) error {
	return c.wire.send(packet{source: c.port, destination: c.to.Port(), tag: tag, chunks: chunks}, netip.Addr{}, c.to.Addr())
}

// exchange sends chunks, again and again, until a packet of this association has
// a chunk of the kind that is wanted.
func (c *client) exchange(ctx context.Context, tag uint32, chunks []chunk, want byte) (packet, error) {
	for {
		if err := c.send(tag, chunks); err != nil {
			return packet{}, err
		}
		p, err := c.await(ctx, want)
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return p, err
		}
		if ctx.Err() != nil {
			return packet{}, ctx.Err()
		}
	}
}

func (c *client) await(ctx context.Context, want byte) (packet, error) {
	until := time.Now().Add(again)
	if deadline, ok := ctx.Deadline(); ok && deadline.Before(until) {
		until = deadline
	}
	if err := c.wire.until(until); err != nil {
		return packet{}, err
	}
	for {
		p, from, _, err := c.wire.receive()
		if errors.Is(err, errPacket) {
			continue
		}
		if err != nil {
			return packet{}, err
		}
		// Others' packets arrive here too.
		if from != c.to.Addr() || p.source != c.to.Port() || p.destination != c.port || p.tag != c.own.tag {
			continue
		}
		if abort, ok := p.find(chunkAbort); ok && abort.flags&tagReflected == 0 {
			return packet{}, syscall.ECONNREFUSED
		}
		if _, ok := p.find(want); ok {
			return p, nil
		}
	}
}
