// Package agentprocess runs an agent in a process of its own, for benchmarks that measure
// what it uses: the test binary is run again, as an agent of a real API server.
//
//	func TestMain(m *testing.M) { agentprocess.Main(m, child) }
//
// The parent writes lines to the child's standard input, and the child answers each with
// JSON on its standard output. It ends with its input.
package agentprocess

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/tierwall/tierwall/controllers/agent"
	"github.com/tierwall/tierwall/controllers/cluster"
	"github.com/tierwall/tierwall/controllers/manifests"
)

// variable makes the test binary a child with the kubeconfig that it names.
const variable = "TIERWALL_TEST_AGENT_KUBECONFIG"

// Main runs the child in place of the tests if Start has asked for it.
func Main(m *testing.M, c Child) {
	if kubeconfig := os.Getenv(variable); kubeconfig != "" {
		if err := c.run(kubeconfig); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// Child is an agent in a process of its own.
type Child struct {
	// Node is the agent's.
	Node string
	// Agent makes the agent, which reads from a source, on the thread that runs it: no
	// other goroutine ever does.
	Agent func(from agent.Source, log *slog.Logger) (*agent.Agent, error)
	// Ready is called when the agent is ready, with the time since the start.
	Ready func(took time.Duration)
	// Answer is called for each line of standard input. An error ends the child.
	Answer func(ctx context.Context, a *agent.Agent, line string) error
}

// run runs the agent until standard input ends.
func (c Child) run(kubeconfig string) error {
	began := time.Now()
	config, err := manifests.ClusterConfig(kubeconfig, nil)
	if err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))
	from, err := cluster.New(cluster.Options{Config: config, Node: c.Node, Log: log})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	made, over := make(chan *agent.Agent, 1), make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread, and a namespace that it is in, end with the goroutine
		a, err := c.Agent(from, log)
		made <- a
		if err == nil {
			err = a.Run(ctx)
		}
		over <- err
	}()
	a := <-made
	if a == nil {
		return <-over
	}
	for a.Ready() != nil {
		time.Sleep(time.Millisecond)
	}
	c.Ready(time.Since(began))
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		if err := c.Answer(ctx, a, in.Text()); err != nil {
			return err
		}
	}
	cancel()
	return <-over
}
