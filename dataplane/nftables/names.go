package nftables

// TableName is the name of the tables, of family inet and of family bridge.
const TableName = "tierwall"

const tableComment = "Tierwall network policy; kept by the Tierwall agent"

// The tables that the Backend keeps.
var (
	inetTable   = Table{Family: Inet, Name: TableName, Comment: tableComment, Bases: baseNames}
	bridgeTable = Table{Family: Bridge, Name: TableName, Comment: tableComment, Bases: baseNames}
)
