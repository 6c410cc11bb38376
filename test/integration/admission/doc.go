// Package admission tests against a real API server what becomes of good and bad
// objects: the rules of the CustomResourceDefinitions, the manager's webhook with
// its certificate, and what happens without it.
//
// The manager's part runs with the permissions of config/rbac and no others.
package admission
