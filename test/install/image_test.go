package install

import (
	goversion "go/version"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// The image holds the program and nothing else, and nobody is root in it unless told.
func TestDockerfile(t *testing.T) {
	root, err := Root()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(root, "Dockerfile"))
	if err != nil {
		t.Fatal(err)
	}
	stages := strings.Split("\n"+string(text), "\nFROM ")
	build, final := stages[1], stages[len(stages)-1]
	for _, want := range []string{"--platform=$BUILDPLATFORM golang:1.26.", "CGO_ENABLED=0", "GOARCH=$TARGETARCH", "ARG TARGETARCH", "cmd.Version=$VERSION"} {
		if !strings.Contains(build, want) {
			t.Errorf("the building stage lacks %q", want)
		}
	}
	// A tag for people, and the digest that counts; of a version of Go that the module takes.
	pinned := regexp.MustCompile(`^(?:--platform=\$BUILDPLATFORM )?([a-z0-9./-]+):([\w.-]+)@sha256:([0-9a-f]{64})(?: AS [a-z]+)?$`)
	for _, stage := range stages[1:] {
		from, _, _ := strings.Cut(stage, "\n")
		if from == "scratch" {
			continue
		}
		m := pinned.FindStringSubmatch(from)
		if m == nil {
			t.Errorf("base image %q is not pinned by its digest", from)
			continue
		}
		if digits := slices.Sorted(slices.Values([]byte(m[3]))); len(slices.Compact(digits)) < 10 {
			t.Errorf("base image %q: %s is no digest", from, m[3])
		}
		if m[1] == "golang" && !takesGo(t, root, m[2]) {
			t.Errorf("base image %q: go.mod wants another version", from)
		}
	}
	if !strings.Contains(string(text), "\n# for people. To renew one: docker buildx imagetools inspect TAG") {
		t.Error("the Dockerfile does not tell how to renew a digest")
	}
	var program, entry string
	for line := range strings.Lines(final) {
		words := strings.Fields(line)
		switch {
		case len(words) == 0:
		case words[0] == "RUN" || words[0] == "ADD":
			t.Errorf("the image gets more than the program: %s", line)
		case words[0] == "COPY" && words[1] == "--from=build":
			program = words[3]
		case words[0] == "ENTRYPOINT":
			entry = strings.Trim(words[1], `[]"`)
		}
	}
	if !strings.HasPrefix(final, "scratch\n") || !strings.Contains(final, "\nUSER 65532:65532\n") {
		t.Errorf("not from scratch, or not for user 65532:\n%s", final)
	}
	if program == "" || program != entry {
		t.Errorf("the program is %q, and %q is run", program, entry)
	}
}

// takesGo reports whether a version of Go is of the release that go.mod names, and no older.
func takesGo(t *testing.T, root, version string) bool {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	want := "go" + regexp.MustCompile(`(?m)^go (\S+)$`).FindStringSubmatch(string(text))[1]
	have := "go" + version
	return goversion.Lang(have) == goversion.Lang(want) && goversion.Compare(have, want) >= 0
}

// What the program is built from reaches the builder.
func TestDockerignore(t *testing.T) {
	root, err := Root()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(root, ".dockerignore"))
	if err != nil {
		t.Fatal(err)
	}
	var ignored []string
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			ignored = append(ignored, line)
		}
	}
	list := exec.Command("go", "list", "-deps", "-f", `{{if .Module}}{{if .Module.Main}}{{$d := .Dir}}{{range .GoFiles}}{{$d}}/{{.}}
{{end}}{{range .EmbedFiles}}{{$d}}/{{.}}
{{end}}{{end}}{{end}}`, ".")
	list.Dir = root
	list.Env = append(os.Environ(), "GOOS=linux", "CGO_ENABLED=0")
	out, err := list.Output()
	if err != nil {
		t.Fatal(err)
	}
	files := strings.Fields(string(out))
	if len(files) < 100 || !slices.Contains(files, filepath.Join(root, "main.go")) {
		t.Fatalf("%d files", len(files))
	}
	for _, file := range files {
		path, err := filepath.Rel(root, file)
		if err != nil {
			t.Fatal(err)
		}
		for _, pattern := range ignored {
			name, anywhere := strings.CutPrefix(pattern, "**/")
			parts := strings.Split(path, "/")
			if !anywhere {
				parts = parts[:1]
			}
			for _, part := range parts {
				if hit, err := filepath.Match(name, part); err != nil || hit {
					t.Errorf("%s is ignored by %s (%v)", path, pattern, err)
				}
			}
		}
	}
}
