// Package v1alpha1 holds the Tierwall API: the kinds that people write, with
// their validation markers and deep copies. It holds no logic; conversion and
// the checks that OpenAPI and CEL cannot express are in policy/convert.
//
// Field names, types and meaning follow projectcalico.org/v3 so that existing
// manifests, habits and documentation carry over; docs/semantics.md lists where
// Tierwall differs on purpose.
//
// +kubebuilder:object:generate=true
// +groupName=tierwall.io
package v1alpha1
