// Package install holds the tests of what is installed: the manifests of config,
// the permissions in them, the Dockerfile. Render is for these and for
// the integration tests, which apply the manifests to a real API server.
package install
