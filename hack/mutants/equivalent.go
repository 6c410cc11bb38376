package main

import (
	"bufio"
	"fmt"
	"os"
	"strings"
)

// An equivalents is the set of mutants that were reviewed and found to mean the same as
// the program. It is keyed by what outlives changes elsewhere in the file: file,
// function, token and its place among the function's tokens of that spelling.
type equivalents map[string]string

func (e equivalents) has(s site) bool { return e[s.key()] != "" }

// readEquivalents reads a file of lines `FILE FUNCTION TOKEN #N: REASON`. Empty lines
// and lines that begin with # are left out. A line without a reason is an error.
func readEquivalents(path string) (equivalents, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	all := equivalents{}
	lines := bufio.NewScanner(f)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		key, reason, ok := strings.Cut(line, ": ")
		if !ok || len(strings.Fields(key)) != 4 {
			return nil, fmt.Errorf("%s:%d: want FILE FUNCTION TOKEN #N: REASON", path, n)
		}
		if all[key] != "" {
			return nil, fmt.Errorf("%s:%d: duplicate %s", path, n, key)
		}
		all[key] = reason
	}
	return all, lines.Err()
}
