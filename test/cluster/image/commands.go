package image

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
)

// TierwallIPTables is the image that the stage iptables of the Dockerfile makes:
// Tierwall with the commands of iptables, here with those of this machine's Debian
// package, and no more of Debian than they need.
func (b Builder) TierwallIPTables(program string, names ...string) (Image, error) {
	i, err := b.Tierwall(program, names...)
	if err != nil {
		return Image{}, err
	}
	commands, err := iptables()
	if err != nil {
		return Image{}, fmt.Errorf("image tierwall with iptables: %w", err)
	}
	i.Files = append(i.Files, commands...)
	return i, nil
}

// extensions is where the commands look for their matches and targets.
const extensions = "/usr/lib/*/xtables/*.so"

// iptables are the commands of both variants under all of their names, the plain
// ones as on this machine, with the libraries that they load.
func iptables() ([]File, error) {
	programs := map[string]bool{}
	var files []File
	for _, base := range []string{"iptables", "ip6tables"} {
		for _, variant := range []string{"", "-nft", "-legacy"} {
			for _, what := range []string{"", "-save", "-restore"} {
				link := "/usr/sbin/" + base + variant + what
				program, err := filepath.EvalSymlinks(link)
				if err != nil {
					return nil, fmt.Errorf("package iptables is needed: %w", err)
				}
				programs[program] = true
				files = append(files, File{Path: link, Link: program})
			}
		}
	}
	more, err := filepath.Glob(extensions)
	if err != nil || len(more) == 0 {
		return nil, fmt.Errorf("package iptables is needed: no %s", extensions)
	}
	more = slices.AppendSeq(more, maps.Keys(programs))
	libraries, err := closure(more)
	if err != nil {
		return nil, err
	}
	for _, f := range slices.Sorted(slices.Values(append(more, libraries...))) {
		files = append(files, File{Path: f, Source: f})
	}
	return files, nil
}

// libraryFolders are where Debian has shared libraries.
var libraryFolders = []string{"/lib/*-linux-gnu*", "/usr/lib/*-linux-gnu*"}

// closure lists the shared libraries and interpreters that files need, and those
// that these need in turn.
func closure(files []string) ([]string, error) {
	found := map[string]string{}
	for queue := slices.Clone(files); len(queue) > 0; queue = queue[1:] {
		names, interpreter, err := dependencies(queue[0])
		if err != nil {
			return nil, err
		}
		if interpreter != "" {
			found[interpreter] = interpreter
		}
		for _, name := range names {
			if _, ok := found[name]; ok {
				continue
			}
			if found[name], err = library(name); err != nil {
				return nil, fmt.Errorf("%s: %w", queue[0], err)
			}
			queue = append(queue, found[name])
		}
	}
	all := slices.Sorted(maps.Values(found))
	return slices.Compact(all), nil
}

// library finds a shared library by its name.
func library(name string) (string, error) {
	for _, folder := range libraryFolders {
		matches, err := filepath.Glob(filepath.Join(folder, name))
		if err != nil {
			return "", err
		}
		for _, m := range matches {
			if _, err := os.Stat(m); err == nil {
				return m, nil
			}
		}
	}
	return "", errors.New("no library " + name)
}
