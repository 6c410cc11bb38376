package latency

import (
	"fmt"
	"os"
	"strings"
)

// The lines of a page between which the tables stand.
const (
	pageBegin = "<!-- latency: written by make e2e -->"
	pageEnd   = "<!-- end of latency -->"
)

// UpdatePage writes text between the marks of a page. All else stays as it is.
func UpdatePage(file, text string) error {
	page, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	out, err := between(string(page), text)
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return os.WriteFile(file, []byte(out), 0o644)
}

func between(page, text string) (string, error) {
	before, rest, ok := strings.Cut(page, pageBegin+"\n")
	if !ok {
		return "", fmt.Errorf("there is no line %q", pageBegin)
	}
	_, after, ok := strings.Cut(rest, pageEnd)
	if !ok {
		return "", fmt.Errorf("there is no line %q", pageEnd)
	}
	return before + pageBegin + "\n" + text + pageEnd + after, nil
}
