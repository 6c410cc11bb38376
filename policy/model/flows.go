package model

import "time"

// Flows is how connections are recorded, kept and exported.
type Flows struct {
	// On: agents record connections.
	On bool
	// Stdout: agents write their records on standard output, as JSON lines.
	Stdout bool
	// Keep is how long the manager keeps records, in whole hours, at least one.
	Keep time.Duration
	// Path is the folder of the manager's database; empty: records are kept in memory.
	Path string
	// MaxBytes bounds the database.
	MaxBytes int64
	// OTLPEndpoint is the URL of a collector, with its path; empty: none. OTLPAuthorities
	// are PEM certificates; empty: those of the system.
	OTLPEndpoint, OTLPAuthorities string
}

// The defaults of Flows. MaxFlowsInMemory is the longest Keep without a Path.
const (
	DefaultFlowsKeep     = 24 * time.Hour
	MaxFlowsInMemory     = 24 * time.Hour
	MaxFlowsKeep         = 8760 * time.Hour
	DefaultFlowsMaxBytes = 1 << 30
)

// DefaultFlows are those of a cluster without a Tierwall object.
func DefaultFlows() Flows { return Flows{Keep: DefaultFlowsKeep, MaxBytes: DefaultFlowsMaxBytes} }
