// Package v1alpha1 defines the Tierwall API: the kinds that users write, with
// their validation markers and deep copies. It contains no logic; conversion and
// the checks that OpenAPI and CEL cannot express are in policy/convert.
//
// Field names, types and meaning follow projectcalico.org/v3, so that existing
// manifests, habits and documentation carry over; docs/semantics.md lists the
// intentional differences.
//
// +kubebuilder:object:generate=true
// +groupName=tierwall.io
package v1alpha1
