package v1alpha1

// GuardMode controls the treatment of packets that a guard detects.
type GuardMode string

const (
	// GuardAuto means Enforce in a new installation, and Count in one that was upgraded
	// from a version without guards. The meaning is recorded in status.guards.
	GuardAuto GuardMode = "Auto"
	// GuardEnforce drops the packets and counts them.
	GuardEnforce GuardMode = "Enforce"
	// GuardCount counts the packets and lets them pass.
	GuardCount GuardMode = "Count"
	// GuardOff neither drops nor counts.
	GuardOff GuardMode = "Off"
)

// MaxReportedGuards is how many guards a NodeReport lists.
const MaxReportedGuards = 16

// ReportedGuard is the state of a guard on a node.
type ReportedGuard struct {
	// Mode in force on the node: Enforce, Count or Off.
	// +required
	// +kubebuilder:validation:Enum=Enforce;Count;Off
	Mode GuardMode `json:"mode"`
	// Dropped packets since the counters were reset.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Dropped int64 `json:"dropped,omitempty"`
	// Counted packets since the counters were reset: those that passed and that Enforce
	// would have dropped.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Counted int64 `json:"counted,omitempty"`
}
