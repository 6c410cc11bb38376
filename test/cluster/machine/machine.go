//go:build linux

package machine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Machine is one that was started, by this program or another.
type Machine struct {
	name    string
	process Process
	// dir is where its logs are.
	dir string
}

// Start makes a machine and returns when it takes orders. Before it may stay,
// record is called with its process, to write it down where it will be found
// again; if record fails, or this program dies before, the machine is gone.
// Needs root.
func Start(ctx context.Context, s Spec, record func(Process) error) (*Machine, error) {
	if err := s.validate(); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Join(s.Dir, "log"), 0o755); err != nil {
		return nil, err
	}
	if err := makeCgroup(s.Cgroup); err != nil {
		return nil, fmt.Errorf("machine %s: %w", s.Name, err)
	}
	b, err := begin(&s)
	if err != nil {
		return nil, fmt.Errorf("machine %s: %w", s.Name, err)
	}
	defer b.close()
	m, err := b.finish(ctx, &s, record)
	if err != nil {
		_ = b.command.Process.Kill()
		return nil, fmt.Errorf("machine %s: %w", s.Name, err)
	}
	return m, nil
}

// birth is a machine of which process 1 runs but is not yet let go.
type birth struct {
	command *exec.Cmd
	spec    *os.File // written to
	ready   *os.File // read from
}

// begin starts process 1.
func begin(s *Spec) (*birth, error) {
	output, err := os.OpenFile(filepath.Join(s.Dir, "log", "init.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	defer func() { _ = output.Close() }()
	specRead, specWrite, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer func() { _ = specRead.Close() }()
	readyRead, readyWrite, err := os.Pipe()
	if err != nil {
		_ = specWrite.Close()
		return nil, err
	}
	defer func() { _ = readyWrite.Close() }()
	c := &exec.Cmd{
		Path: "/proc/self/exe", Args: []string{initName, s.Name}, Dir: "/",
		Stdout: output, Stderr: output,
		ExtraFiles: []*os.File{specRead, readyWrite},
		SysProcAttr: &syscall.SysProcAttr{
			Setsid:     true,
			Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNS | unix.CLONE_NEWNET | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC,
		},
	}
	b := &birth{command: c, spec: specWrite, ready: readyRead}
	if err := c.Start(); err != nil {
		b.close()
		return nil, fmt.Errorf("cannot start process 1 (are you root?): %w", err)
	}
	// As long as this program lives it is the parent, and zombies are its own.
	go func() { _ = c.Wait() }()
	return b, nil
}

func (b *birth) close() {
	_ = b.spec.Close()
	_ = b.ready.Close()
}

// finish hands over the spec, waits for the machine and lets it stay.
func (b *birth) finish(ctx context.Context, s *Spec, record func(Process) error) (*Machine, error) {
	p, err := processOf(b.command.Process.Pid)
	if err != nil {
		return nil, err
	}
	if err := enterCgroup(s.Cgroup, p.PID); err != nil {
		return nil, err
	}
	if err := json.NewEncoder(b.spec).Encode(s); err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = b.ready.SetReadDeadline(time.Now()) })
	defer stop()
	said, err := io.ReadAll(b.ready)
	if err != nil {
		return nil, fmt.Errorf("process 1 says nothing: %w", errors.Join(err, ctx.Err()))
	}
	if string(said) != stay {
		return nil, errors.New(strings.TrimSpace(string(said) + "\n" + Tail(filepath.Join(s.Dir, "log", "init.log"), 5)))
	}
	if err := record(p); err != nil {
		return nil, err
	}
	if _, err := io.WriteString(b.spec, stay); err != nil {
		return nil, err
	}
	return &Machine{name: s.Name, process: p, dir: s.Dir}, nil
}

// Open finds a machine again by what was recorded of it. It may have died.
func Open(s Spec, p Process) *Machine {
	return &Machine{name: s.Name, process: p, dir: s.Dir}
}

// Name is the host name.
func (m *Machine) Name() string { return m.name }

// Alive tells whether the machine is on.
func (m *Machine) Alive() bool { return m.process.Alive() }

// Kill cuts the power: when it returns without an error no process of the
// machine is left. A machine that is off is no error.
func (m *Machine) Kill(ctx context.Context) error {
	if err := m.process.kill(ctx); err != nil {
		return fmt.Errorf("machine %s: %w", m.name, err)
	}
	return nil
}

// StartService runs a program on the machine.
func (m *Machine) StartService(ctx context.Context, s Service) error {
	_, err := m.ask(ctx, order{Do: "start", Service: &s})
	return err
}

// StopService ends a program: by SIGTERM, and five seconds later by SIGKILL.
func (m *Machine) StopService(ctx context.Context, name string) error {
	_, err := m.ask(ctx, order{Do: "stop", Service: &Service{Name: name}})
	return err
}

// Services tells how the programs are, by name.
func (m *Machine) Services(ctx context.Context) ([]Status, error) {
	a, err := m.ask(ctx, order{Do: "status"})
	return a.Services, err
}

// LogFile is where a service's output goes.
func (m *Machine) LogFile(service string) string {
	return filepath.Join(m.dir, "log", service+".log")
}

// ask sends one order to process 1 and returns its answer.
func (m *Machine) ask(ctx context.Context, o order) (answer, error) {
	fail := func(err error) (answer, error) {
		if !m.Alive() {
			return answer{}, fmt.Errorf("machine %s: is off", m.name)
		}
		return answer{}, fmt.Errorf("machine %s: order %s: %w", m.name, o.Do, err)
	}
	if !m.Alive() {
		return fail(nil)
	}
	var dialer net.Dialer
	connection, err := dialer.DialContext(ctx, "unix", fmt.Sprintf("/proc/%d/root%s", m.process.PID, socketPath))
	if err != nil {
		return fail(err)
	}
	defer func() { _ = connection.Close() }()
	stop := context.AfterFunc(ctx, func() { _ = connection.SetDeadline(time.Now()) })
	defer stop()
	if err := json.NewEncoder(connection).Encode(o); err != nil {
		return fail(err)
	}
	var a answer
	if err := json.NewDecoder(connection).Decode(&a); err != nil {
		return fail(errors.Join(err, ctx.Err()))
	}
	if a.Error != "" {
		return fail(errors.New(a.Error))
	}
	return a, nil
}

// Arguments are those that run a command inside the machine, by nsenter(1): in
// all its namespaces, as root, in its root folder.
func (m *Machine) Arguments(command ...string) []string {
	return append([]string{"nsenter", "--target", strconv.Itoa(m.process.PID),
		"--mount", "--uts", "--ipc", "--net", "--pid", "--"}, command...)
}

// Command prepares a command inside the machine, as [Machine.Arguments]. It and
// its children are killed when ctx ends.
func (m *Machine) Command(ctx context.Context, command ...string) *exec.Cmd {
	arguments := m.Arguments(command...)
	c := exec.CommandContext(ctx, arguments[0], arguments[1:]...)
	if !m.Alive() {
		c.Err = fmt.Errorf("machine %s: is off", m.name)
	}
	// nsenter has a child, which its death alone would leave behind.
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	c.Cancel = func() error { return syscall.Kill(-c.Process.Pid, syscall.SIGKILL) }
	c.WaitDelay = 5 * time.Second
	return c
}

// PID is the number of process 1 as the host counts.
func (m *Machine) PID() int { return m.process.PID }

// Network opens the machine's network namespace; the caller closes it.
func (m *Machine) Network() (netns.NsHandle, error) {
	if !m.Alive() {
		return netns.None(), fmt.Errorf("machine %s: is off", m.name)
	}
	ns, err := netns.GetFromPid(m.process.PID)
	if err != nil {
		return netns.None(), fmt.Errorf("machine %s: no network namespace: %w", m.name, err)
	}
	return ns, nil
}
