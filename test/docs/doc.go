// Package docs holds the pages of documentation to what the program does: every
// command of every page is run, its output compared with what the page shows, and
// the links between the pages are followed.
//
// Commands find the samples under config/samples, and what testdata has for their
// page. Those that need a live cluster, and services, are listed by the test
// (go test -v) and not run to their end.
package docs
