//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/pflag"

	"github.com/tierwall/tierwall/test/cluster/image/sctp"
)

// servePrefix begins the variables that ask `agnhost porter` for a port of SCTP.
const servePrefix = "SERVE_SCTP_PORT_"

// sctpPorts takes the ports of SCTP out of an environment.
func sctpPorts(environment []string) (ports map[uint16][]byte, rest []string, err error) {
	ports = map[uint16][]byte{}
	for _, e := range environment {
		name, text, _ := strings.Cut(e, "=")
		number, ok := strings.CutPrefix(name, servePrefix)
		if !ok {
			rest = append(rest, e)
			continue
		}
		port, err := strconv.ParseUint(number, 10, 16)
		if err != nil || port == 0 {
			return nil, nil, fmt.Errorf("%s: %q is no port", name, number)
		}
		ports[uint16(port)] = []byte(text)
	}
	return ports, rest, nil
}

// serveSCTP serves the ports and, if the environment asks for others, lets the
// real porter serve those. It returns when either ends.
func serveSCTP(ports map[uint16][]byte, environment []string) error {
	s, err := sctp.Listen(ports)
	if err != nil {
		return err
	}
	ended := make(chan error, 2)
	go func() { ended <- s.Serve() }()
	if serves(environment) {
		c := exec.Command(agnhost, os.Args[1:]...)
		c.Env, c.Stdout, c.Stderr = environment, os.Stdout, os.Stderr
		c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		go func() { ended <- c.Run() }()
	}
	return <-ended
}

// connectsSCTP tells whether the arguments are those of `agnhost connect` by
// SCTP, with whatever flags.
func connectsSCTP(arguments []string) (o connectOptions, ok bool) {
	if len(arguments) < 2 || arguments[1] != "connect" {
		return o, false
	}
	f := pflag.NewFlagSet("connect", pflag.ContinueOnError)
	f.ParseErrorsAllowlist.UnknownFlags = true
	f.SetOutput(discard{})
	protocol := f.String("protocol", "tcp", "")
	f.DurationVar(&o.timeout, "timeout", 0, "")
	f.StringVar(&o.data, "sctp-data", "hostname", "")
	if f.Parse(arguments[2:]) != nil || f.NArg() != 1 || *protocol != "sctp" {
		return o, false
	}
	o.to = f.Arg(0)
	return o, true
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }

type connectOptions struct {
	to, data string
	timeout  time.Duration
}

// connect says how it ended in the words of agnhost, which tests look for.
func connect(o connectOptions) error {
	address, err := net.ResolveIPAddr("ip", hostOf(o.to))
	if err != nil {
		return fmt.Errorf("DNS: %w", err)
	}
	_, port, err := net.SplitHostPort(o.to)
	if err != nil {
		return fmt.Errorf("DNS: %w", err)
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return fmt.Errorf("DNS: %w", err)
	}
	host, _ := netip.AddrFromSlice(address.IP)
	ctx := context.Background()
	if o.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, o.timeout)
		defer cancel()
	}
	_, err = sctp.Dial(ctx, netip.AddrPortFrom(host.Unmap().WithZone(address.Zone), uint16(number)), []byte(o.data+"\n"))
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return errors.New("TIMEOUT")
	case err != nil:
		return fmt.Errorf("OTHER: %w", err)
	}
	return nil
}

func hostOf(address string) string {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return address
	}
	return host
}
