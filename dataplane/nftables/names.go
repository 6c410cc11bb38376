package nftables

import (
	"github.com/tierwall/tierwall/dataplane"
)

// TableName is the name of the table, of family inet.
const TableName = "tierwall"

const tableComment = "Tierwall network policy; kept by the Tierwall agent"

// maxComment is what nft takes as a comment, in bytes, less the tag of rules.
const maxComment = 127 - len(" #") - tagLen

// tagLen is the length of the tag that ends a rule's comment and tells one
// rule's text from another's.
const tagLen = 6

// tagged is the comment that a rule bears in the kernel: what it is for people,
// and a tag by which a changed rule is known without reading it.
func (r rule) tagged() string {
	tag := "#" + dataplane.Hash(r.text)[:tagLen]
	if r.comment == "" {
		return tag
	}
	return dataplane.Plain(r.comment, maxComment) + " " + tag
}
