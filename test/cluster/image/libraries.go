package image

import (
	"debug/elf"
	"fmt"
	"io"
	"strings"
)

// dependencies lists the shared libraries that a program names, and the program
// that the kernel starts in its place to load them.
func dependencies(file string) (libraries []string, interpreter string, err error) {
	f, err := elf.Open(file)
	if err != nil {
		return nil, "", fmt.Errorf("%s: %w", file, err)
	}
	defer func() { _ = f.Close() }()
	for _, p := range f.Progs {
		if p.Type != elf.PT_INTERP {
			continue
		}
		b, err := io.ReadAll(p.Open())
		if err != nil {
			return nil, "", fmt.Errorf("%s: %w", file, err)
		}
		interpreter = strings.TrimRight(string(b), "\x00")
	}
	libraries, err = f.ImportedLibraries()
	if err != nil {
		return nil, "", fmt.Errorf("%s: %w", file, err)
	}
	return libraries, interpreter, nil
}
