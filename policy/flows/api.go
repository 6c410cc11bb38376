package flows

import (
	"time"

	"github.com/tierwall/tierwall/policy/model"
)

// What the HTTP API of agents and manager is called, and what access to it takes: verb
// get, list or watch on resource flows of this group, which the API server does not hold.
const (
	Group      = "flows.tierwall.io"
	Resource   = "flows"
	APIVersion = Group + "/v1"
)

// The lengths of windows. Agents report in Window; the manager keeps LongWindow longer.
const (
	Window     = 15 * time.Second
	LongWindow = 5 * time.Minute
)

// RecordList is the answer to GET /flows/v1/records.
type RecordList struct {
	APIVersion string   `json:"apiVersion"`
	Kind       string   `json:"kind"`
	Items      []Record `json:"items"`
	// Next is the cursor of the next page; empty: this is the last.
	Next string `json:"next,omitempty"`
	// Omitted counts the connections of the period that are in no record with ends,
	// because they were past a limit of keys.
	Omitted uint64 `json:"omitted,omitempty"`
	// Notes are what a reader must know about what is missing, sorted.
	Notes []string `json:"notes,omitempty"`
}

// NewRecordList makes a list; nil items become an empty list.
func NewRecordList(items []Record) *RecordList {
	if items == nil {
		items = []Record{}
	}
	return &RecordList{APIVersion: APIVersion, Kind: "RecordList", Items: items}
}

// RuleList is the answer to GET /flows/v1/rules.
type RuleList struct {
	APIVersion string     `json:"apiVersion"`
	Kind       string     `json:"kind"`
	Items      []RuleHits `json:"items"`
	// Since is when the oldest of the counters began to count; nil if that is unknown.
	Since *time.Time `json:"since,omitempty"`
	Notes []string   `json:"notes,omitempty"`
}

// NewRuleList makes a list; nil items become an empty list.
func NewRuleList(items []RuleHits) *RuleList {
	if items == nil {
		items = []RuleHits{}
	}
	return &RuleList{APIVersion: APIVersion, Kind: "RuleList", Items: items}
}

// RuleKey names a rule of a policy, or the end of its tier.
type RuleKey struct {
	Policy    model.Ref       `json:"policy"`
	Tier      string          `json:"tier"`
	Direction model.Direction `json:"direction"`
	Rule      model.RuleIndex `json:"rule"`
}

// RuleHits is how often a rule has decided.
type RuleHits struct {
	RuleKey `json:",inline"`
	// Packets are first packets of connections that the rule decided, and for a rule of
	// an audited policy those that it would have decided.
	Packets uint64 `json:"packets"`
	// LastHit is when the last was seen, as exact as the window; nil: none was.
	LastHit *time.Time `json:"lastHit,omitempty"`
}
