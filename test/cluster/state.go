//go:build linux

package cluster

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tierwall/tierwall/test/cluster/machine"
)

// state is what is written down of a cluster, in state.json: enough to find its
// machines again, and to clean up after them.
type state struct {
	Options  Options                    `json:"options"`
	Machines map[string]machine.Process `json:"machines"`
	// Ready is set when the cluster came up whole.
	Ready bool `json:"ready"`
}

func stateFile(dir string) string { return filepath.Join(dir, "state.json") }

// readState reads the state of a folder; that there is none is fs.ErrNotExist.
func readState(dir string) (*state, error) {
	b, err := os.ReadFile(stateFile(dir))
	if err != nil {
		return nil, err
	}
	s := &state{}
	if err := json.Unmarshal(b, s); err != nil {
		return nil, fmt.Errorf("cluster: %s: %w", stateFile(dir), err)
	}
	if s.Options.Dir != dir {
		return nil, fmt.Errorf("cluster: %s is of a cluster in %s", stateFile(dir), s.Options.Dir)
	}
	return s, nil
}

// write replaces the file at once.
func (s *state) write() error {
	b, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	file := stateFile(s.Options.Dir)
	if err := os.WriteFile(file+".new", append(b, '\n'), 0o600); err != nil {
		return err
	}
	return os.Rename(file+".new", file)
}

// id names a cluster on this host, by its folder.
func (o Options) id() string {
	sum := sha256.Sum256([]byte(o.Dir))
	return "tierwall-" + hex.EncodeToString(sum[:5])
}

// lock keeps others from changing the cluster of a folder meanwhile, and waits
// for those who do; it makes the folder if need be. unlock gives it back.
func lock(ctx context.Context, dir string) (unlock func(), err error) {
	for {
		f, err := tryLock(dir)
		if err != nil {
			return nil, fmt.Errorf("cluster: cannot lock %s: %w", dir, err)
		}
		if f != nil {
			return func() { _ = f.Close() }, nil
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("cluster: another program is at work in %s: %w", dir, ctx.Err())
		case <-time.After(pause):
		}
	}
}

// tryLock returns nil if another has the lock, or has just removed the folder.
func tryLock(dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if err == nil {
		mine, err1 := f.Stat()
		there, err2 := os.Stat(dir)
		if err1 == nil && err2 == nil && os.SameFile(mine, there) {
			return f, nil
		}
	}
	_ = f.Close()
	if err != nil && !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
		return nil, err
	}
	return nil, nil
}

// empty tells whether a folder has nothing in it.
func empty(dir string) (bool, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	return len(entries) == 0, err
}
