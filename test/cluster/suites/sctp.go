package suites

import "syscall"

// protocolSCTP is IPPROTO_SCTP.
const protocolSCTP = 132

// HasSCTP tells whether this machine's kernel makes SCTP sockets, by making one.
// The nodes of the test cluster have the same kernel.
func HasSCTP() bool {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, protocolSCTP)
	if err != nil {
		return false
	}
	_ = syscall.Close(fd)
	return true
}
