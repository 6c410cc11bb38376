// Package webhook carries what leads to the manager's webhook. The manager keeps these
// objects in place (controllers/admission), also where the installer cannot apply them.
package webhook

import "embed"

// Files holds the manifests and the kustomization that lists them.
//
//go:embed *.yaml
var Files embed.FS
