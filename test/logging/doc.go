// Package logging tests Log rules from end to end: agents on the nodes of a lab,
// real packets, and the lines and metrics that come of them.
package logging
