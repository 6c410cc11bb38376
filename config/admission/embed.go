// Package admission carries what the API server checks before it stores an object,
// for installers that cannot apply these manifests themselves: the manager applies
// them where it is told to (tierwall manager --install-admission).
package admission

import "embed"

// Files holds the manifests and the kustomization that lists them.
//
//go:embed *.yaml
var Files embed.FS
