// Package operator holds the tests of the operator, and of what is installed,
// against a real API server. The manager runs with the permissions of config/rbac
// and no others.
package operator
