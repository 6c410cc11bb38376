// Package samples holds the manifests of the shop, so that `tierwall demo` runs
// wherever the binary is.
package samples

import "embed"

// Files are the manifests; the policy tests among them too.
//
//go:embed *-*/*.yaml tests/*.yaml
var Files embed.FS
