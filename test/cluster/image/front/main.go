//go:build linux

// Front stands before agnhost in the image of the test cluster. On a kernel
// without SCTP sockets `agnhost porter` ends as a whole if it is asked to serve a
// port of SCTP, and `agnhost connect` cannot send any. There front does both
// itself, with package sctp, on raw sockets. Everything else, and on other
// kernels everything, reaches agnhost as it is.
package main

import (
	"fmt"
	"os"
	"strings"
	"syscall"
)

// agnhost is the real program.
const agnhost = "/agnhost.real"

// protocolSCTP is IPPROTO_SCTP.
const protocolSCTP = 132

func main() {
	arguments, environment := os.Args, os.Environ()
	if !hasSCTP() {
		if o, ok := connectsSCTP(arguments); ok {
			exit(connect(o))
		}
		if len(arguments) > 1 && arguments[1] == "porter" {
			ports, rest, err := sctpPorts(environment)
			if err != nil {
				exit(err)
			}
			if len(ports) > 0 {
				exit(serveSCTP(ports, rest))
			}
		}
	}
	exit(fmt.Errorf("cannot run %s: %w", agnhost, syscall.Exec(agnhost, arguments, environment)))
}

// exit ends as agnhost does: an error is one line, and status 1.
func exit(err error) {
	if err == nil {
		os.Exit(0)
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// hasSCTP tells whether the kernel makes SCTP sockets.
func hasSCTP() bool {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, protocolSCTP)
	if err != nil {
		return false
	}
	_ = syscall.Close(fd)
	return true
}

// serves tells whether any port is asked for.
func serves(environment []string) bool {
	for _, e := range environment {
		if strings.HasPrefix(e, "SERVE_") {
			return true
		}
	}
	return false
}
