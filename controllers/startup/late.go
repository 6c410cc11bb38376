package startup

import "fmt"

// Late says what the policy of a new pod was waited for in vain.
type Late struct {
	Pod string // namespace/name
	// What is missing: Pod, Kernel or Announcement.
	What Missing
	Err  error
}

// Missing is what a pod's start has waited for in vain.
type Missing string

const (
	// MissingPod says that the API server has not told of the pod.
	MissingPod Missing = "pod"
	// MissingKernel says that this node's kernel does not hold its policy.
	MissingKernel Missing = "kernel"
	// MissingAnnouncement says that this node's kernel holds it, and those of others may not.
	MissingAnnouncement Missing = "announcement"
)

// Error implements error.
func (l *Late) Error() string {
	switch l.What {
	case MissingPod:
		return fmt.Sprintf("Pod/%s: the API server has not told this agent of it: %v", l.Pod, l.Err)
	case MissingKernel:
		return fmt.Sprintf("Pod/%s: the kernel does not hold its policy: %v", l.Pod, l.Err)
	}
	return fmt.Sprintf("Pod/%s: other nodes are not told of its addresses: %v", l.Pod, l.Err)
}

// Unwrap returns the cause.
func (l *Late) Unwrap() error { return l.Err }
