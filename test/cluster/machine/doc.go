// Package machine makes a machine out of an init process: this very program,
// run again as process 1 of its own process, mount, network, host name and IPC
// namespaces. It knows nothing of Kubernetes.
//
// What a machine has of its own: its processes and their /proc, its network
// with its sysctls, its host name, an empty /run, and a disk (a folder of the
// host) that takes all that is written below the folders named in [Spec].
// Sysctls that the kernel has once for all machines can be covered by plain
// files, so that a program inside reads and writes what it likes while those
// of the host stay. All else (programs, /usr, /tmp, devices) is the host's.
//
// Its end. Process 1 takes everything with it: processes, mounts, network and
// kernel tables. [Machine.Kill] is thus a power cut, and only the disk stays.
// The caller is not needed: a machine goes on when the program that made it
// ends, and [Open] finds it again.
//
// What it is not: a container with its own root file system, or a boundary
// against programs inside that mean harm; they are root on the host's kernel.
package machine
