package conntrack

import (
	"encoding/binary"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestFull holds what docs/failures.md promises of a node whose table of
// connections is full: what is not known begins nothing, allowed or not; what is
// known goes on; and the table reports it.
func TestFull(t *testing.T) {
	w := newWorld(t)
	w.policy(strict, "tcp dport 81 accept", "udp dport 81 accept", "meta l4proto { tcp, udp } counter name dropped drop")
	known := w.open("tcp4", "10.2.0.2:81", "10.2.0.2:81")
	before, err := w.table.Usage()
	if err != nil {
		t.Fatal(err)
	}
	if before.Entries == 0 || before.Limit != limit(t) || before.Dropped != 0 {
		t.Fatalf("before: %+v", before)
	}
	w.router.In(func() error { return fill(before.Limit) })
	full, err := w.table.Usage()
	if err != nil {
		t.Fatal(err)
	}
	if full.Entries < full.Limit {
		t.Fatalf("not full: %+v", full)
	}
	w.passes(known.client, known.server)
	w.passes(known.server, known.client)
	w.client.In(func() error {
		for _, to := range []string{"10.2.0.2:81", "10.2.0.2:80"} {
			c, err := net.DialTimeout("tcp4", to, 300*time.Millisecond)
			if err == nil {
				_ = c.Close()
				t.Errorf("a connection to %s came about in a full table", to)
			}
		}
		return nil
	})
	after, err := w.table.Usage()
	if err != nil {
		t.Fatal(err)
	}
	if after.Dropped < 2 {
		t.Errorf("after: %+v, want dropped packets", after)
	}
}

func limit(t *testing.T) uint32 {
	t.Helper()
	text, err := os.ReadFile("/proc/sys/net/netfilter/nf_conntrack_max")
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	return uint32(n)
}

// fill makes n entries of others in the calling thread's namespace, which the
// kernel will not evict: both sides have sent.
func fill(n uint32) error {
	s, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(s) }()
	to := &unix.SockaddrNetlink{Family: unix.AF_NETLINK}
	const batch = 400
	for first := uint32(0); first < n; first += batch {
		var messages []byte
		for i := first; i < min(first+batch, n); i++ {
			messages = append(messages, stranger(i)...)
		}
		if err := unix.Sendto(s, messages, 0, to); err != nil {
			return err
		}
	}
	return nil
}

// stranger is the message that makes an entry of a number.
func stranger(i uint32) []byte {
	client := netip.AddrFrom4([4]byte{172, 16 + byte(i>>16), byte(i >> 8), byte(i)}).As4()
	server := netip.MustParseAddr("172.31.0.1").As4()
	tuple := func(src, dst [4]byte, from, to uint16) []byte {
		return append(
			attribute(ctaTupleIP|unix.NLA_F_NESTED, append(attribute(ctaIPv4Src, src[:]), attribute(ctaIPv4Dst, dst[:])...)),
			attribute(ctaTupleProto|unix.NLA_F_NESTED, append(append(attribute(ctaProtoNum, []byte{unix.IPPROTO_UDP}),
				attribute(ctaProtoSrcPort, binary.BigEndian.AppendUint16(nil, from))...),
				attribute(ctaProtoDstPort, binary.BigEndian.AppendUint16(nil, to))...))...)
	}
	const confirmed, ctaTimeout = 1 << 3, 7
	body := []byte{unix.AF_INET, 0, 0, 0}
	body = append(body, attribute(ctaTupleOrig|unix.NLA_F_NESTED, tuple(client, server, 1000, 2000))...)
	body = append(body, attribute(ctaTupleReply|unix.NLA_F_NESTED, tuple(server, client, 2000, 1000))...)
	body = append(body, attribute(ctaStatus, binary.BigEndian.AppendUint32(nil, statusSeenReply|statusAssured|confirmed))...)
	body = append(body, attribute(ctaTimeout, binary.BigEndian.AppendUint32(nil, 600))...)
	head := binary.NativeEndian.AppendUint32(nil, uint32(unix.SizeofNlMsghdr+len(body)))
	head = binary.NativeEndian.AppendUint16(head, unix.NFNL_SUBSYS_CTNETLINK<<8)
	head = binary.NativeEndian.AppendUint16(head, unix.NLM_F_REQUEST|unix.NLM_F_CREATE|unix.NLM_F_EXCL)
	return append(append(head, make([]byte, 8)...), body...)
}

// attribute is a netlink attribute, padded.
func attribute(kind uint16, value []byte) []byte {
	out := binary.NativeEndian.AppendUint16(nil, uint16(attrHeader+len(value)))
	out = append(binary.NativeEndian.AppendUint16(out, kind), value...)
	return append(out, make([]byte, (4-len(out)%4)%4)...)
}
