package cmd

import (
	"os"
	"runtime/debug"
)

// gcPercent is how much a command that ends with its answer lets the heap grow before
// garbage is collected, in per cent of what is in use. Most of what it reads stays to
// the end, so that to look for garbage more often takes a quarter more time and finds little.
const gcPercent = 400

// collectLess sets that, unless the environment says something else. It is for commands
// that read manifests: an agent and a manager have no memory to spare.
func collectLess() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
}
