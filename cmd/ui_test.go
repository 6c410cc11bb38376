package cmd

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"
)

// TestUIRefuses: what cannot be served is said before anything is.
func TestUIRefuses(t *testing.T) {
	for _, c := range []struct {
		name string
		args []string
		want string
	}{
		{"an address that others reach", []string{"-f", "../config/samples", "--address", "0.0.0.0:0"}, "want a loopback address"},
		{"all addresses", []string{"-f", "../config/samples", "--address", ":8080"}, "want a loopback address"},
		{"a name that may be anything", []string{"-f", "../config/samples", "--address", "example.com:80"}, "want a loopback address"},
		{"no port", []string{"-f", "../config/samples", "--address", "127.0.0.1"}, "want HOST:PORT"},
		{"standard input", []string{"-f", "-"}, "more than once"},
		{"no such folder", []string{"-f", "nowhere"}, "nowhere"},
		{"no such records", []string{"-f", "../config/samples", "--records", "nowhere"}, "--records"},
		{"records that are none", []string{"-f", "../config/samples", "--records", "../config/samples/README.md"}, "README.md:1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out, errOut bytes.Buffer
			if code := Main(append([]string{"tierwall", "ui"}, c.args...), strings.NewReader(""), &out, &errOut); code != exitUnusable || !strings.Contains(errOut.String(), c.want) {
				t.Errorf("exit status %d: %s%s", code, &errOut, &out)
			}
		})
	}
}

// TestUIServes: the address that is printed is that of the page, with a key for its
// queries, until the command is interrupted.
func TestUIServes(t *testing.T) {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	out, in := io.Pipe()
	root := newRootCommand("tierwall", streams{in: strings.NewReader(""), out: in, errOut: io.Discard})
	root.SetArgs([]string{"ui", "-f", "../config/samples", "--records", "../config/samples/flows.jsonl"})
	done := make(chan error, 1)
	go func() { done <- root.ExecuteContext(ctx); _ = in.Close() }()
	var address []string
	for lines := bufio.NewScanner(out); address == nil && lines.Scan(); {
		address = regexp.MustCompile(`(http://127\.0\.0\.1:\d+/)#key=(\S+)`).FindStringSubmatch(lines.Text())
	}
	if address == nil {
		t.Fatalf("no address: %v", <-done)
	}
	go func() { _, _ = io.Copy(io.Discard, out) }()
	client := http.Client{Timeout: 30 * time.Second}
	for path, want := range map[string]string{"": "<div id=\"app\">", "page.js": "Tierwall", "ui/v1/info": `"policies":25`, "ui/v1/board": "block-known-bad", "flows/v1/records": "RecordList"} {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, address[1]+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+address[2])
		answer, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(answer.Body)
		if _ = answer.Body.Close(); err != nil || answer.StatusCode != http.StatusOK || !strings.Contains(string(body), want) {
			t.Errorf("%s: %d %.200s %v", path, answer.StatusCode, body, err)
		}
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
