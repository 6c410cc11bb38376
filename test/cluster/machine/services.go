//go:build linux

package machine

import (
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// grace is how long a service may take to end after SIGTERM.
const grace = 5 * time.Second

// services are the programs that process 1 has started.
type services struct {
	logs string

	// mu is held while a program is started, so that its end cannot be seen
	// before its number is known.
	mu  sync.Mutex
	all map[string]*service
}

// service is a program that was started, in its present or last run.
type service struct {
	pid  int
	done chan struct{} // closed at its end
	exit string        // how it ended; guarded by services.mu
}

func newServices(logs string) *services {
	return &services{logs: logs, all: map[string]*service{}}
}

// start runs a program. It is an error if it runs already.
func (s *services) start(v *Service) error {
	if v.Name == "" || len(v.Command) == 0 {
		return errors.New("a service needs a name and a command")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if old := s.all[v.Name]; old != nil && old.exit == "" {
		return fmt.Errorf("service %s: runs already", v.Name)
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		return err
	}
	defer func() { _ = null.Close() }()
	out, err := os.OpenFile(filepath.Join(s.logs, v.Name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer func() { _ = out.Close() }()
	// Not os/exec, which would wait for the process itself: see reap.
	pid, err := syscall.ForkExec(v.Command[0], v.Command, &syscall.ProcAttr{
		Dir: "/", Env: v.Env,
		Files: []uintptr{null.Fd(), out.Fd(), out.Fd()},
		Sys:   &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		return fmt.Errorf("service %s: cannot start %s: %w", v.Name, v.Command[0], err)
	}
	s.all[v.Name] = &service{pid: pid, done: make(chan struct{})}
	log.Printf("%s started as process %d", v.Name, pid)
	return nil
}

// stop ends a program, by SIGKILL where asking does not help.
func (s *services) stop(name string) error {
	s.mu.Lock()
	v := s.all[name]
	s.mu.Unlock()
	if v == nil {
		return fmt.Errorf("service %s: %w", name, errNoService)
	}
	for _, step := range []struct {
		signal syscall.Signal
		wait   time.Duration
	}{{syscall.SIGTERM, grace}, {syscall.SIGKILL, time.Minute}} {
		s.mu.Lock()
		if v.exit == "" {
			_ = syscall.Kill(v.pid, step.signal)
		}
		s.mu.Unlock()
		select {
		case <-v.done:
			return nil
		case <-time.After(step.wait):
		}
	}
	return fmt.Errorf("service %s: process %d does not end", name, v.pid)
}

// status lists the services by name.
func (s *services) status() []Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := []Status{}
	for name, v := range s.all {
		list = append(list, Status{Name: name, Running: v.exit == "", Exit: v.exit})
	}
	slices.SortFunc(list, func(a, b Status) int { return strings.Compare(a.Name, b.Name) })
	return list
}

// reap waits for every process of the machine that has lost its parent, as
// process 1 must, and takes note of services that end.
func (s *services) reap() {
	children := make(chan os.Signal, 1)
	signal.Notify(children, syscall.SIGCHLD)
	for {
		for {
			var status syscall.WaitStatus
			pid, err := syscall.Wait4(-1, &status, syscall.WNOHANG, nil)
			if errors.Is(err, syscall.EINTR) {
				continue
			}
			if err != nil || pid <= 0 {
				break
			}
			s.ended(pid, status)
		}
		<-children
	}
}

// ended takes note of the end of a process, if it is one of a service.
func (s *services) ended(pid int, status syscall.WaitStatus) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, v := range s.all {
		if v.pid != pid || v.exit != "" {
			continue
		}
		v.exit = fmt.Sprintf("exit status %d", status.ExitStatus())
		if status.Signaled() {
			v.exit = "signal " + status.Signal().String()
		}
		close(v.done)
		log.Printf("%s ended: %s", name, v.exit)
	}
}

// order is what process 1 is told, and answer what it says: one of each on a
// connection, as JSON.
type order struct {
	Do      string   `json:"do"` // start, stop or status
	Service *Service `json:"service,omitempty"`
}

type answer struct {
	Error    string   `json:"error,omitempty"`
	Services []Status `json:"services,omitempty"`
}

// serve takes orders until the listener fails.
func serve(listener net.Listener, s *services) {
	for {
		connection, err := listener.Accept()
		if err != nil {
			log.Printf("no more orders: %v", err)
			return
		}
		go func() {
			defer func() { _ = connection.Close() }()
			var o order
			if err := json.NewDecoder(connection).Decode(&o); err != nil {
				return
			}
			_ = json.NewEncoder(connection).Encode(s.obey(o))
		}()
	}
}

// obey carries out one order.
func (s *services) obey(o order) answer {
	var err error
	switch {
	case o.Do == "status":
	case o.Service == nil:
		err = fmt.Errorf("order %q names no service", o.Do)
	case o.Do == "start":
		err = s.start(o.Service)
	case o.Do == "stop":
		err = s.stop(o.Service.Name)
	default:
		err = fmt.Errorf("order %q is unknown", o.Do)
	}
	if err != nil {
		return answer{Error: err.Error()}
	}
	return answer{Services: s.status()}
}
