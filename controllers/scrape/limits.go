package scrape

import (
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"
	"k8s.io/utils/clock"
)

// What all peers, and one peer, may use. A Prometheus server holds one connection
// to a target and sends a request every few seconds.
const (
	maxConnections        = 64
	maxConnectionsPerPeer = 8
	// A connection costs a handshake and a request an answer: one token each.
	ratePerSecond, rateBurst             = 100, 200
	ratePerSecondOfPeer, rateBurstOfPeer = 5, 30
	maxPeers                             = 1024
	forgetPeersEvery                     = time.Second
)

// limits counts what remote peers use. Safe for concurrent use.
type limits struct {
	clock clock.PassiveClock

	mu    sync.Mutex
	open  int // connections
	all   *rate.Limiter
	peers map[netip.Prefix]*peer
	swept time.Time // when idle peers were last forgotten
}

// peer is an address, or a /64 of IPv6: its holder has all of it.
type peer struct {
	open int
	rate *rate.Limiter
}

func newLimits(c clock.PassiveClock) *limits {
	return &limits{clock: c, all: rate.NewLimiter(ratePerSecond, rateBurst), peers: map[netip.Prefix]*peer{}}
}

func peerOf(a netip.Addr) netip.Prefix {
	a = a.Unmap().WithZone("")
	bits := a.BitLen()
	if a.Is6() {
		bits = 64
	}
	p, _ := a.Prefix(bits) // the zero Prefix, one peer for all, of an invalid address
	return p
}

// connect reports whether a peer may have one more connection. If so, disconnect
// must be called when that is closed.
func (l *limits) connect(a netip.Addr) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open >= maxConnections {
		return false
	}
	p := l.peer(a)
	if p == nil || p.open >= maxConnectionsPerPeer || !l.take(p) {
		return false
	}
	l.open++
	p.open++
	return true
}

func (l *limits) disconnect(a netip.Addr) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open--
	l.peers[peerOf(a)].open-- // a peer with connections is never forgotten
}

// request reports whether a peer may have one more request answered now.
func (l *limits) request(a netip.Addr) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := l.peer(a)
	return p != nil && l.take(p)
}

// take spends a token of a peer's, and if it has one, one of all.
func (l *limits) take(p *peer) bool {
	now := l.clock.Now()
	return p.rate.AllowN(now, 1) && l.all.AllowN(now, 1)
}

// peer returns the account of an address; nil: there are too many.
func (l *limits) peer(a netip.Addr) *peer {
	key := peerOf(a)
	if p := l.peers[key]; p != nil {
		return p
	}
	if len(l.peers) >= maxPeers {
		l.forget()
	}
	if len(l.peers) >= maxPeers {
		return nil
	}
	p := &peer{rate: rate.NewLimiter(ratePerSecondOfPeer, rateBurstOfPeer)}
	l.peers[key] = p
	return p
}

// forget drops the accounts of peers that have no connection and all their tokens.
func (l *limits) forget() {
	now := l.clock.Now()
	if now.Sub(l.swept) < forgetPeersEvery {
		return
	}
	l.swept = now
	for key, p := range l.peers {
		if p.open == 0 && p.rate.TokensAt(now) >= rateBurstOfPeer {
			delete(l.peers, key)
		}
	}
}
