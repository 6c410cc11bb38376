package nft

import (
	"encoding/binary"

	"golang.org/x/sys/unix"

	"github.com/tierwall/tierwall/dataplane/naming"
)

// batch is one transaction on its way to the kernel: nfnetlink messages between
// a beginning and an end, written into one buffer. Writing it by hand, and not
// by a library that makes an object of each attribute, is what keeps a node of
// some hundred thousand elements and rules below a second.
//
// Attributes: https://www.kernel.org/doc/html/latest/userspace-api/netlink/intro.html,
// numbers: include/uapi/linux/netfilter/nf_tables.h.
type batch struct {
	buf   []byte
	table *Table
	at    int // of the message that is being written
	seq   uint32
	said  []saying // what each message is about; the first is the beginning's
}

// saying is what a message asks for, to name it where the kernel refuses.
type saying struct{ what, name string }

func newBatch(t *Table) *batch {
	b := &batch{table: t}
	b.control(unix.NFNL_MSG_BATCH_BEGIN, saying{"begin", ""})
	return b
}

// control writes the beginning or the end.
func (b *batch) control(kind uint16, s saying) {
	b.header(kind, unix.NLM_F_REQUEST, s)
	b.buf = append(b.buf, unix.AF_UNSPEC, unix.NFNETLINK_V0, 0, unix.NFNL_SUBSYS_NFTABLES)
	b.finish()
}

// message begins a message of nf_tables.
func (b *batch) message(kind uint16, flags uint16, s saying) {
	b.header(unix.NFNL_SUBSYS_NFTABLES<<8|kind, unix.NLM_F_REQUEST|flags, s)
	b.buf = append(b.buf, byte(b.table.Family), unix.NFNETLINK_V0, 0, 0)
}

func (b *batch) header(kind, flags uint16, s saying) {
	b.at = len(b.buf)
	b.buf = append(b.buf, 0, 0, 0, 0) // the length, when it is known
	b.buf = binary.NativeEndian.AppendUint16(b.buf, kind)
	b.buf = binary.NativeEndian.AppendUint16(b.buf, flags)
	b.buf = binary.NativeEndian.AppendUint32(b.buf, b.seq)
	b.buf = append(b.buf, 0, 0, 0, 0)
	b.seq++
	b.said = append(b.said, s)
}

// finish ends a message.
func (b *batch) finish() { binary.NativeEndian.PutUint32(b.buf[b.at:], uint32(len(b.buf)-b.at)) }

// messages is how many there are beside the beginning.
func (b *batch) messages() int { return len(b.said) - 1 }

// close ends the batch. The kernel answers errors, and of the messages without
// one the last: one answer says that all is done.
func (b *batch) close() {
	flags := b.buf[b.at+6:]
	binary.NativeEndian.PutUint16(flags, binary.NativeEndian.Uint16(flags)|unix.NLM_F_ACK)
	b.control(unix.NFNL_MSG_BATCH_END, saying{"end", ""})
}

// open begins an attribute of unknown length and returns what end asks for.
func (b *batch) open(kind uint16) int {
	at := len(b.buf)
	b.buf = append(b.buf, 0, 0)
	b.buf = binary.NativeEndian.AppendUint16(b.buf, kind)
	return at
}

func (b *batch) nest(kind uint16) int { return b.open(kind | unix.NLA_F_NESTED) }

func (b *batch) end(at int) {
	binary.NativeEndian.PutUint16(b.buf[at:], uint16(len(b.buf)-at))
	for len(b.buf)%4 != 0 {
		b.buf = append(b.buf, 0)
	}
}

func (b *batch) bytes(kind uint16, v []byte) {
	at := b.open(kind)
	b.buf = append(b.buf, v...)
	b.end(at)
}

// string is for keys, which are bytes in strings.
func (b *batch) string(kind uint16, v string) {
	at := b.open(kind)
	b.buf = append(b.buf, v...)
	b.end(at)
}

// name is a text with a zero at its end.
func (b *batch) name(kind uint16, v string) {
	at := b.open(kind)
	b.buf = append(append(b.buf, v...), 0)
	b.end(at)
}

func (b *batch) uint16(kind uint16, v uint16) {
	at := b.open(kind)
	b.buf = binary.BigEndian.AppendUint16(b.buf, v)
	b.end(at)
}

func (b *batch) uint64(kind uint16, v uint64) {
	at := b.open(kind)
	b.buf = binary.BigEndian.AppendUint64(b.buf, v)
	b.end(at)
}

func (b *batch) uint32(kind uint16, v uint32) {
	at := b.open(kind)
	b.buf = binary.BigEndian.AppendUint32(b.buf, v)
	b.end(at)
}

// comment is user data of one text, as nft keeps comments: a type, a length, the text and a zero.
func (b *batch) comment(attr uint16, text string) {
	if text == "" {
		return
	}
	text = naming.Plain(text, maxComment)
	at := b.open(attr)
	b.buf = append(b.buf, udataComment, byte(len(text)+1))
	b.buf = append(append(b.buf, text...), 0)
	b.end(at)
}
