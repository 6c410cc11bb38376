package iptables

import (
	"encoding/binary"
	"errors"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/tierwall/tierwall/dataplane"
)

// Options of a socket by which the kernel tells of legacy tables, the same for
// both families: IPT_SO_GET_INFO and IPT_SO_GET_ENTRIES. An ordinary socket of
// the family does; the privilege is CAP_NET_ADMIN.
const (
	getInfo      = 64
	getEntries   = 65
	tableNameLen = 32
	infoLen      = 84
	entriesHead  = 40
	maxTableSize = 1 << 30
)

// legacyReader asks the kernel for legacy tables, in the network namespace in
// which it was made. Asking for a table makes the kernel have it.
type legacyReader struct{ sockets map[dataplane.Family]int }

func newLegacyReader() (*legacyReader, error) {
	r := &legacyReader{sockets: map[dataplane.Family]int{}}
	for f, domain := range map[dataplane.Family]int{dataplane.IPv4: unix.AF_INET, dataplane.IPv6: unix.AF_INET6} {
		fd, err := unix.Socket(domain, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if f == dataplane.IPv6 && errors.Is(err, unix.EAFNOSUPPORT) {
			continue
		}
		if err != nil {
			r.close()
			return nil, fmt.Errorf("iptables: socket for %s: %w", f, err)
		}
		r.sockets[f] = fd
	}
	return r, nil
}

func (r *legacyReader) close() {
	for _, fd := range r.sockets {
		_ = unix.Close(fd)
	}
	clear(r.sockets)
}

// option reads a socket's option into a buffer.
func (r *legacyReader) option(f dataplane.Family, option int, buf []byte) error {
	fd, ok := r.sockets[f]
	if !ok {
		return unix.EAFNOSUPPORT
	}
	level := unix.IPPROTO_IP
	if f == dataplane.IPv6 {
		level = unix.IPPROTO_IPV6
	}
	n := uint32(len(buf))
	_, _, number := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), uintptr(level), uintptr(option),
		uintptr(unsafe.Pointer(&buf[0])), uintptr(unsafe.Pointer(&n)), 0)
	if number != 0 {
		return number
	}
	return nil
}

// info asks for what a table looks like.
func (r *legacyReader) info(f dataplane.Family, table string) (tableInfo, error) {
	var buf [infoLen]byte
	copy(buf[:tableNameLen-1], table)
	if err := r.option(f, getInfo, buf[:]); err != nil {
		return tableInfo{}, fmt.Errorf("iptables: %s table %s: %w", f, table, err)
	}
	word := func(i int) uint32 { return binary.NativeEndian.Uint32(buf[tableNameLen+4*i:]) }
	info := tableInfo{validHooks: word(0), entries: word(11), size: word(12)}
	for h := range info.hooks {
		info.hooks[h], info.ends[h] = word(1+h), word(6+h)
	}
	return info, nil
}

// shape lists a table that looks so.
func (r *legacyReader) shape(f dataplane.Family, table string, info tableInfo) (*tableShape, error) {
	if info.size > maxTableSize {
		return nil, fmt.Errorf("iptables: %s table %s: %d bytes", f, table, info.size)
	}
	buf := make([]byte, entriesHead+int(info.size))
	copy(buf[:tableNameLen-1], table)
	binary.NativeEndian.PutUint32(buf[tableNameLen:], info.size)
	if err := r.option(f, getEntries, buf); err != nil {
		return nil, fmt.Errorf("iptables: %s table %s: list: %w", f, table, err)
	}
	return parseEntries(f, info, buf[entriesHead:])
}
