// Package operator installs Tierwall's agents and keeps them installed.
//
// It follows one object, Tierwall "default". From it, Desired computes what has
// to be in the cluster: the agents' DaemonSet, ServiceAccount, ClusterRole and
// ClusterRoleBinding, the Service of their metrics, and the built-in tiers. The
// reconciler applies these objects server-side, repairs what others
// has edited or deleted, and reports Available, Progressing and Degraded on the
// Tierwall object. Where there is no Tierwall object it creates one, unless a
// person has deleted it. Before it installs anything, it writes once into the
// status what Auto means for the guards (guards.go): Enforce in a new
// installation, Count in one that is upgraded.
//
// Deleting the Tierwall object removes the agents in order: the DaemonSet's pods
// are replaced by ones that remove the kernel's table and become ready when it is
// gone; when all nodes are clean, or after CleanupTimeout, everything is deleted
// and the Tierwall object goes. The built-in tiers stay: policies may refer to them.
//
// What an agent can read from the Tierwall object by itself is not its business;
// the DaemonSet holds only what takes a restart of the agent. Neither are the
// policies' status, the deletion of tiers and admission: see the folders beside
// this one.
package operator
