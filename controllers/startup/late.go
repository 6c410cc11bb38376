package startup

import "fmt"

// Late is the error of a pod that starts before its policy is in force everywhere.
type Late struct {
	Pod string // namespace/name
	// What is missing: Pod, Kernel or Announcement.
	What Missing
	Err  error
}

// Missing is what a pod's start has waited for in vain.
type Missing string

const (
	// MissingPod: the API server has not delivered the pod.
	MissingPod Missing = "pod"
	// MissingKernel: this node's kernel does not hold its policy.
	MissingKernel Missing = "kernel"
	// MissingAnnouncement: this node's kernel holds it, and those of others may not.
	MissingAnnouncement Missing = "announcement"
)

// Error implements error.
func (l *Late) Error() string {
	switch l.What {
	case MissingPod:
		return fmt.Sprintf("Pod/%s: the API server has not delivered it to this agent: %v", l.Pod, l.Err)
	case MissingKernel:
		return fmt.Sprintf("Pod/%s: the kernel does not hold its policy: %v", l.Pod, l.Err)
	}
	return fmt.Sprintf("Pod/%s: other nodes may not know its addresses: %v", l.Pod, l.Err)
}

// Unwrap returns the cause.
func (l *Late) Unwrap() error { return l.Err }
