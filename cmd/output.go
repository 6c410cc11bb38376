package cmd

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/spf13/pflag"
	"golang.org/x/term"
	"sigs.k8s.io/yaml"
)

// The formats that every command has.
const (
	formatText = "text"
	formatJSON = "json"
	formatYAML = "yaml"
)

// outputFlag is the flag -o. Its zero value is not usable: call register.
type outputFlag struct {
	format  string
	allowed []string
}

// register adds -o with text (the default), json, yaml and the extra formats of
// the command.
func (o *outputFlag) register(fs *pflag.FlagSet, extra ...string) {
	o.format = formatText
	o.allowed = append([]string{formatText, formatJSON, formatYAML}, extra...)
	fs.VarP(o, "output", "o", "output format: "+strings.Join(o.allowed, ", "))
}

// String implements pflag.Value.
func (o *outputFlag) String() string { return o.format }

// Type implements pflag.Value.
func (o *outputFlag) Type() string { return "format" }

// Set implements pflag.Value.
func (o *outputFlag) Set(v string) error {
	if !slices.Contains(o.allowed, v) {
		return fmt.Errorf("want one of %s", strings.Join(o.allowed, ", "))
	}
	o.format = v
	return nil
}

// text says whether the result is for people.
func (o *outputFlag) text() bool { return o.format == formatText }

// write writes v as JSON or YAML, by its json tags. It must not be called for
// other formats.
func (o *outputFlag) write(w io.Writer, v any) error {
	switch o.format {
	case formatJSON:
		enc := json.NewEncoder(w)
		enc.SetIndent("", "  ")
		enc.SetEscapeHTML(false)
		return enc.Encode(v)
	case formatYAML:
		b, err := yaml.Marshal(v)
		if err != nil {
			return err
		}
		_, err = w.Write(b)
		return err
	}
	return fmt.Errorf("format %q has no generic form", o.format)
}

// colours paints text for terminals; the zero value paints nothing.
type colours struct{ on bool }

// coloursFor paints if w is a terminal that shows colours. NO_COLOR, set to
// anything, forbids colours; else FORCE_COLOR asks for them wherever w leads, and
// FORCE_COLOR=0 forbids them, too.
func coloursFor(w io.Writer) colours {
	if os.Getenv("NO_COLOR") != "" {
		return colours{}
	}
	switch os.Getenv("FORCE_COLOR") {
	case "":
	case "0", "false":
		return colours{}
	default:
		return colours{on: true}
	}
	f, ok := w.(*os.File)
	return colours{on: ok && os.Getenv("TERM") != "dumb" && term.IsTerminal(int(f.Fd()))}
}

func (c colours) paint(code, s string) string {
	if !c.on {
		return s
	}
	return "\x1b[" + code + "m" + s + "\x1b[0m"
}

func (c colours) red(s string) string    { return c.paint("31", s) }
func (c colours) green(s string) string  { return c.paint("32", s) }
func (c colours) yellow(s string) string { return c.paint("33", s) }
func (c colours) bold(s string) string   { return c.paint("1", s) }
func (c colours) dim(s string) string    { return c.paint("2", s) }

// plain keeps text from the input, such as names of files and nodes, to one line
// that does nothing to a terminal and does not leave a comment.
func plain(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.In(r, unicode.Zl, unicode.Zp, unicode.Bidi_Control) {
			return ' '
		}
		return r
	}, s)
}

// table writes rows in aligned columns, two spaces apart. Cells may hold colour
// codes; they count for no width.
type table struct {
	rows [][]string
}

// row adds a row; rows may differ in length.
func (t *table) row(cells ...string) { t.rows = append(t.rows, cells) }

// writeTo writes the table, each line after the indent, without spaces at line ends.
func (t *table) writeTo(w io.Writer, indent string) error {
	var width []int
	for _, r := range t.rows {
		for i, c := range r {
			if i == len(width) {
				width = append(width, 0)
			}
			width[i] = max(width[i], visibleWidth(c))
		}
	}
	var b strings.Builder
	for _, r := range t.rows {
		line := indent
		for i, c := range r {
			line += c
			if i < len(r)-1 {
				line += strings.Repeat(" ", width[i]-visibleWidth(c)+2)
			}
		}
		b.WriteString(strings.TrimRight(line, " "))
		b.WriteByte('\n')
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// visibleWidth counts the runes of s outside of colour codes.
func visibleWidth(s string) int {
	n := 0
	for {
		start := strings.Index(s, "\x1b[")
		if start < 0 {
			return n + utf8.RuneCountInString(s)
		}
		n += utf8.RuneCountInString(s[:start])
		end := strings.IndexByte(s[start:], 'm')
		if end < 0 {
			return n
		}
		s = s[start+end+1:]
	}
}
