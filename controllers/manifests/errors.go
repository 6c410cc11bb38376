package manifests

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode"

	"github.com/tierwall/tierwall/policy/lint"
)

// maxErrors is the number of errors that one Load reports; the rest is counted.
const maxErrors = 50

// Error is one thing that is wrong with the input, and where.
type Error struct {
	// File as it was named or found; "stdin" for standard input; empty for a live object.
	File string
	// Line and Column from 1; 0 if unknown. Columns count characters.
	Line, Column int
	// Object as Kind/name or Kind/namespace/name; empty if it has not come to that.
	Object string
	// Field path as in spec.ingress[0].source.nets[1]; empty for the object as a whole.
	Field   string
	Message string
	// Code sorts errors and warnings as package lint sorts its findings.
	Code string
	// Severity of a warning as a finding.
	Severity lint.Severity
	// Unread says that a file or folder could not be read at all.
	Unread bool
}

// Error is "file:line:column: object: field: message" without the parts that are empty.
func (e *Error) Error() string {
	var b strings.Builder
	if e.File != "" {
		b.WriteString(e.File)
		if e.Line > 0 {
			b.WriteString(":" + strconv.Itoa(e.Line))
			if e.Column > 0 {
				b.WriteString(":" + strconv.Itoa(e.Column))
			}
		}
		b.WriteString(": ")
	}
	for _, part := range []string{e.Object, e.Field} {
		if part != "" {
			b.WriteString(oneLine(part) + ": ")
		}
	}
	b.WriteString(oneLine(e.Message))
	return strings.Map(printable, b.String())
}

// Warning is something that the user should know and that stops nothing. It has
// the form of an Error.
type Warning Error

// String is the text of the warning in the form of an Error.
func (w Warning) String() string { return (*Error)(&w).Error() }

// errorList collects errors up to a cap.
type errorList struct {
	errs    []*Error
	dropped int
}

func (l *errorList) add(e *Error) {
	if len(l.errs) >= maxErrors {
		l.dropped++
		return
	}
	l.errs = append(l.errs, e)
}

// join returns all errors as one, nil if there are none.
func (l *errorList) join() error {
	var errs []error
	for _, e := range l.errs {
		errs = append(errs, e)
	}
	if l.dropped > 0 {
		errs = append(errs, fmt.Errorf("and %d more errors", l.dropped))
	}
	return errors.Join(errs...)
}

// maxMessage bounds a message, so that a megabyte of bad value does not flood a terminal.
const maxMessage = 400

// oneLine keeps a part of a message to one line of bounded length.
func oneLine(s string) string {
	s = strings.Map(printable, s)
	if len(s) > maxMessage {
		s = strings.ToValidUTF8(s[:maxMessage], "") + "…"
	}
	return s
}

// printable replaces what could break the line, steer a terminal or turn its
// text around.
func printable(r rune) rune {
	if unprintable(r) {
		return ' '
	}
	return r
}

func unprintable(r rune) bool {
	return unicode.IsControl(r) || unicode.In(r, unicode.Zl, unicode.Zp, unicode.Bidi_Control)
}

// mustBePrintable is said of names that are not.
const mustBePrintable = "must be one line of printable text"

// isPrintable says whether s can be printed as it is.
func isPrintable(s string) bool { return !strings.ContainsFunc(s, unprintable) }

// quote shows a value of the input in a message, cut if it is long.
func quote(s string) string {
	const limit = 60
	if len(s) > limit {
		return strconv.Quote(strings.ToValidUTF8(s[:limit], "")) + "…"
	}
	return strconv.Quote(s)
}
