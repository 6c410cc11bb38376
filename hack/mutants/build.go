package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// A builder builds test binaries that contain all mutants of the sample but those that
// are alone.
type builder struct {
	dir     string // of the binaries and of the rewritten files
	overlay string // what go takes as -overlay
	lock    sync.Mutex
	built   map[string]*testBinary // by package
}

// A testBinary is the tests of one package.
type testBinary struct {
	path, dir string          // the file, and where its tests run
	packages  map[string]bool // that are linked into it
}

func newBuilder(dir string, sample []mutant) (*builder, error) {
	type source struct {
		pkg  *sourcePackage
		file int
	}
	mutants := map[source][]mutant{}
	for _, m := range sample {
		if !m.alone {
			at := source{m.pkg, m.fileIndex()}
			mutants[at] = append(mutants[at], m)
		}
	}
	replace := map[string][]byte{}
	for at, of := range mutants {
		replace[filepath.Join(at.pkg.dir, at.pkg.names[at.file])] = newRewriter(at.pkg, at.file, of).file(at.pkg.parsed[at.file])
	}
	overlay, err := writeOverlay(filepath.Join(dir, "sources"), replace)
	return &builder{dir: dir, overlay: overlay, built: map[string]*testBinary{}}, err
}

// tests returns the tests of a package, which is named by its directory.
func (b *builder) tests(ctx context.Context, pkg string) (*testBinary, error) {
	b.lock.Lock()
	defer b.lock.Unlock()
	if b.built[pkg] == nil {
		built, err := b.build(ctx, pkg, b.overlay, b.dir)
		if err != nil {
			return nil, err
		}
		b.built[pkg] = built
	}
	return b.built[pkg], nil
}

// testsAlone returns the tests of a package with one mutant that is always on, in dir.
func (b *builder) testsAlone(ctx context.Context, pkg string, m mutant, dir string) (*testBinary, error) {
	overlay, err := writeOverlay(dir, map[string][]byte{m.file: m.apply(m.pkg.src[m.fileIndex()])})
	if err != nil {
		return nil, err
	}
	return b.build(ctx, pkg, overlay, dir)
}

func (b *builder) build(ctx context.Context, pkg, overlay, dir string) (*testBinary, error) {
	path := filepath.Join(dir, strings.ReplaceAll(pkg, "/", ".")+".test")
	if output, err := command(ctx, time.Hour, "", nil, "go", "test", "-c", "-vet=off", "-overlay", overlay, "-o", path, "./"+pkg); err != nil {
		return nil, fmt.Errorf("building the tests of %s: %w\n%s", pkg, err, output)
	}
	output, err := command(ctx, time.Hour, "", nil, "go", "list", "-deps", "-test", "./"+pkg)
	if err != nil {
		return nil, fmt.Errorf("listing what %s depends on: %w\n%s", pkg, err, output)
	}
	packages := map[string]bool{}
	for _, line := range bytes.Split(output, []byte("\n")) {
		name, _, _ := strings.Cut(string(line), " ") // "PACKAGE [PACKAGE.test]"
		packages[name] = true
	}
	return &testBinary{path: path, dir: pkg, packages: packages}, nil
}

// writeOverlay writes contents of files, which are named relative to the module, and
// the file that go takes as -overlay, to dir.
func writeOverlay(dir string, contents map[string][]byte) (string, error) {
	replace := map[string]string{}
	for file, content := range contents {
		real, err := filepath.Abs(file)
		if err != nil {
			return "", err
		}
		replace[real] = filepath.Join(dir, file)
		if err := os.MkdirAll(filepath.Dir(replace[real]), 0o700); err != nil {
			return "", err
		}
		if err := os.WriteFile(replace[real], content, 0o600); err != nil {
			return "", err
		}
	}
	data, err := json.Marshal(map[string]map[string]string{"Replace": replace})
	if err != nil {
		return "", err
	}
	overlay := filepath.Join(dir, "overlay.json")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	return overlay, os.WriteFile(overlay, data, 0o600)
}
