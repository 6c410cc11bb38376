// Package status tests the status of policies on a real API server: the manager's
// controller as it is, and agents of which only the reporter is real. The tests
// say what each agent would say.
package status
