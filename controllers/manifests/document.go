package manifests

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// parse reads the documents of a file and hands them on one by one, so that not
// all are in memory at once: trees without aliases, empty documents left out. A
// document that cannot be read is an error; the others are read all the same, but for
// those of which known returns true.
func parse(f *file, errs *errorList, known func(chunk) bool, each func(*document)) {
	if docs, ok := parseJSON(f.name, f.data, errs); ok {
		for _, n := range docs {
			each(&document{root: n})
		}
		return
	}
	for _, c := range splitYAML(f.data) {
		if known(c) {
			continue
		}
		if d := parseYAML(f.name, c, errs); d != nil {
			each(d)
		}
	}
}

// parseJSON reads a file of JSON documents. ok is false if the file is not
// JSON; it may be YAML in flow style then.
func parseJSON(name string, data []byte, errs *errorList) (docs []*yaml.Node, ok bool) {
	trimmed := bytes.TrimLeft(data, " \t\r\n")
	isJSON := strings.EqualFold(filepath.Ext(name), ".json")
	if len(trimmed) == 0 || trimmed[0] != '{' && trimmed[0] != '[' && !isJSON {
		return nil, false
	}
	r := newJSONReader(data)
	for {
		n, err := r.document()
		switch {
		case errors.Is(err, io.EOF):
			return docs, true
		case err == nil:
			n, problem := resolve(n, 0)
			if problem != nil {
				problem.File = name
				errs.add(problem)
				continue
			}
			docs = append(docs, n)
		case isJSON:
			line, column := r.position(err)
			errs.add(&Error{File: name, Line: line, Column: column, Message: "not valid JSON: " + jsonReason(err)})
			return docs, true
		default:
			return nil, false
		}
	}
}

// jsonReason is the text of a JSON error for people.
func jsonReason(err error) string {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return "it ends too early"
	}
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		return strings.TrimPrefix(syntax.Error(), "json: ")
	}
	return err.Error()
}

// chunk is one document of a YAML stream.
type chunk struct {
	line int // of the first line of text, from 0
	text []byte
}

// splitYAML cuts a stream at its document markers. A marker is "---" or "..."
// at the start of a line whatever surrounds it, so the cut needs no parser, and
// a broken document does not hide the ones after it.
func splitYAML(data []byte) []chunk {
	var out []chunk
	cur := chunk{}
	start, line := 0, 0
	flush := func(end int) {
		cur.text = data[start:end]
		out = append(out, cur)
	}
	for pos := 0; pos < len(data); {
		end := bytes.IndexByte(data[pos:], '\n')
		if end < 0 {
			end = len(data)
		} else {
			end += pos + 1
		}
		if isMarker(data[pos:end], "---") {
			flush(pos)
			// The rest of the marker's line belongs to the document that it opens.
			start, cur = pos, chunk{line: line}
		} else if isMarker(data[pos:end], "...") {
			flush(pos)
			start, cur = end, chunk{line: line + 1}
		}
		pos = end
		line++
	}
	flush(len(data))
	return out
}

func isMarker(line []byte, marker string) bool {
	rest, ok := bytes.CutPrefix(line, []byte(marker))
	return ok && (len(rest) == 0 || rest[0] == ' ' || rest[0] == '\t' || rest[0] == '\r' || rest[0] == '\n')
}

// parseYAML reads one document; nil if it is empty or broken.
func parseYAML(name string, c chunk, errs *errorList) *document {
	if emptyYAML(c.text) {
		return nil
	}
	if n, ok := plainYAML(c); ok {
		return &document{root: n, text: c.text, line: c.line}
	}
	if nesting(c.text) > maxDepth {
		errs.add(&Error{File: name, Line: c.line + 1, Message: fmt.Sprintf("nested deeper than %d levels", maxDepth)})
		return nil
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(c.text, &doc); err != nil {
		errs.add(syntaxError(name, c, err))
		return nil
	}
	if doc.Kind != yaml.DocumentNode || len(doc.Content) == 0 {
		return nil
	}
	n, problem := resolve(doc.Content[0], c.line)
	if problem != nil {
		problem.File = name
		problem.Message += templateHint(c, problem.Line)
		errs.add(problem)
		return nil
	}
	if n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" {
		return nil
	}
	return &document{root: n, text: c.text, line: c.line, elsewhere: isElsewhere(doc.Content[0])}
}

// emptyYAML says whether a document holds nothing but comments, directives and markers.
func emptyYAML(text []byte) bool {
	for len(text) > 0 {
		var line []byte
		line, text, _ = bytes.Cut(text, []byte("\n"))
		if isMarker(line, "---") {
			line = line[3:]
		}
		line = bytes.TrimSpace(line)
		if len(line) > 0 && line[0] != '#' && line[0] != '%' {
			return false
		}
	}
	return true
}

// nesting bounds the depth of a document from above cheaply, before the
// recursive parser sees it: brackets that are open at once, and runs of "- - - "
// or "? ? ? ", each of which opens a level. Brackets in text may make it count
// too much, but only where hundreds of them are never closed.
func nesting(text []byte) int {
	open, deepest, run := 0, 0, 0
	for i, b := range text {
		switch b {
		case '[', '{':
			open++
		case ']', '}':
			open = max(open-1, 0)
		case '-', '?':
			if i+1 < len(text) && text[i+1] == ' ' {
				run += 2
			}
		}
		if b != ' ' {
			run = max(run-1, 0)
		}
		deepest = max(deepest, open, run)
	}
	return deepest
}

var yamlLine = regexp.MustCompile(`^yaml: (?:line (\d+): )?`)

// syntaxError turns the parser's error into one with file and line.
func syntaxError(name string, c chunk, err error) *Error {
	msg := err.Error()
	e := &Error{File: name, Line: c.line + 1}
	if m := yamlLine.FindStringSubmatch(msg); m != nil {
		if n, convErr := strconv.Atoi(m[1]); convErr == nil {
			e.Line = c.line + n
		}
		msg = msg[len(m[0]):]
	}
	if line, column, ok := tabIndent(c.text, e.Line-c.line); ok {
		e.Line, e.Column = c.line+line, column
		e.Message = "not valid YAML: indented with a tab; YAML needs spaces"
		return e
	}
	e.Message = "not valid YAML: " + msg + templateHint(c, e.Line)
	return e
}

// templateHint says what to do about a line that is a template's. The parser
// may complain of the line after.
func templateHint(c chunk, line int) string {
	lines := bytes.Split(c.text, []byte("\n"))
	for i := max(line-c.line-2, 0); i < min(line-c.line, len(lines)); i++ {
		if bytes.Contains(lines[i], []byte("{{")) {
			return "; this looks like a template: pass its rendered output, such as that of helm template"
		}
	}
	return ""
}

// tabIndent looks for a line that is indented with a tab, at or just around the
// line that the parser complains of.
func tabIndent(text []byte, at int) (line, column int, ok bool) {
	for i, l := range bytes.Split(text, []byte("\n")) {
		if i+1 < at-1 || i+1 > at+1 {
			continue
		}
		indent := l[:len(l)-len(bytes.TrimLeft(l, " \t"))]
		if tab := bytes.IndexByte(indent, '\t'); tab >= 0 {
			return i + 1, tab + 1, true
		}
	}
	return 0, 0, false
}
