// Package admission carries what the API server checks before it stores an object.
// The manager, which has no right to write these objects, looks whether they are as
// they are here (controllers/admission).
package admission

import "embed"

// Files holds the manifests and the kustomization that lists them.
//
//go:embed *.yaml
var Files embed.FS
