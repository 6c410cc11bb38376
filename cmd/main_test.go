package cmd

import (
	"os"
	"testing"
)

// asCommand in the environment makes the test binary the command itself, for what is
// measured of a process of its own.
const asCommand = "TIERWALL_TEST_AS_COMMAND"

func TestMain(m *testing.M) {
	if os.Getenv(asCommand) != "" {
		os.Exit(Main(os.Args, os.Stdin, os.Stdout, os.Stderr))
	}
	os.Exit(m.Run())
}
