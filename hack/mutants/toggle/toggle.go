// Package toggle is the switch of the mutants that a test binary contains: hack/mutants
// writes calls of it into copies of source files, which nothing but its own builds
// compiles. No package of the program imports it.
package toggle

import (
	"os"
	"strconv"
)

// Variable is the environment variable that has the ID of the mutant that is on, in
// hexadecimal. None is on if it is unset, empty or not a number.
const Variable = "TIERWALL_MUTANT"

// It is read before any package that imports this one is initialized.
var active = parse(os.Getenv(Variable))

func parse(s string) uint32 {
	id, err := strconv.ParseUint(s, 16, 32)
	if err != nil {
		return 0
	}
	return uint32(id)
}

// Is reports whether the mutant of this ID is on. It is false for 0, which no mutant has.
func Is(id uint32) bool { return id != 0 && active == id }

// Pick returns is if the mutant of this ID is on, and was otherwise.
func Pick[T any](id uint32, was, is T) T {
	if Is(id) {
		return is
	}
	return was
}
