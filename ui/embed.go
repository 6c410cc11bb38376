// Package ui holds the page that tierwall ui serves, as it is built from the sources in
// this folder by `make ui` (docs/decisions/17-built-page.md).
package ui

import (
	"embed"
	"io/fs"
)

//go:embed all:dist
var files embed.FS

// Files are the built page: index.html and what it loads. In a build without the page
// they lack index.html.
func Files() fs.FS {
	dist, err := fs.Sub(files, "dist")
	if err != nil {
		panic(err) // the path is fixed
	}
	return dist
}
