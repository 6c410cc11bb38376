//go:build linux

package lab

import (
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"sync"

	"golang.org/x/sys/unix"
)

// cpus is a thread bound to each CPU, up to some, for what has to be sent and
// followed on one CPU.
type cpus struct {
	jobs chan func(*witness)
	stop chan struct{}
	wg   sync.WaitGroup
	once sync.Once
}

// maxCPUs bounds the threads: more do not probe faster, for there are locks in
// the kernel that they share.
const maxCPUs = 8

// startCPUs starts the threads. Their witness packets go through the loopback
// of a namespace that has no policy.
func startCPUs(at *place) (*cpus, error) {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		return nil, fmt.Errorf("lab: cannot ask for the CPUs: %w", err)
	}
	c := &cpus{jobs: make(chan func(*witness)), stop: make(chan struct{})}
	started := 0
	for cpu := 0; started < maxCPUs && cpu < len(set)*64; cpu++ {
		if !set.IsSet(cpu) {
			continue
		}
		w := &witness{}
		if err := at.ns.do(w.open); err != nil {
			c.close()
			return nil, fmt.Errorf("lab: cannot open the witness socket: %w", err)
		}
		ready := make(chan error)
		c.wg.Go(func() { c.serve(w, cpu, ready) })
		if err := <-ready; err != nil {
			c.close()
			return nil, fmt.Errorf("lab: cannot bind a thread to CPU %d: %w", cpu, err)
		}
		started++
	}
	return c, nil
}

// serve does jobs on one CPU. The thread ends with the goroutine.
func (c *cpus) serve(w *witness, cpu int, ready chan<- error) {
	defer shut(w.fd)
	runtime.LockOSThread()
	var set unix.CPUSet
	set.Set(cpu)
	err := unix.SchedSetaffinity(0, &set)
	ready <- err
	if err != nil {
		return
	}
	for {
		select {
		case f := <-c.jobs:
			f(w)
		case <-c.stop:
			return
		}
	}
}

func (c *cpus) close() {
	c.once.Do(func() { close(c.stop) })
	c.wg.Wait()
}

// do runs a function on a thread that is bound to a CPU.
func (c *cpus) do(f func(*witness)) error {
	done := make(chan struct{})
	job := func(w *witness) {
		defer close(done)
		f(w)
	}
	select {
	case c.jobs <- job:
		<-done
		return nil
	case <-c.stop:
		return errClosed
	}
}

// witness is a UDP socket that talks to itself.
type witness struct {
	fd   int
	last uint64
}

func (w *witness) open() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return err
	}
	err = unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}})
	if err == nil {
		var self unix.Sockaddr
		if self, err = unix.Getsockname(fd); err == nil {
			err = unix.Connect(fd, self)
		}
	}
	if err != nil {
		shut(fd)
		return err
	}
	w.fd = fd
	return nil
}

// settle returns when every packet that this CPU has queued so far has gone the
// given number of hops further, or has ended before: a packet of the witness is
// queued behind them, and another one when it is back, once a hop.
func (w *witness) settle(hops int) error {
	var buf [8]byte
	for range hops {
		w.last++
		// A witness is lost only where the queue overflows.
		for tries := 0; ; tries++ {
			binary.LittleEndian.PutUint64(buf[:], w.last)
			if _, err := unix.Write(w.fd, buf[:]); err != nil && !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR) {
				return fmt.Errorf("lab: witness: %w", err)
			}
			back, err := w.wait()
			if err != nil {
				return err
			}
			if back {
				break
			}
			if tries == 100 {
				return errors.New("lab: the machine loses packets of its loopback interface: its queues overflow")
			}
		}
	}
	return nil
}

// wait waits for the last packet, up to 100 ms.
func (w *witness) wait() (bool, error) {
	var buf [8]byte
	for {
		n, err := unix.Read(w.fd, buf[:])
		switch {
		case err == nil && n == 8 && binary.LittleEndian.Uint64(buf[:]) == w.last:
			return true, nil
		case err == nil || errors.Is(err, unix.EINTR):
			continue
		case !errors.Is(err, unix.EAGAIN):
			return false, fmt.Errorf("lab: witness: %w", err)
		}
		fds := []unix.PollFd{{Fd: int32(w.fd), Events: unix.POLLIN}}
		n, err = unix.Poll(fds, 100)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return false, fmt.Errorf("lab: witness: %w", err)
		}
		if err == nil && n == 0 {
			return false, nil
		}
	}
}
