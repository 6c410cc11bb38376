//go:build linux

// Testcluster makes, uses and takes down a test cluster from the command line.
// `testcluster --help` says how.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/tierwall/tierwall/test/cluster"
	"github.com/tierwall/tierwall/test/cluster/install"
)

// folderVariable names the folder of the cluster where no flag does.
const folderVariable = "CLUSTER"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := command().ExecuteContext(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func command() *cobra.Command {
	folder := os.Getenv(folderVariable)
	if folder == "" {
		folder = filepath.Join(os.TempDir(), "tierwall-cluster")
	}
	root := &cobra.Command{
		Use:           "testcluster",
		Short:         "Make, use and take down a real Kubernetes cluster on this machine",
		SilenceErrors: true, SilenceUsage: true,
		// So that --dir before kubectl is ours, and all after it kubectl's.
		TraverseChildren: true,
	}
	root.PersistentFlags().StringVar(&folder, "dir", folder, "folder of the cluster; "+folderVariable+" in the environment names it too")
	root.AddCommand(up(&folder), down(&folder), status(&folder), execute(&folder), kubectl(&folder), load(&folder), user(&folder), power(&folder), server(&folder), installs(&folder))
	return root
}

func up(folder *string) *cobra.Command {
	var o cluster.Options
	c := &cobra.Command{
		Use: "up", Short: "Make a cluster and wait until it is ready", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			o.Dir, o.Log = *folder, c.OutOrStdout()
			made, err := cluster.Up(c.Context(), o)
			if err != nil {
				return err
			}
			fmt.Fprintf(c.OutOrStdout(), "up in %s: %s\n", made.Options().Dir, made.Options())
			return nil
		},
	}
	f := c.Flags()
	f.IntVar(&o.Nodes, "nodes", 3, "number of nodes, 1 to 9")
	f.BoolVar(&o.DualStack, "dual-stack", false, "IPv6 beside IPv4")
	f.StringVar(&o.PodNetwork, "pod-network", cluster.Routed, cluster.Routed+" or "+cluster.Bridge)
	f.StringVar(&o.ProxyMode, "proxy-mode", cluster.NFTables, "of kube-proxy: "+cluster.NFTables+" or "+cluster.IPTables)
	f.StringVar(&o.Runtime, "runtime", cluster.Containerd2, cluster.Containerd2+", which has NRI, or Debian's "+cluster.Containerd1)
	f.StringVar(&o.Programs, "programs", "", "folder of the Kubernetes programs; hack/kube.sh builds them otherwise")
	return c
}

func down(folder *string) *cobra.Command {
	return &cobra.Command{
		Use: "down", Short: "Take the cluster down, and its folder with it", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return cluster.Down(c.Context(), *folder) },
	}
}

func installs(folder *string) *cobra.Command {
	var o install.Options
	c := &cobra.Command{
		Use: "install", Short: "Build Tierwall of the module around here, load its image and apply config/default", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			opened, err := cluster.Open(*folder)
			if err != nil {
				return err
			}
			if err := install.Tierwall(c.Context(), opened, o); err != nil {
				return err
			}
			fmt.Fprintf(c.OutOrStdout(), "Tierwall runs on %d nodes\n", len(opened.Nodes()))
			return nil
		},
	}
	c.Flags().StringVar(&o.Tag, "tag", "", "tag of the image, where it is not that of config/operator: an upgrade, or a way back")
	c.Flags().StringVar((*string)(&o.Dataplane), "dataplane", "", "spec.dataplane of Tierwall/default: NFTables, or IPTables, for which the image has the commands; empty: what config/default installs")
	return c
}

func status(folder *string) *cobra.Command {
	return &cobra.Command{
		Use: "status", Short: "Say how the machines and their programs are", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			opened, err := cluster.Open(*folder)
			if err != nil {
				return err
			}
			out := c.OutOrStdout()
			fmt.Fprintf(out, "%s\nkubeconfig %s\n", opened.Options(), opened.Kubeconfig())
			for _, name := range opened.Machines() {
				m, err := opened.Machine(name)
				if err != nil {
					return err
				}
				services, err := m.Services(c.Context())
				if err != nil {
					fmt.Fprintf(out, "%s\toff\n", name)
					continue
				}
				fmt.Fprintf(out, "%s\ton, process %d\n", name, m.PID())
				for _, s := range services {
					state := "runs"
					if !s.Running {
						state = "has ended: " + s.Exit
					}
					fmt.Fprintf(out, "\t%s %s, log %s\n", s.Name, state, m.LogFile(s.Name))
				}
			}
			return nil
		},
	}
}

func execute(folder *string) *cobra.Command {
	c := &cobra.Command{
		Use: "exec MACHINE -- COMMAND...", Short: "Run a command inside a machine (cp, n1, ...)", Args: cobra.MinimumNArgs(2),
		RunE: func(_ *cobra.Command, arguments []string) error {
			opened, err := cluster.Open(*folder)
			if err != nil {
				return err
			}
			command := arguments[1:]
			if command[0] == "--" {
				command = command[1:]
			}
			if len(command) == 0 {
				return errors.New("no command to run")
			}
			return replace(opened, arguments[0], command)
		},
	}
	c.Flags().SetInterspersed(false)
	return c
}

func kubectl(folder *string) *cobra.Command {
	return &cobra.Command{
		Use: "kubectl ARGUMENTS...", Short: "Run kubectl as the administrator", DisableFlagParsing: true,
		RunE: func(_ *cobra.Command, arguments []string) error {
			opened, err := cluster.Open(*folder)
			if err != nil {
				return err
			}
			line := append([]string{opened.Program("kubectl"), "--kubeconfig=" + opened.Kubeconfig()}, arguments...)
			return enter(opened, "cp", line)
		},
	}
}

// replace runs a command inside a machine in the place of this process, so that
// a terminal is all its own.
func replace(c *cluster.Cluster, name string, command []string) error {
	m, err := c.Machine(name)
	if err != nil {
		return err
	}
	arguments := m.Arguments(command...)
	program, err := exec.LookPath(arguments[0])
	if err != nil {
		return err
	}
	return syscall.Exec(program, arguments, os.Environ())
}

// enter runs a command in the network of a machine alone: it finds the files of
// this folder.
func enter(c *cluster.Cluster, name string, command []string) error {
	m, err := c.Machine(name)
	if err != nil {
		return err
	}
	program, err := exec.LookPath("nsenter")
	if err != nil {
		return err
	}
	arguments := append([]string{"nsenter", fmt.Sprintf("--net=/proc/%d/ns/net", m.PID()), "--"}, command...)
	return syscall.Exec(program, arguments, os.Environ())
}

func load(folder *string) *cobra.Command {
	return &cobra.Command{
		Use: "load ARCHIVE...", Short: "Give all nodes the images of archives", Args: cobra.MinimumNArgs(1),
		RunE: func(c *cobra.Command, archives []string) error {
			opened, err := cluster.Open(*folder)
			if err != nil {
				return err
			}
			for _, a := range archives {
				if err := opened.LoadImage(c.Context(), a); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

func user(folder *string) *cobra.Command {
	return &cobra.Command{
		Use: "user NAME [GROUP...]", Short: "Print a kubeconfig for a user", Args: cobra.MinimumNArgs(1),
		RunE: func(c *cobra.Command, arguments []string) error {
			opened, err := cluster.Open(*folder)
			if err != nil {
				return err
			}
			config, err := opened.UserKubeconfig(arguments[0], arguments[1:]...)
			if err != nil {
				return err
			}
			_, err = c.OutOrStdout().Write(config)
			return err
		},
	}
}

func power(folder *string) *cobra.Command {
	return &cobra.Command{
		Use: "power off|on NODE", Short: "Cut a node's power, or give it back", Args: cobra.ExactArgs(2), ValidArgs: []string{"off", "on"},
		RunE: func(c *cobra.Command, arguments []string) error {
			opened, err := cluster.Open(*folder)
			if err != nil {
				return err
			}
			switch arguments[0] {
			case "off":
				return opened.PowerOff(c.Context(), arguments[1])
			case "on":
				return opened.PowerOn(c.Context(), arguments[1])
			}
			return fmt.Errorf("power is off or on, not %q", arguments[0])
		},
	}
}

func server(folder *string) *cobra.Command {
	return &cobra.Command{
		Use: "server stop|start", Short: "Stop kube-apiserver, or start it again", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, arguments []string) error {
			opened, err := cluster.Open(*folder)
			if err != nil {
				return err
			}
			switch arguments[0] {
			case "stop":
				return opened.StopServer(c.Context())
			case "start":
				return opened.StartServer(c.Context())
			}
			return fmt.Errorf("the server can stop or start, not %q", arguments[0])
		},
	}
}
