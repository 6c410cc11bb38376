//go:build linux

// Starter sends numbered packets from its first instruction on:
//
//	starter DURATION INTERVAL ADDRESS:PORT…
//
// In each round it sends every target a UDP datagram that holds the round's number,
// and a TCP SYN whose source port is that number above 20000. At the end it writes
// how many rounds there were, as a pod's termination message and on standard output.
package main

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// firstPort is the source port of the SYNs of round 0.
const firstPort = 20000

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) < 3 {
		return fmt.Errorf("want DURATION INTERVAL TARGET…")
	}
	duration, err := time.ParseDuration(args[0])
	if err != nil {
		return err
	}
	interval, err := time.ParseDuration(args[1])
	if err != nil {
		return err
	}
	var targets []netip.AddrPort
	for _, a := range args[2:] {
		t, err := netip.ParseAddrPort(a)
		if err != nil {
			return err
		}
		targets = append(targets, t)
	}
	rounds, err := send(duration, interval, targets)
	if err != nil {
		return err
	}
	message := fmt.Sprintf("rounds %d\n", rounds)
	fmt.Print(message)
	return os.WriteFile("/dev/termination-log", []byte(message), 0o644)
}

func send(duration, interval time.Duration, targets []netip.AddrPort) (rounds int, err error) {
	family := unix.AF_INET
	if targets[0].Addr().Is6() {
		family = unix.AF_INET6
	}
	udp, err := unix.Socket(family, unix.SOCK_DGRAM, 0)
	if err != nil {
		return 0, fmt.Errorf("socket: %w", err)
	}
	start := time.Now()
	next := start
	var open []int // sockets of the SYNs of the last rounds
	for ; time.Since(start) < duration; rounds++ {
		for i, t := range targets {
			payload := binary.BigEndian.AppendUint32(nil, uint32(rounds))
			if err := unix.Sendto(udp, payload, 0, address(t)); err != nil {
				return rounds, fmt.Errorf("round %d, target %d: %w", rounds, i, err)
			}
			fd, err := syn(family, t, firstPort+rounds)
			if err != nil {
				return rounds, fmt.Errorf("round %d, target %d: %w", rounds, i, err)
			}
			open = append(open, fd)
		}
		// A SYN that is not answered is sent again after a second: before that its
		// socket is closed.
		for keep := int(500*time.Millisecond/interval+1) * len(targets); len(open) > keep; open = open[1:] {
			_ = unix.Close(open[0])
		}
		next = next.Add(interval)
		time.Sleep(time.Until(next))
	}
	return rounds, nil
}

// syn sends one SYN from a port of its own.
func syn(family int, to netip.AddrPort, port int) (int, error) {
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return 0, err
	}
	_ = unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
	any4, any6 := &unix.SockaddrInet4{Port: port}, &unix.SockaddrInet6{Port: port}
	var local unix.Sockaddr = any4
	if family == unix.AF_INET6 {
		local = any6
	}
	if err := unix.Bind(fd, local); err != nil {
		return fd, fmt.Errorf("bind: %w", err)
	}
	if err := unix.Connect(fd, address(to)); err != nil && err != unix.EINPROGRESS && err != unix.ECONNREFUSED {
		return fd, fmt.Errorf("connect: %w", err)
	}
	return fd, nil
}

func address(t netip.AddrPort) unix.Sockaddr {
	if t.Addr().Is4() {
		return &unix.SockaddrInet4{Port: int(t.Port()), Addr: t.Addr().As4()}
	}
	return &unix.SockaddrInet6{Port: int(t.Port()), Addr: t.Addr().As16()}
}
