package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// A sourcePackage is a package of the module as the type checker knows it.
type sourcePackage struct {
	path, dir string // the directory is relative to the module
	names     []string
	src       [][]byte
	files     *token.FileSet
	parsed    []*ast.File
	types     *types.Package
	info      *types.Info
	imports   types.Importer
}

// load reads and checks the packages that the patterns name.
func load(patterns []string) ([]*sourcePackage, error) {
	args := []string{"list", "-export", "-deps", "-json=ImportPath,Dir,GoFiles,Export,DepOnly", switchPackage}
	cmd := exec.Command("go", append(args, patterns...)...)
	cmd.Stderr = os.Stderr
	data, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("listing packages: %w", err)
	}
	here, err := os.Getwd()
	if err != nil {
		return nil, err
	}
	var all []*sourcePackage
	exports := map[string]string{}
	files := token.NewFileSet()
	imports := importer.ForCompiler(files, "gc", func(path string) (io.ReadCloser, error) {
		if exports[path] == "" {
			return nil, fmt.Errorf("no export data of %s", path)
		}
		return os.Open(exports[path])
	})
	for list := json.NewDecoder(strings.NewReader(string(data))); ; {
		var p struct {
			ImportPath, Dir, Export string
			GoFiles                 []string
			DepOnly                 bool
		}
		if err := list.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, fmt.Errorf("listing packages: %w", err)
		}
		exports[p.ImportPath] = p.Export
		if p.DepOnly || p.ImportPath == switchPackage {
			continue
		}
		dir, err := filepath.Rel(here, p.Dir)
		if err != nil {
			return nil, err
		}
		all = append(all, &sourcePackage{path: p.ImportPath, dir: dir, names: p.GoFiles, files: files, imports: imports})
	}
	for _, p := range all {
		if err := p.read(); err != nil {
			return nil, err
		}
	}
	return all, nil
}

func (p *sourcePackage) read() error {
	for _, name := range p.names {
		src, err := os.ReadFile(filepath.Join(p.dir, name))
		if err != nil {
			return err
		}
		parsed, err := p.parse(name, src)
		if err != nil {
			return err
		}
		p.src, p.parsed = append(p.src, src), append(p.parsed, parsed)
	}
	p.info = &types.Info{Types: map[ast.Expr]types.TypeAndValue{}}
	var err error
	p.types, err = p.check(p.parsed, p.info)
	return err
}

func (p *sourcePackage) parse(name string, src []byte) (*ast.File, error) {
	return parser.ParseFile(p.files, filepath.Join(p.dir, name), src, parser.ParseComments|parser.SkipObjectResolution)
}

func (p *sourcePackage) check(parsed []*ast.File, info *types.Info) (*types.Package, error) {
	config := types.Config{Importer: p.imports, Sizes: types.SizesFor("gc", "amd64")}
	return config.Check(p.path, p.files, parsed, info)
}

// compiles reports whether the package compiles with other contents of one of its files.
func (p *sourcePackage) compiles(file int, src []byte) bool {
	parsed, err := p.parse(p.names[file], src)
	if err != nil {
		return false
	}
	all := slices.Clone(p.parsed)
	all[file] = parsed
	_, err = p.check(all, nil)
	return err == nil
}

// sites returns all sites of the package.
func (p *sourcePackage) sites() []site {
	var all []site
	for i, name := range p.names {
		all = append(all, findSites(p.files, filepath.Join(p.dir, name), p.parsed[i])...)
	}
	return all
}
