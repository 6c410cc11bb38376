package ui

import (
	"bytes"
	"compress/gzip"
	"io/fs"
	"regexp"
	"strings"
	"testing"
)

// maxSize is how large the whole page may be, compressed, in bytes.
const maxSize = 250 << 10

// TestSize: the built page is small, all files together.
func TestSize(t *testing.T) {
	total := 0
	err := fs.WalkDir(Files(), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := fs.ReadFile(Files(), path)
		if err != nil {
			return err
		}
		var packed bytes.Buffer
		w := gzip.NewWriter(&packed)
		if _, err := w.Write(data); err != nil {
			return err
		}
		if err := w.Close(); err != nil {
			return err
		}
		t.Logf("%s: %d bytes, %d compressed", path, len(data), packed.Len())
		total += packed.Len()
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if total > maxSize {
		t.Errorf("the page has %d bytes compressed, want at most %d", total, maxSize)
	}
}

// TestStandsAlone: the document has neither script nor style of its own, which the content
// security policy would refuse, and no file names another host to load from.
func TestStandsAlone(t *testing.T) {
	html, err := fs.ReadFile(Files(), "index.html")
	if err != nil {
		t.Fatal(err)
	}
	for _, inline := range []string{`<style`, `style="`, `<script>`, `onclick`, `javascript:`} {
		if strings.Contains(string(html), inline) {
			t.Errorf("index.html has %s", inline)
		}
	}
	address := regexp.MustCompile(`(?:https?:)?//[a-z0-9-]+(?:\.[a-z0-9-]+)+[^\s"'\x60)]*`)
	for _, file := range []string{"index.html", "page.js", "style.css", "icon.svg"} {
		data, err := fs.ReadFile(Files(), file)
		if err != nil {
			t.Fatal(err)
		}
		for _, found := range address.FindAllString(string(data), -1) {
			if !strings.HasPrefix(found, "http://www.w3.org/") { // names of XML
				t.Errorf("%s names %s", file, found)
			}
		}
	}
}
