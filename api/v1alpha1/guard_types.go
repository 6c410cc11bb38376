package v1alpha1

// GuardMode is what becomes of packets that a guard finds.
type GuardMode string

const (
	// GuardAuto is Enforce in a new installation. Where an installed Tierwall has
	// been upgraded from a version without guards it is Count: status.guards has it.
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

// ReportedGuard is what a guard does on a node.
type ReportedGuard struct {
	// Mode in force on the node: Enforce, Count or Off.
	// +required
	// +kubebuilder:validation:Enum=Enforce;Count;Off
	Mode GuardMode `json:"mode"`
	// Dropped packets since the counters began.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Dropped int64 `json:"dropped,omitempty"`
	// Counted packets since the counters began: those that passed and that Enforce
	// would have dropped.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Counted int64 `json:"counted,omitempty"`
}
