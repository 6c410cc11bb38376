package dns

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"

	"golang.org/x/net/dns/dnsmessage"
)

// Question is what a script is asked.
type Question struct {
	// Name as it was asked for, upper case included, without the trailing dot.
	Name string
	Type dnsmessage.Type
	TCP  bool
	// Nth time that the server is asked this question, from 0, over UDP and TCP together.
	Nth int
}

// Reply is what a script answers. The zero Reply is an empty answer.
type Reply struct {
	// Chain are names to which the name leads by CNAME records, one after the other.
	Chain []string
	// Addrs are of the last name of the chain. Those of the family that was not
	// asked for are left out.
	Addrs []netip.Addr
	// TTL of all records, in seconds.
	TTL   uint32
	RCode dnsmessage.RCode
	// Truncate: over UDP the answer has no records but says that it is truncated.
	Truncate bool
	// Pad is how many bytes of text the answer holds beside.
	Pad int
	// Asked is the question that the answer repeats; empty: the one that was asked.
	Asked string
	// Silent: there is no answer.
	Silent bool
}

// Script answers questions. It may be called from several goroutines at once.
type Script func(Question) Reply

// Zone is a script for each name, in lower case. "*.example.com" is for all names
// below example.com that have none of their own. Names without a script do not exist.
type Zone map[string]Script

// find returns the script of a name.
func (z Zone) find(name string) Script {
	name = strings.ToLower(name)
	if s, ok := z[name]; ok {
		return s
	}
	for rest, found := name, true; found; {
		if _, rest, found = strings.Cut(rest, "."); found {
			if s, ok := z["*."+rest]; ok {
				return s
			}
		}
	}
	return NoSuchName
}

// NoSuchName answers that the name does not exist.
func NoSuchName(Question) Reply { return Reply{RCode: dnsmessage.RCodeNameError} }

// Addrs always answers the same addresses.
func Addrs(ttl uint32, addrs ...netip.Addr) Script {
	return func(Question) Reply { return Reply{Addrs: addrs, TTL: ttl} }
}

// Chain answers as s does, at the end of n CNAME records.
func Chain(n int, s Script) Script {
	return func(q Question) Reply {
		r := s(q)
		for i := range n {
			r.Chain = append(r.Chain, fmt.Sprintf("c%d.chain.example", i+1))
		}
		return r
	}
}

// Rotate answers the next n of the addresses each time it is asked.
func Rotate(ttl uint32, n int, addrs ...netip.Addr) Script {
	return func(q Question) Reply {
		r := Reply{TTL: ttl}
		for i := range n {
			r.Addrs = append(r.Addrs, addrs[(q.Nth*n+i)%len(addrs)])
		}
		return r
	}
}

// Truncated answers as s does over TCP, and over UDP that TCP is to be used.
func Truncated(s Script) Script {
	return func(q Question) Reply {
		r := s(q)
		r.Truncate = true
		return r
	}
}

// Padded answers as s does, with n bytes of text beside.
func Padded(n int, s Script) Script {
	return func(q Question) Reply {
		r := s(q)
		r.Pad = n
		return r
	}
}

// Numbered answers to a name that begins with a number, like "17.example.com", the
// address of that number in each of the blocks. It stands for any number of names.
func Numbered(ttl uint32, blocks ...netip.Prefix) Script {
	return func(q Question) Reply {
		var n uint32
		label, _, _ := strings.Cut(q.Name, ".")
		if _, err := fmt.Sscanf(label, "%d", &n); err != nil {
			return NoSuchName(q)
		}
		r := Reply{TTL: ttl}
		for _, b := range blocks {
			r.Addrs = append(r.Addrs, Nth(b, n))
		}
		return r
	}
}

// Nth returns an address of a block by its number. Numbers beyond the block begin again.
func Nth(block netip.Prefix, n uint32) netip.Addr {
	bytes := block.Masked().Addr().AsSlice()
	last := bytes[len(bytes)-4:]
	if free := block.Addr().BitLen() - block.Bits(); free < 32 {
		n &= 1<<free - 1
	}
	binary.BigEndian.PutUint32(last, binary.BigEndian.Uint32(last)|n)
	a, _ := netip.AddrFromSlice(bytes)
	return a
}
