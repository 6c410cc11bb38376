package convert

import (
	stdjson "encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"sigs.k8s.io/json"
)

// A field that this version does not know may be a criterion: a rule that lost it
// would match more than it was written for. An API server keeps such fields only if
// its CustomResourceDefinitions are newer than the agent, in the midst of an upgrade
// or after one that has been taken back.

// UnknownFieldsError names the fields of an object that its type does not have.
// What was decoded beside them is there, and widens no access.
type UnknownFieldsError struct {
	// Fields are paths as in spec.ingress[0].http, in the order of the object.
	Fields []string
	// Closed: the object is a policy, and rules with such fields fail closed.
	Closed bool
}

func (e *UnknownFieldsError) Error() string {
	text := "unknown field " + strings.Join(e.Fields, ", ")
	if e.Closed {
		return text + ": a version that does not know the field allows nothing by it"
	}
	return text + ": a version that does not know the field ignores it"
}

// Decode reads an object's JSON into the type that fresh makes, with the names of
// fields as they are written.
//
// Fields in its spec that the type does not have are an UnknownFieldsError beside
// the result. If the object is a policy (its spec has ingress or egress) the rules
// that have such fields fail closed: Allow, Accept and Log match nothing, Deny denies
// without regard to the field, Pass does so too. An unknown field elsewhere in a
// policy's spec may narrow what it governs, and closes all of its rules.
//
// Any other error has no result.
func Decode(data []byte, fresh func() any) (any, error) {
	o := fresh()
	unknown, err := decodeStrictly(data, o)
	if err != nil {
		return nil, err
	}
	if len(unknown) == 0 {
		return o, nil
	}
	var object map[string]any
	if err := json.UnmarshalCaseSensitivePreserveInts(data, &object); err != nil {
		return nil, fmt.Errorf("cannot be decoded: %w", err)
	}
	closed := closeUnknown(object, unknown)
	if closed {
		o = fresh()
		if data, err = stdjson.Marshal(object); err == nil {
			_, err = decodeStrictly(data, o)
		}
		if err != nil {
			return nil, err
		}
	}
	return o, &UnknownFieldsError{Fields: unknown, Closed: closed}
}

// decodeStrictly decodes, and returns the fields of the spec that the type lacks.
func decodeStrictly(data []byte, into any) (unknown []string, err error) {
	strict, err := json.UnmarshalStrict(data, into, json.DisallowUnknownFields)
	if err != nil {
		return nil, fmt.Errorf("cannot be decoded: %w", err)
	}
	for _, e := range strict {
		var f json.FieldError
		if errors.As(e, &f) && strings.HasPrefix(f.FieldPath(), "spec.") {
			unknown = append(unknown, f.FieldPath())
		}
	}
	return unknown, nil
}

// closeUnknown has the rules of a policy fail closed that unknown fields may concern,
// and reports whether the object is a policy.
func closeUnknown(object map[string]any, unknown []string) bool {
	spec, _ := object["spec"].(map[string]any)
	policy := false
	for _, direction := range []string{"ingress", "egress"} {
		rules, ok := spec[direction].([]any)
		if !ok {
			continue
		}
		policy = true
		for i, r := range rules {
			if rule, ok := r.(map[string]any); ok && concerns(unknown, "spec."+direction, i) {
				closeRule(rule)
			}
		}
	}
	return policy
}

// concerns reports whether one of the fields is a rule's, or one of the policy as a whole.
func concerns(unknown []string, list string, index int) bool {
	for _, f := range unknown {
		ofRule := strings.HasPrefix(f, "spec.ingress[") || strings.HasPrefix(f, "spec.egress[")
		if !ofRule || strings.HasPrefix(f, list+"["+strconv.Itoa(index)+"]") {
			return true
		}
	}
	return false
}

// closeRule makes a rule one that widens no access, in the words of its kind.
func closeRule(rule map[string]any) {
	action, _ := rule["action"].(string)
	switch strings.ToLower(action) {
	case "allow", "log":
		metadata, named := rule["metadata"]
		clear(rule)
		rule["action"], rule["source"] = action, map[string]any{"selector": selectsNothing}
		if named {
			rule["metadata"] = metadata
		}
	case "accept":
		rule["action"] = "Unknown" // of a ClusterNetworkPolicy: denies
	case "pass":
		rule["action"] = "Deny"
	}
}

// selectsNothing is a selector that no peer matches.
const selectsNothing = "!all()"
