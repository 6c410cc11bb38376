package nft

import (
	"strings"

	"golang.org/x/sys/unix"
)

// The kernel's expressions, one by one. All matches go through register 1.

// expression begins an expression and its data; end ends both.
func (a *assembler) expression(name string) int {
	at := a.b.nest(unix.NFTA_LIST_ELEM)
	a.b.name(unix.NFTA_EXPR_NAME, name)
	if name != "notrack" { // which has no data
		a.inner = a.b.nest(unix.NFTA_EXPR_DATA)
	}
	return at
}

func (a *assembler) end(at int) {
	a.b.end(a.inner)
	a.b.end(at)
}

func (a *assembler) data(kind uint16, value []byte) {
	at := a.b.nest(kind)
	a.b.bytes(unix.NFTA_DATA_VALUE, value)
	a.b.end(at)
}

func (a *assembler) cmp(op uint32, value []byte) {
	at := a.expression("cmp")
	a.b.uint32(unix.NFTA_CMP_SREG, unix.NFT_REG_1)
	a.b.uint32(unix.NFTA_CMP_OP, op)
	a.data(unix.NFTA_CMP_DATA, value)
	a.end(at)
}

// metaCompare asks for a property of the packet that has its own bytes.
func (a *assembler) metaCompare(key uint32, value []byte) {
	a.metaField(key, len(value)).load(unix.NFT_REG_1)
	a.cmp(unix.NFT_CMP_EQ, value)
}

// bitwise is register 1 & mask ^ xor.
func (a *assembler) bitwise(mask, xor []byte) {
	at := a.expression("bitwise")
	a.b.uint32(unix.NFTA_BITWISE_SREG, unix.NFT_REG_1)
	a.b.uint32(unix.NFTA_BITWISE_DREG, unix.NFT_REG_1)
	a.b.uint32(unix.NFTA_BITWISE_LEN, uint32(len(mask)))
	a.data(unix.NFTA_BITWISE_MASK, mask)
	a.data(unix.NFTA_BITWISE_XOR, xor)
	a.end(at)
}

// lookup looks up what begins at register 1 in a set.
func (a *assembler) lookup(set string, not bool) {
	a.search(set, func() {
		if not {
			a.b.uint32(unix.NFTA_LOOKUP_FLAGS, unix.NFT_LOOKUP_F_INV)
		}
	})
}

// lookupTo looks up what begins at register 1 in a map, and puts into a register what that leads to.
func (a *assembler) lookupTo(set string, register uint32) {
	a.search(set, func() { a.b.uint32(unix.NFTA_LOOKUP_DREG, register) })
}

func (a *assembler) search(set string, more func()) {
	if len(set) < 2 || set[0] != '@' {
		a.fail("%q is no set", set)
		return
	}
	at := a.expression("lookup")
	a.b.name(unix.NFTA_LOOKUP_SET, set[1:])
	a.b.uint32(unix.NFTA_LOOKUP_SREG, unix.NFT_REG_1)
	more()
	a.end(at)
}

// counter counts into a counter of its own, or into a named one.
func (a *assembler) counter() {
	if !a.skip("name") {
		at := a.expression("counter")
		a.end(at)
		return
	}
	at := a.expression("objref")
	a.b.uint32(unix.NFTA_OBJREF_IMM_TYPE, unix.NFT_OBJECT_COUNTER)
	a.b.name(unix.NFTA_OBJREF_IMM_NAME, a.next())
	a.end(at)
}

func (a *assembler) log() {
	a.expect("prefix")
	prefix := a.next()
	a.expect("group")
	group := a.number(a.next(), 16)
	at := a.expression("log")
	a.b.name(unix.NFTA_LOG_PREFIX, prefix)
	a.b.uint16(unix.NFTA_LOG_GROUP, uint16(group))
	a.end(at)
}

// limit matches so many packets a second.
func (a *assembler) limit() {
	a.expect("rate")
	rate, ok := strings.CutSuffix(a.next(), "/second")
	if !ok {
		a.fail("a rate is a number of packets a second")
	}
	packets := a.number(rate, 64)
	a.expect("burst")
	burst := a.number(a.next(), 32)
	a.expect("packets")
	at := a.expression("limit")
	a.b.uint64(unix.NFTA_LIMIT_RATE, packets)
	a.b.uint64(unix.NFTA_LIMIT_UNIT, 1)
	a.b.uint32(unix.NFTA_LIMIT_BURST, uint32(burst))
	a.b.uint32(unix.NFTA_LIMIT_TYPE, unix.NFT_LIMIT_PKTS)
	a.b.uint32(unix.NFTA_LIMIT_FLAGS, 0)
	a.end(at)
}

// reject drops a TCP packet and tells the sender so.
func (a *assembler) reject() {
	a.expect("with", "tcp", "reset")
	at := a.expression("reject")
	a.b.uint32(unix.NFTA_REJECT_TYPE, unix.NFT_REJECT_TCP_RST)
	a.b.uint32(unix.NFTA_REJECT_ICMP_CODE, 0)
	a.end(at)
}

func (a *assembler) verdict(word, chain string) {
	at := a.expression("immediate")
	a.b.uint32(unix.NFTA_IMMEDIATE_DREG, unix.NFT_REG_VERDICT)
	if !a.b.verdict(unix.NFTA_IMMEDIATE_DATA, word, chain) {
		a.fail("%q is no verdict", word)
	}
	a.end(at)
}

// verdictCodes are the kernel's numbers of verdicts.
var verdictCodes = map[string]int32{
	"drop": 0, "accept": 1, "continue": unix.NFT_CONTINUE, "jump": unix.NFT_JUMP, "goto": unix.NFT_GOTO, "return": unix.NFT_RETURN,
}

// verdict writes a verdict as data.
func (b *batch) verdict(kind uint16, word, chain string) bool {
	code, ok := verdictCodes[word]
	data := b.nest(kind)
	at := b.nest(unix.NFTA_DATA_VERDICT)
	b.uint32(unix.NFTA_VERDICT_CODE, uint32(code))
	if chain != "" {
		b.name(unix.NFTA_VERDICT_CHAIN, chain)
	}
	b.end(at)
	b.end(data)
	return ok
}
