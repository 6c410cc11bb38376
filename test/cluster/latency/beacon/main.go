//go:build linux

// Beacon is what a new pod runs when the time from its start is measured: from
// its first instruction on it sends packets to all addresses that it is given,
// one each millisecond, each from a new source port.
//
//	beacon NUMBER ADDRESS:PORT...
//	beacon pause
//
// With pause it does nothing, which is what the pods do that are there before.
//
// A packet says NUMBER, when the program began and when the packet was sent, in
// nanoseconds of CLOCK_MONOTONIC, as 8 bytes each.
package main

import (
	"encoding/binary"
	"net/netip"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

func now() uint64 {
	var t unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &t)
	return uint64(t.Nano())
}

func main() {
	packet := make([]byte, 24)
	binary.BigEndian.PutUint64(packet[8:], now())
	if len(os.Args) == 2 && os.Args[1] == "pause" {
		_ = unix.Pause() // until a signal ends it
		os.Exit(0)
	}
	if len(os.Args) < 3 {
		os.Exit(2)
	}
	number, err := strconv.ParseUint(os.Args[1], 10, 64)
	if err != nil {
		os.Exit(2)
	}
	binary.BigEndian.PutUint64(packet, number)
	var to []*unix.SockaddrInet4
	for _, text := range os.Args[2:] {
		a, err := netip.ParseAddrPort(text)
		if err != nil || !a.Addr().Is4() {
			os.Exit(2)
		}
		to = append(to, &unix.SockaddrInet4{Addr: a.Addr().As4(), Port: int(a.Port())})
	}
	for {
		for _, a := range to {
			send(packet, a)
		}
		time.Sleep(time.Millisecond)
	}
}

// send sends a packet from a socket of its own. What cannot be sent, because
// there is no route yet or a rule drops it, is a packet that does not arrive.
func send(packet []byte, to *unix.SockaddrInet4) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return
	}
	binary.BigEndian.PutUint64(packet[16:], now())
	_ = unix.Sendto(fd, packet, 0, to)
	_ = unix.Close(fd)
}
