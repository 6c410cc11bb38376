package nflog

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync/atomic"
	"time"

	mdnetlink "github.com/mdlayher/netlink"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	"k8s.io/utils/clock"
)

// Messages and attributes of linux/netfilter/nfnetlink_log.h.
const (
	subsystem  = 4 // NFNL_SUBSYS_ULOG
	msgPacket  = 0 // NFULNL_MSG_PACKET
	msgConfig  = 1 // NFULNL_MSG_CONFIG
	cfgCommand = 1
	cfgMode    = 2
	cfgBuffer  = 3
	cfgTimeout = 4
	cfgBatch   = 5
	cfgFlags   = 6
	cmdBind    = 1
	cmdUnbind  = 2
	copyPacket = 2 // NFULNL_COPY_PACKET
	flagSeq    = 1 // NFULNL_CFG_F_SEQ
)

const (
	// copyRange is how many bytes of a packet the kernel copies: an IPv6 header,
	// 80 bytes of extension headers, and ports.
	copyRange = 128
	// batch packets make one message, or what has come after flushAfter
	// hundredths of a second.
	batch      = 64
	flushAfter = 5
	// kernelBuffer is where the kernel gathers a message; one never is larger.
	kernelBuffer  = 32 << 10
	messageBuffer = 64 << 10
	// receiveBuffer holds the packets that wait for the reader, in bytes: tens of
	// thousands of packets.
	receiveBuffer = 4 << 20
	// namesLive is how long the names of interfaces are believed, namesMany how many are kept.
	namesLive = time.Minute
	namesMany = 10_000
)

// Kernel reads an NFLOG group of a network namespace. Only one reader in the
// namespace can have it.
type Kernel struct {
	group uint16
	conn  *mdnetlink.Conn
	lost  atomic.Uint64
	names names
}

var _ Reader = (*Kernel)(nil)

// New returns a reader of a group in the network namespace that the calling
// thread is in; it stays with it, whatever threads use it later. Nothing is bound
// before Run. A nil clock is the real one.
func New(group uint16, c clock.PassiveClock) (*Kernel, error) {
	if c == nil {
		c = clock.RealClock{}
	}
	conn, err := mdnetlink.Dial(unix.NETLINK_NETFILTER, &mdnetlink.Config{MessageBufferSize: messageBuffer})
	if err != nil {
		return nil, fmt.Errorf("nflog group %d: %w", group, err)
	}
	// A kernel that grants less than requested loses more, and counts it.
	_ = conn.SetReadBuffer(receiveBuffer)
	links, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("nflog group %d: names of interfaces: %w", group, err)
	}
	return &Kernel{group: group, conn: conn, names: names{clock: c, find: nameOf(links), stop: links.Close}}, nil
}

// Close implements Reader.
func (k *Kernel) Close() error {
	k.names.stop()
	return k.conn.Close()
}

// Lost implements Reader.
func (k *Kernel) Lost() uint64 { return k.lost.Load() }

// Run implements Reader. It fails with ErrTaken or ErrMissing if the group cannot be had.
func (k *Kernel) Run(ctx context.Context, each func(*Packet)) error {
	if err := k.run(ctx, each); err != nil && ctx.Err() == nil {
		return fmt.Errorf("nflog group %d: %w", k.group, err)
	}
	return nil
}

func (k *Kernel) run(ctx context.Context, each func(*Packet)) error {
	if err := k.conn.SetReadDeadline(time.Time{}); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = k.conn.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	request, err := k.configure(cmdBind)
	if err != nil {
		return err
	}
	asked, err := k.conn.Send(request)
	if err != nil {
		return explain(err)
	}
	refused := false
	defer func() {
		if !refused {
			k.unbind()
		}
	}()
	var s sequence
	for acked := false; ; {
		for m, err := range k.conn.ReceiveIter() {
			switch {
			case errors.Is(err, unix.ENOBUFS):
				k.lost.Add(s.overrun())
			case err != nil && !acked:
				refused = !errors.Is(err, os.ErrDeadlineExceeded)
				return explain(err)
			case err != nil:
				return err
			case m.Header.Type == subsystem<<8|msgPacket:
				k.packet(m.Data, &s, each)
			case m.Header.Type == mdnetlink.Error && m.Header.Sequence == asked.Header.Sequence:
				acked = true
			}
		}
	}
}

func (k *Kernel) packet(data []byte, s *sequence, each func(*Packet)) {
	p, err := parseMessage(data)
	if err != nil {
		return // its number will be missing
	}
	if p.hasSeq {
		k.lost.Add(s.see(p.seq))
	}
	p.In, p.Out = k.names.of(p.InIndex), k.names.of(p.OutIndex)
	each(p)
}

// configure builds the message that binds the group and configures the delivery, all at
// once.
func (k *Kernel) configure(command uint8) (mdnetlink.Message, error) {
	ae := mdnetlink.NewAttributeEncoder()
	ae.ByteOrder = binary.BigEndian
	ae.Uint8(cfgCommand, command)
	flags := mdnetlink.Request
	if command == cmdBind {
		ae.Bytes(cfgMode, append(binary.BigEndian.AppendUint32(nil, copyRange), copyPacket, 0))
		ae.Uint32(cfgBuffer, kernelBuffer)
		ae.Uint32(cfgTimeout, flushAfter)
		ae.Uint32(cfgBatch, batch)
		ae.Uint16(cfgFlags, flagSeq)
		flags |= mdnetlink.Acknowledge
	}
	attrs, err := ae.Encode()
	if err != nil {
		return mdnetlink.Message{}, err
	}
	return mdnetlink.Message{
		Header: mdnetlink.Header{Type: subsystem<<8 | msgConfig, Flags: flags},
		Data:   append(binary.BigEndian.AppendUint16([]byte{unix.AF_UNSPEC, unix.NFNETLINK_V0}, k.group), attrs...),
	}, nil
}

// unbind releases the group, and drops what still waits for a reader.
func (k *Kernel) unbind() {
	if request, err := k.configure(cmdUnbind); err == nil {
		_, _ = k.conn.Send(request) // closing does it too
	}
	// A deadline that is over already would not even look.
	for k.conn.SetReadDeadline(time.Now().Add(10*time.Millisecond)) == nil {
		if _, err := k.conn.Receive(); err != nil && !errors.Is(err, unix.ENOBUFS) {
			return
		}
	}
}

// explain describes the meaning of an error of binding.
func explain(err error) error {
	switch {
	case errors.Is(err, os.ErrPermission) || errors.Is(err, unix.EBUSY) || errors.Is(err, os.ErrExist):
		return fmt.Errorf("%w (%w)", ErrTaken, err)
	case errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EPROTONOSUPPORT):
		return fmt.Errorf("%w (%w)", ErrMissing, err)
	}
	return err
}

// names are the interfaces' names by number.
type names struct {
	clock clock.PassiveClock
	find  func(index uint32) (string, bool)
	stop  func()
	known map[uint32]string
	since time.Time
}

// nameOf queries the kernel.
func nameOf(links *netlink.Handle) func(uint32) (string, bool) {
	return func(index uint32) (string, bool) {
		l, err := links.LinkByIndex(int(index))
		if err != nil {
			return "", false
		}
		return l.Attrs().Name, true
	}
}

// of returns an interface's name. Interfaces are renamed rarely, and come and go.
func (n *names) of(index uint32) string {
	if index == 0 {
		return ""
	}
	if now := n.clock.Now(); len(n.known) > namesMany || now.Sub(n.since) > namesLive || n.known == nil {
		n.known, n.since = map[uint32]string{}, now
	}
	name, ok := n.known[index]
	if !ok {
		if name, ok = n.find(index); !ok {
			name = "#" + strconv.FormatUint(uint64(index), 10)
		}
		n.known[index] = name
	}
	return name
}
