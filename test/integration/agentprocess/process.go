package agentprocess

import (
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Process is a child at work.
type Process struct {
	// Answers are what the child writes.
	Answers *json.Decoder

	in  io.WriteCloser
	cmd *exec.Cmd
}

// Start starts a child with a kubeconfig. It inherits the files, from descriptor 3.
func Start(kubeconfig string, files ...*os.File) (*Process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	c := exec.Command(self)
	c.Env, c.Stderr, c.ExtraFiles = append(os.Environ(), variable+"="+kubeconfig), os.Stderr, files
	in, err := c.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := c.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := c.Start(); err != nil {
		return nil, err
	}
	return &Process{Answers: json.NewDecoder(out), in: in, cmd: c}, nil
}

// Ask sends a line.
func (p *Process) Ask(line string) error {
	_, err := io.WriteString(p.in, line+"\n")
	return err
}

// Close ends the child's input, whereupon it ends.
func (p *Process) Close() error { return p.in.Close() }

// Wait waits until the child has ended. All answers must have been read.
func (p *Process) Wait() error { return p.cmd.Wait() }

// Memory reads a size of this process, in bytes, from /proc/self/status: VmRSS is the
// memory that it has, VmHWM the most that it has had.
func Memory(name string) uint64 {
	data, _ := os.ReadFile("/proc/self/status")
	for line := range strings.Lines(string(data)) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == name+":" {
			kilobytes, _ := strconv.ParseUint(f[1], 10, 64)
			return kilobytes << 10
		}
	}
	return 0
}

// CPU is the time that this process has used so far, in all processors.
func CPU() time.Duration {
	var r syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &r) != nil {
		return 0
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}
