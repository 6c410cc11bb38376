package operator

import (
	"github.com/tierwall/tierwall/api/v1alpha1"
)

const (
	// DefaultNamespace is where the manager and the agents run.
	DefaultNamespace = "tierwall-system"
	// ManagerName is the name of the manager's Deployment and ServiceAccount.
	ManagerName = "tierwall-manager"
	// ManagerContainer is the name of the manager's container.
	ManagerContainer = "manager"
	// AgentName is the name of every object that the agents need: DaemonSet,
	// ServiceAccount, ClusterRole, ClusterRoleBinding and Service.
	AgentName = "tierwall-agent"
	// AgentContainer is the name of the agent's container.
	AgentContainer = "agent"
	// FieldOwner owns the fields that the operator applies.
	FieldOwner = "tierwall-operator"
	// Finalizer keeps a Tierwall object until the agents are gone.
	Finalizer = v1alpha1.GroupName + "/agents"
	// DefaultMetricsPort is where agents serve metrics if the Tierwall object does not say.
	DefaultMetricsPort = 9477

	labelName      = "app.kubernetes.io/name"
	labelComponent = "app.kubernetes.io/component"
	labelPartOf    = "app.kubernetes.io/part-of"
	labelManagedBy = "app.kubernetes.io/managed-by"
	// modeLabel on the agents' pods names their task.
	modeLabel = v1alpha1.GroupName + "/mode"
	// startsAloneAnnotation is on the agents' pods: a container runtime that is
	// configured to start nothing without an agent can be configured to exempt pods
	// with it.
	startsAloneAnnotation = v1alpha1.GroupName + "/start-without-agent"
	// appliedAnnotation holds a hash of what was applied.
	appliedAnnotation = v1alpha1.GroupName + "/applied"
)

// The values of modeLabel.
const (
	modeEnforce = "enforce"
	modeCleanup = "cleanup"
)

// AgentSelector returns what the DaemonSet and the Service select. It must never
// change: a DaemonSet's selector is immutable.
func AgentSelector() map[string]string {
	return map[string]string{labelName: "tierwall", labelComponent: "agent"}
}

// ownLabels are on every object that the operator applies.
func ownLabels() map[string]string {
	l := AgentSelector()
	l[labelPartOf] = "tierwall"
	l[labelManagedBy] = FieldOwner
	return l
}
