package probe

import (
	"errors"
	"net"

	"golang.org/x/sys/unix"
)

// sentAgain is how many packets of a connection the kernel has sent again.
func sentAgain(c *net.TCPConn) (int, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, err
	}
	var info *unix.TCPInfo
	var asked error
	err = raw.Control(func(fd uintptr) {
		info, asked = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
	})
	if err := errors.Join(err, asked); err != nil {
		return 0, err
	}
	return int(info.Total_retrans), nil
}
