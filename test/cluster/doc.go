// Package cluster makes a real Kubernetes cluster on one Linux machine: a
// kube-apiserver with etcd, controller manager and scheduler on the machine
// "cp", and nodes "n1" to "n9" with containerd, kubelet and kube-proxy. Pods
// are real containers, packets pass real kernels' tables, and the programs are
// those of a release, built from their modules.
//
// Each machine is an init process in namespaces of its own (package machine):
// nothing on the host is changed, several clusters can be up at once, and a
// machine can lose its power. A bridge on cp joins them:
//
//	cp 10.200.0.1 ── n1 10.200.0.11 ── pods 10.210.1.0/24
//	              ├─ n2 10.200.0.12 ── pods 10.210.2.0/24
//	              └─ …                 Services 10.96.0.0/16
//
// and, with DualStack, fd00:200::1, fd00:200::11, fd00:210:1::/64 and
// fd00:96::/112. These networks are inside the cluster alone. To reach it, a
// program runs inside ([Cluster.Command]), enters cp's network ([Reexec]) or
// uses a client that dials from there ([Cluster.Config]).
//
// What it has not: DNS, an ingress, storage, more than one API server, a
// registry. Images come as archives ([Cluster.LoadImage]), and pods should ask
// for them with imagePullPolicy IfNotPresent.
//
// Needed: root, Go, Debian's packages containerd, runc,
// containernetworking-plugins, iptables, conntrack, bash-static and
// busybox-static, and overlayfs below Options.Dir.
package cluster
