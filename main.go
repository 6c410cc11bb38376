// Tierwall is tiered network policy for Kubernetes; see package cmd for what
// the binary does.
package main

import (
	"os"

	"github.com/tierwall/tierwall/cmd"
)

func main() {
	os.Exit(cmd.Main(os.Args, os.Stdin, os.Stdout, os.Stderr))
}
