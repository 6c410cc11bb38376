//go:build linux

package lab

import (
	"crypto/rand"
	"encoding/binary"
	"sync"
	"time"
)

// pending is the probes under way, by number.
type pending struct {
	mu   sync.Mutex
	last uint32
	all  map[uint32]*probe
}

func (p *pending) add(q *probe) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.all == nil {
		p.all = map[uint32]*probe{}
		var seed [4]byte
		_, _ = rand.Read(seed[:])
		p.last = binary.LittleEndian.Uint32(seed[:])
	}
	for p.last++; p.last == 0 || p.all[p.last] != nil; p.last++ {
	}
	q.id = p.last
	p.all[q.id] = q
}

func (p *pending) remove(q *probe) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.all, q.id)
}

// dispatch hands what was seen at a place to the probe that it is of.
func (p *pending) dispatch(at *place, s seen) {
	p.mu.Lock()
	q := p.all[s.id]
	p.mu.Unlock()
	if q != nil {
		q.see(at, s, time.Now())
	}
}
