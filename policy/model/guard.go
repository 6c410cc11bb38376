package model

// GuardName names one of the Guards in counters, metrics and reports.
type GuardName string

// The names. Discovery belongs to the setting of Link.
const (
	GuardSource        GuardName = "source"
	GuardLink          GuardName = "link"
	GuardDiscovery     GuardName = "discovery"
	GuardEncapsulation GuardName = "encapsulation"
	GuardWildcard      GuardName = "wildcard"
)
