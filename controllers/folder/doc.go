// Package folder is the agent's Source on a host without a cluster: it delivers the
// objects of the manifests in a folder, and goes on delivering what changes.
//
//	folder ──→ fsnotify, or a timer ──→ read what has changed ──→ merge ──→ agent.Sink
//
// Source (source.go) watches the folder, reads it when it has come to rest, and at
// intervals for changes that give no notice. Objects of all files are merged
// (objects.go), what a host without a cluster lacks is added, and the difference to
// what was delivered before goes to the agent.
//
// A broken file never removes what it defined: a file that does not parse, or that is
// suddenly empty, keeps the meaning that it last had, over a restart too if there is a
// state folder, and is reported. An object that two files define is taken from the
// first, by path, and reported. If the folder itself cannot be read, everything stays
// as it is.
//
// Synced is called once the folder has been read in full.
//
// Not here: what manifests mean (controllers/manifests, which also translates objects
// of other projects), and the agent.
package folder
