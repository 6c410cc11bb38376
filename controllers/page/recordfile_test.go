package page

import (
	"bufio"
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	testclock "k8s.io/utils/clock/testing"
)

const recordLine = `{"start":"2026-11-30T09:00:00Z","end":"2026-11-30T09:00:15Z","source":{"kind":"Outside"},"destination":{"kind":"Pod","namespace":"a","workload":"Pod/b"},"protocol":"TCP","port":80,"decided":{"action":"Allow"},"connections":{"new":1,"closed":0,"live":1}}`

func fileOf(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "flows.jsonl")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestRecordFile(t *testing.T) {
	for _, c := range []struct {
		name, text string
		want       int
		err        string
	}{
		{"empty", "", 0, ""},
		{"lines, empty ones too", recordLine + "\n\n" + recordLine + "\n", 2, ""},
		{"a last line without its end", recordLine + "\n" + recordLine, 2, ""},
		{"half of a last line", recordLine + "\n" + recordLine[:50], 1, ""},
		{"no JSON", recordLine + "\nnonsense\n", 0, ":2: "},
		{"another protocol", strings.Replace(recordLine, "TCP", "TPC", 1) + "\n", 0, ":1: "},
	} {
		t.Run(c.name, func(t *testing.T) {
			f, err := OpenRecords(fileOf(t, c.text), nil)
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Fatalf("error %v, want %s", err, c.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got, _, err := f.Records(context.Background()); err != nil || len(got) != c.want {
				t.Errorf("%d records, want %d: %v", len(got), c.want, err)
			}
		})
	}
	if _, err := OpenRecords(filepath.Join(t.TempDir(), "none"), nil); err == nil {
		t.Error("a file that is not there is read")
	}
}

// TestRecordFileGrows: what is appended counts once; a file that starts anew is read anew.
func TestRecordFileGrows(t *testing.T) {
	path := fileOf(t, recordLine+"\n"+recordLine[:20])
	f, err := OpenRecords(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		text string
		want int
	}{{recordLine + "\n" + recordLine + "\n", 2}, {recordLine + "\n" + recordLine + "\n", 2}, {recordLine + "\n", 1}, {"", 0}} {
		if err := os.WriteFile(path, []byte(step.text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, _, err := f.Records(context.Background()); err != nil || len(got) != step.want {
			t.Errorf("%d records, want %d: %v", len(got), step.want, err)
		}
	}
}

// TestFollow: only what is appended is sent, as server-sent events.
func TestFollow(t *testing.T) {
	path := fileOf(t, recordLine+"\n")
	c := testclock.NewFakeClock(time.Unix(0, 0))
	f, err := OpenRecords(path, c)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(f)
	defer server.Close()
	ctx, stop := context.WithTimeout(context.Background(), 30*time.Second)
	defer stop()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL+"/flows/v1/records?watch=true", nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	if got := answer.Header.Get("Content-Type"); got != "text/event-stream" {
		t.Errorf("content type %q", got)
	}
	lines := bufio.NewScanner(answer.Body)
	if !lines.Scan() || !strings.HasPrefix(lines.Text(), ":") {
		t.Fatalf("first line %q", lines.Text())
	}
	out, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := out.WriteString(strings.Replace(recordLine, `"port":80`, `"port":81`, 1) + "\n"); err != nil {
		t.Fatal(err)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	c.Step(poll)
	for lines.Scan() {
		if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
			if !strings.Contains(data, `"port":81`) {
				t.Errorf("sent %s", data)
			}
			return
		}
	}
	t.Errorf("nothing is sent: %v", lines.Err())
}
