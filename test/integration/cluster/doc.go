// Package cluster tests what reads a cluster, against a real API server: the
// agent's source (controllers/cluster), the agent on top of it, and the
// people's commands that read a live cluster.
package cluster
