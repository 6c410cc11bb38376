// Package ui holds the tests of the page in a real Chromium, against the program itself on
// the samples. It is a module of its own, so that what drives the browser stays out of
// Tierwall's dependencies.
//
// `go test . -run TestScreenshots -update` writes docs/ui/*.png.
package ui
