// Package operator installs Tierwall's agents and keeps them installed.
//
// It follows one object, Tierwall "default". From it, Desired computes the objects that
// should exist in the cluster: the agents' DaemonSet, ServiceAccount, ClusterRole and
// ClusterRoleBinding, the Service of their metrics, and the built-in tiers. The
// reconciler applies these objects server-side, restores those that were edited or
// deleted by others, and reports Available, Progressing and Degraded on the Tierwall
// object. If there is no Tierwall object, it creates one, unless a user has deleted it.
// Before it installs anything, it writes once into the status what Auto means for the
// guards (guards.go): Enforce in a new installation, Count in one that is upgraded.
//
// Deleting the Tierwall object removes the agents in order: the DaemonSet's pods are
// replaced by ones that remove the kernel's table and become ready when it is gone;
// when all nodes are clean, or after CleanupTimeout, everything is deleted and the
// Tierwall object goes. The built-in tiers stay: policies may refer to them.
//
// Settings that an agent reads from the Tierwall object by itself are not handled here;
// the DaemonSet contains only those that take a restart of the agent. The policies'
// status, the deletion of tiers and admission are handled by other packages in
// controllers.
package operator
