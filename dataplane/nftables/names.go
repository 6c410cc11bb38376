package nftables

import "github.com/tierwall/tierwall/dataplane/nftables/nft"

// TableName is the name of the tables, of family inet and of family bridge.
const TableName = "tierwall"

const tableComment = "Tierwall network policy; kept by the Tierwall agent"

// The tables that the Backend keeps.
var (
	inetTable   = nft.Table{Family: nft.Inet, Name: TableName, Comment: tableComment, Bases: baseNames}
	bridgeTable = nft.Table{Family: nft.Bridge, Name: TableName, Comment: tableComment, Bases: baseNames}
)

// line is a rule in nft's language, with its comment.
func line(text, comment string) nft.Rule { return nft.Rule{Text: text, Comment: comment} }
