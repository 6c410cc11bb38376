package iptables

import (
	"fmt"
	"strings"
)

// What all names of ours begin with. The kernel takes 28 bytes of a chain's name
// and 31 of a set's.
const (
	chainPrefix = "TW-"
	setPrefix   = "tw-"
)

// What the kernel takes of a comment and of a log prefix, in bytes.
const (
	maxComment = 255
	maxPrefix  = 63
)

// tagLen is the length of the tag that ends a rule's comment and tells one
// rule's text from another's.
const tagLen = 6

// versionName is the kernel's name for a version of a set, from 0.
func versionName(key string, version int) string {
	return fmt.Sprintf("%s%s-%d", setPrefix, key, version)
}

// keyOf is the key of a set by its name. Names that are not of our making have none.
func keyOf(name string) (string, bool) {
	i := strings.LastIndexByte(name, '-')
	if !strings.HasPrefix(name, setPrefix) || i < len(setPrefix) {
		return "", false
	}
	return name[len(setPrefix):i], true
}
