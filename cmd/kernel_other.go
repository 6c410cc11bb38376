//go:build !linux

package cmd

import (
	"fmt"

	"github.com/spf13/cobra"
)

// kernelCommands needs Linux.
var kernelCommands []func(streams) *cobra.Command

func kernelRunner(dataplane string) (testRunner, error) {
	if dataplane == "nftables" || dataplane == "iptables" {
		return nil, fmt.Errorf("--dataplane %s: real packets need Linux", dataplane)
	}
	return nil, nil
}
