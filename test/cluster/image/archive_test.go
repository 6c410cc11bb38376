package image

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// entries reads a tar.
func entries(t *testing.T, b []byte) (headers []*tar.Header, contents map[string][]byte) {
	t.Helper()
	contents = map[string][]byte{}
	r := tar.NewReader(bytes.NewReader(b))
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return headers, contents
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		headers = append(headers, h)
		contents[h.Name] = content
	}
}

func write(t *testing.T, i Image) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := i.Write(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestArchive(t *testing.T) {
	program := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(program, []byte("run"), 0o755); err != nil {
		t.Fatal(err)
	}
	i := Image{
		Names: []string{"example.org/x:1", "example.org/x:2"}, Entrypoint: []string{"/usr/bin/x"}, Command: []string{"go"}, User: "1:1",
		Files: []File{
			{Path: "/usr/bin/x", Source: program},
			{Path: "/usr/bin/y", Link: "x"},
			{Path: "/tmp", Folder: true},
			{Path: "/usr/lib/z", Content: []byte("z")},
		},
	}
	archive := write(t, i)
	if !bytes.Equal(archive, write(t, i)) {
		t.Error("two archives of the same files differ")
	}
	_, parts := entries(t, archive)
	var manifest []struct {
		Config   string
		RepoTags []string
		Layers   []string
	}
	if err := json.Unmarshal(parts["manifest.json"], &manifest); err != nil || len(manifest) != 1 || len(manifest[0].Layers) != 1 {
		t.Fatalf("manifest %s: %v", parts["manifest.json"], err)
	}
	if !slices.Equal(manifest[0].RepoTags, i.Names) {
		t.Errorf("names %v", manifest[0].RepoTags)
	}
	layer := parts[manifest[0].Layers[0]]
	var config struct {
		Config struct {
			Entrypoint, Cmd []string
			User            string
		}
		RootFS struct {
			DiffIDs []string `json:"diff_ids"`
		}
	}
	if err := json.Unmarshal(parts[manifest[0].Config], &config); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(layer)
	if !slices.Equal(config.RootFS.DiffIDs, []string{"sha256:" + hex.EncodeToString(sum[:])}) {
		t.Errorf("layer %x, config says %v", sum, config.RootFS.DiffIDs)
	}
	if config.Config.User != "1:1" || !slices.Equal(config.Config.Entrypoint, i.Entrypoint) || !slices.Equal(config.Config.Cmd, i.Command) {
		t.Errorf("config %+v", config.Config)
	}
	checkLayer(t, layer)
}

// checkLayer looks for each folder once, before what is in it.
func checkLayer(t *testing.T, layer []byte) {
	t.Helper()
	headers, contents := entries(t, layer)
	var got []string
	for _, h := range headers {
		got = append(got, strings.TrimSpace(h.FileInfo().Mode().String()+" "+h.Name+" "+h.Linkname))
	}
	want := []string{
		"drwxr-xr-x usr/", "drwxr-xr-x usr/bin/", "-rwxr-xr-x usr/bin/x", "Lrwxrwxrwx usr/bin/y x",
		"dtrwxrwxrwx tmp/", "drwxr-xr-x usr/lib/", "-rw-r--r-- usr/lib/z",
	}
	if !slices.Equal(got, want) {
		t.Errorf("layer\n%s\nnot\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if string(contents["usr/bin/x"]) != "run" || string(contents["usr/lib/z"]) != "z" {
		t.Errorf("contents %q", contents)
	}
}

func TestArchiveErrors(t *testing.T) {
	for want, i := range map[string]Image{
		"has no name":                   {},
		"file x: is no clean":           {Names: []string{"x"}, Files: []File{{Path: "x"}}},
		"file /: is no clean":           {Names: []string{"x"}, Files: []File{{Path: "/"}}},
		"file /a/../b: is no clean":     {Names: []string{"x"}, Files: []File{{Path: "/a/../b"}}},
		"file /a: stat /no/such/source": {Names: []string{"x"}, Files: []File{{Path: "/a", Source: "/no/such/source"}}},
	} {
		if err := i.Write(io.Discard); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, not %q", err, want)
		}
	}
	file := filepath.Join(t.TempDir(), "x.tar")
	if err := (Image{Names: []string{"x"}, Files: []File{{Path: "x"}}}).WriteFile(file); err == nil {
		t.Error("no error")
	}
	left, err := os.ReadDir(filepath.Dir(file))
	if err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestStatic(t *testing.T) {
	shell, err := filepath.EvalSymlinks("/bin/sh")
	if err != nil {
		t.Fatal(err)
	}
	if err := static(shell); err == nil || !strings.Contains(err.Error(), "not statically linked") {
		t.Errorf("%s: %v", shell, err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	// Tests are built without cgo, as make exports it.
	if err := static(self); err != nil && os.Getenv("CGO_ENABLED") == "0" {
		t.Error(err)
	}
}
