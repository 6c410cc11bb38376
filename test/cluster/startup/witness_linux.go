package startup

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"sync"

	"golang.org/x/sys/unix"
)

// port of the targets, and the source port of a SYN of round 0 (see starter).
const (
	port      = 7000
	firstPort = 20000
)

// arrived are the rounds of which a packet of one sender has arrived, by protocol.
type arrived struct{ udp, tcp map[int]bool }

// witness sees what arrives in a network namespace.
type witness struct {
	fd   int
	sink *net.UDPConn // takes the datagrams, so that nobody answers that there is no such port
	over chan struct{}

	mu   sync.Mutex
	from map[netip.Addr]*arrived
}

// watch opens a witness in the network namespace of a pod of a machine, which is
// found by the pod's address.
func watch(machinePID int, pod netip.Addr) (*witness, error) {
	path, err := namespaceOf(machinePID, pod)
	if err != nil {
		return nil, err
	}
	w := &witness{over: make(chan struct{}), from: map[netip.Addr]*arrived{}}
	err = within(path, func() error {
		var err error
		if w.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, int(swap(unix.ETH_P_ALL))); err != nil {
			return fmt.Errorf("packet socket: %w", err)
		}
		_ = unix.SetsockoptInt(w.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 8<<20)
		// Look up now and then whether it is over.
		if err := unix.SetsockoptTimeval(w.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 200_000}); err != nil {
			return fmt.Errorf("packet socket: %w", err)
		}
		w.sink, err = net.ListenUDP("udp", &net.UDPAddr{Port: port})
		return err
	})
	if err != nil {
		return nil, err
	}
	go w.read()
	return w, nil
}

func (w *witness) close() {
	close(w.over)
	_ = w.sink.Close()
}

func (w *witness) read() {
	defer func() { _ = unix.Close(w.fd) }()
	buffer := make([]byte, 2048)
	for {
		n, from, err := unix.Recvfrom(w.fd, buffer, 0)
		select {
		case <-w.over:
			return
		default:
		}
		if ll, ok := from.(*unix.SockaddrLinklayer); err != nil || ok && ll.Pkttype == unix.PACKET_OUTGOING {
			continue
		}
		w.note(buffer[:n])
	}
}

// note takes a packet from its network header on.
func (w *witness) note(p []byte) {
	var source netip.Addr
	var protocol byte
	var rest []byte
	switch {
	case len(p) >= 20 && p[0]>>4 == 4 && len(p) >= int(p[0]&15)*4:
		source, _ = netip.AddrFromSlice(p[12:16])
		protocol, rest = p[9], p[int(p[0]&15)*4:]
	case len(p) >= 40 && p[0]>>4 == 6:
		source, _ = netip.AddrFromSlice(p[8:24])
		protocol, rest = p[6], p[40:]
	default:
		return
	}
	if len(rest) < 12 || binary.BigEndian.Uint16(rest[2:]) != port {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	a := w.from[source]
	if a == nil {
		a = &arrived{udp: map[int]bool{}, tcp: map[int]bool{}}
		w.from[source] = a
	}
	switch {
	case protocol == unix.IPPROTO_UDP:
		a.udp[int(binary.BigEndian.Uint32(rest[8:]))] = true
	case protocol == unix.IPPROTO_TCP && len(rest) >= 14 && rest[13]&0x12 == 0x02: // SYN alone
		a.tcp[int(binary.BigEndian.Uint16(rest))-firstPort] = true
	}
}

// take returns what has arrived from a sender, and forgets it.
func (w *witness) take(sender netip.Addr) arrived {
	w.mu.Lock()
	defer w.mu.Unlock()
	a := w.from[sender]
	delete(w.from, sender)
	if a == nil {
		return arrived{}
	}
	return *a
}

// namespaceOf finds the namespace in which a pod's address is.
func namespaceOf(machinePID int, pod netip.Addr) (string, error) {
	paths, err := filepath.Glob(fmt.Sprintf("/proc/%d/root/run/netns/*", machinePID))
	if err != nil {
		return "", err
	}
	for _, path := range paths {
		found := false
		err := within(path, func() error {
			addrs, err := net.InterfaceAddrs()
			for _, a := range addrs {
				if n, ok := a.(*net.IPNet); ok && n.IP.Equal(pod.AsSlice()) {
					found = true
				}
			}
			return err
		})
		if err == nil && found {
			return path, nil
		}
	}
	return "", fmt.Errorf("no network namespace has %s, of %d", pod, len(paths))
}

// within runs a function on a thread that is in another network namespace.
func within(path string, f func() error) error {
	over := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		over <- func() error {
			ns, err := os.Open(path)
			if err != nil {
				return err
			}
			defer func() { _ = ns.Close() }()
			if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
				return fmt.Errorf("%s: %w", path, err)
			}
			return f()
		}()
	}()
	return <-over
}

func swap(v uint16) uint16 { return v>>8 | v<<8 }

var errNoAddress = errors.New("the pod has no address")
