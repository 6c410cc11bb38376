package cmd

import (
	"fmt"
	"html"
	"io"
	"strings"
)

// pageStyle is all the style of a page: nothing is fetched from elsewhere.
const pageStyle = `
:root { color-scheme: light dark; }
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 72rem; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.2rem; margin-top: 2rem; border-bottom: 1px solid #8886; }
table { border-collapse: collapse; } th, td { padding: .25rem .6rem; text-align: left; vertical-align: top; }
tbody tr:nth-child(odd) { background: #8881; }
.wide { overflow-x: auto; }
.matrix th { font-weight: normal; white-space: nowrap; } .matrix td { text-align: center; }
.matrix th.to { height: 9rem; vertical-align: bottom; padding: 0 .3rem; }
.matrix th.to span { writing-mode: vertical-rl; transform: rotate(180deg); }
.all, .pass { color: #14803c; } .some, .warning { color: #a15c00; } .none, .fail, .error { color: #c3352b; }
.summary td:first-child { font-weight: bold; }
pre { background: #8881; padding: .8rem; overflow-x: auto; white-space: pre-wrap; }
@media (prefers-color-scheme: dark) { .all, .pass { color: #58c27d; } .some, .warning { color: #e0a458; } .none, .fail, .error { color: #ef7d74; } }
`

// writePage writes an HTML page that needs nothing else: no scripts, and a policy
// that lets it load nothing. The body is HTML.
func writePage(w io.Writer, title, body string) error {
	_, err := fmt.Fprintf(w, `<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>%[1]s</title>
<style>%[3]s</style>
</head>
<body>
<h1>%[1]s</h1>
%[2]s</body>
</html>
`, html.EscapeString(title), body, pageStyle)
	return err
}

// escapeMarkdown keeps text from the input from being read as Markdown, HTML or
// another cell of a table.
func escapeMarkdown(s string) string {
	var b strings.Builder
	for _, r := range plain(s) {
		switch r {
		case '&':
			b.WriteString("&amp;")
			continue
		case '<':
			b.WriteString("&lt;")
			continue
		case '>':
			b.WriteString("&gt;")
			continue
		case '\\', '`', '*', '_', '[', ']', '|', '#', '~', '!', '@':
			b.WriteByte('\\')
		}
		b.WriteRune(r)
	}
	return b.String()
}
