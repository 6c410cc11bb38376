package cmd

import "github.com/spf13/cobra"

// kernelCommands are the commands that program a kernel, or say what would be
// programmed. They exist on Linux only; all others run on every laptop.
var kernelCommands = []func(streams) *cobra.Command{
	newRenderCommand,
	newDemoCommand,
	newAgentCommand,
}

// kernelRunner returns the runner of policy tests by packets, by name; nil if there is none.
func kernelRunner(dataplane string) (testRunner, error) {
	switch dataplane {
	case "nftables":
		return labRunner{dataplane: dataplane}, nil
	case "iptables":
		return labRunner{dataplane: dataplane, backend: newIPTables}, nil
	}
	return nil, nil
}
