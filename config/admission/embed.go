// Package admission carries what the API server checks before it stores an object.
// The manager keeps these objects in place (controllers/admission), also where the
// installer cannot apply them.
package admission

import "embed"

// Files holds the manifests and the kustomization that lists them.
//
//go:embed *.yaml
var Files embed.FS
