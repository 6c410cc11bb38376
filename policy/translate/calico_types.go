package translate

import (
	"encoding/json"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/tierwall/tierwall/api/v1alpha1"
)

// The kinds below are Calico's, of both groups: their fields are the same. The
// rules are of Tierwall's own type, whose fields follow Calico's.

type calicoTier struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`

	Spec   v1alpha1.TierSpec `json:"spec"`
	Status any               `json:"status,omitempty"`
}

// calicoPolicySpec is what all of Calico's own policy kinds have.
type calicoPolicySpec struct {
	Tier                   string                `json:"tier,omitempty"`
	Order                  *float64              `json:"order,omitempty"`
	Ingress                []v1alpha1.Rule       `json:"ingress,omitempty"`
	Egress                 []v1alpha1.Rule       `json:"egress,omitempty"`
	Selector               string                `json:"selector,omitempty"`
	Types                  []v1alpha1.PolicyType `json:"types,omitempty"`
	ServiceAccountSelector string                `json:"serviceAccountSelector,omitempty"`
	PerformanceHints       []string              `json:"performanceHints,omitempty"`
}

// calicoGlobalSpec are the additional fields of the global kinds.
type calicoGlobalSpec struct {
	NamespaceSelector string `json:"namespaceSelector,omitempty"`
	DoNotTrack        bool   `json:"doNotTrack,omitempty"`
	PreDNAT           bool   `json:"preDNAT,omitempty"`
	ApplyOnForward    bool   `json:"applyOnForward,omitempty"`
}

// calicoStagedSpec are the additional fields of the staged kinds.
type calicoStagedSpec struct {
	StagedAction string `json:"stagedAction,omitempty"`
}

type calicoGlobalNetworkPolicy struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`

	Spec struct {
		calicoPolicySpec `json:",inline"`
		calicoGlobalSpec `json:",inline"`
	} `json:"spec"`
	Status any `json:"status,omitempty"`
}

type calicoNetworkPolicy struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`

	Spec struct {
		calicoPolicySpec `json:",inline"`
	} `json:"spec"`
	Status any `json:"status,omitempty"`
}

type calicoStagedGlobalNetworkPolicy struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`

	Spec struct {
		calicoPolicySpec `json:",inline"`
		calicoGlobalSpec `json:",inline"`
		calicoStagedSpec `json:",inline"`
	} `json:"spec"`
	Status any `json:"status,omitempty"`
}

type calicoStagedNetworkPolicy struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`

	Spec struct {
		calicoPolicySpec `json:",inline"`
		calicoStagedSpec `json:",inline"`
	} `json:"spec"`
	Status any `json:"status,omitempty"`
}

type calicoStagedKubernetesNetworkPolicy struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`

	Spec struct {
		networkingv1.NetworkPolicySpec `json:",inline"`
		calicoStagedSpec               `json:",inline"`
	} `json:"spec"`
	Status any `json:"status,omitempty"`
}

type calicoGlobalNetworkSet struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`

	Spec   v1alpha1.NetworkSetSpec `json:"spec"`
	Status any                     `json:"status,omitempty"`
}

type calicoNetworkSet struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`

	Spec   v1alpha1.NetworkSetSpec `json:"spec"`
	Status any                     `json:"status,omitempty"`
}

type calicoHostEndpoint struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`

	Spec struct {
		Node          string                  `json:"node,omitempty"`
		InterfaceName string                  `json:"interfaceName,omitempty"`
		ExpectedIPs   []string                `json:"expectedIPs,omitempty"`
		Profiles      []string                `json:"profiles,omitempty"`
		Ports         []v1alpha1.EndpointPort `json:"ports,omitempty"`
	} `json:"spec"`
	Status any `json:"status,omitempty"`
}

type calicoProfile struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`

	Spec struct {
		Ingress       []v1alpha1.Rule   `json:"ingress,omitempty"`
		Egress        []v1alpha1.Rule   `json:"egress,omitempty"`
		LabelsToApply map[string]string `json:"labelsToApply,omitempty"`
	} `json:"spec"`
	Status any `json:"status,omitempty"`
}

// calicoFelixConfiguration keeps its hundred-odd fields raw: three of them have
// an equivalent, the rest is named in notes.
type calicoFelixConfiguration struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`

	Spec   map[string]json.RawMessage `json:"spec"`
	Status any                        `json:"status,omitempty"`
}

// calicoProtoPort is one failsafe port.
type calicoProtoPort struct {
	Protocol intstr.IntOrString `json:"protocol,omitempty"`
	Port     int32              `json:"port"`
	Net      string             `json:"net,omitempty"`
}

type calicoKubeControllersConfiguration struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`

	Spec struct {
		LogSeverityScreen      string `json:"logSeverityScreen,omitempty"`
		HealthChecks           string `json:"healthChecks,omitempty"`
		EtcdV3CompactionPeriod any    `json:"etcdV3CompactionPeriod,omitempty"`
		PrometheusMetricsPort  any    `json:"prometheusMetricsPort,omitempty"`
		DebugProfilePort       any    `json:"debugProfilePort,omitempty"`
		Controllers            struct {
			Node             *calicoNodeController `json:"node,omitempty"`
			Policy           any                   `json:"policy,omitempty"`
			WorkloadEndpoint any                   `json:"workloadEndpoint,omitempty"`
			ServiceAccount   any                   `json:"serviceAccount,omitempty"`
			Namespace        any                   `json:"namespace,omitempty"`
			LoadBalancer     any                   `json:"loadBalancer,omitempty"`
			PolicyMigration  any                   `json:"policyMigration,omitempty"`
		} `json:"controllers"`
	} `json:"spec"`
	Status any `json:"status,omitempty"`
}

type calicoNodeController struct {
	ReconcilerPeriod any                      `json:"reconcilerPeriod,omitempty"`
	SyncLabels       string                   `json:"syncLabels,omitempty"`
	HostEndpoint     *calicoAutoHostEndpoints `json:"hostEndpoint,omitempty"`
	LeakGracePeriod  any                      `json:"leakGracePeriod,omitempty"`
}

type calicoAutoHostEndpoints struct {
	AutoCreate                string `json:"autoCreate,omitempty"`
	CreateDefaultHostEndpoint string `json:"createDefaultHostEndpoint,omitempty"`
	Templates                 []any  `json:"templates,omitempty"`
}

// calicoKinds are Calico's kinds, of both groups.
var calicoKinds = map[string]func() foreign{
	"Tier":                          func() foreign { return &calicoTier{} },
	"GlobalNetworkPolicy":           func() foreign { return &calicoGlobalNetworkPolicy{} },
	"NetworkPolicy":                 func() foreign { return &calicoNetworkPolicy{} },
	"StagedGlobalNetworkPolicy":     func() foreign { return &calicoStagedGlobalNetworkPolicy{} },
	"StagedNetworkPolicy":           func() foreign { return &calicoStagedNetworkPolicy{} },
	"StagedKubernetesNetworkPolicy": func() foreign { return &calicoStagedKubernetesNetworkPolicy{} },
	"GlobalNetworkSet":              func() foreign { return &calicoGlobalNetworkSet{} },
	"NetworkSet":                    func() foreign { return &calicoNetworkSet{} },
	"HostEndpoint":                  func() foreign { return &calicoHostEndpoint{} },
	"Profile":                       func() foreign { return &calicoProfile{} },
	"FelixConfiguration":            func() foreign { return &calicoFelixConfiguration{} },
	"KubeControllersConfiguration":  func() foreign { return &calicoKubeControllersConfiguration{} },
}

func (o *calicoTier) meta() (*metav1.TypeMeta, *metav1.ObjectMeta) {
	return &o.TypeMeta, &o.ObjectMeta
}
func (o *calicoGlobalNetworkPolicy) meta() (*metav1.TypeMeta, *metav1.ObjectMeta) {
	return &o.TypeMeta, &o.ObjectMeta
}
func (o *calicoNetworkPolicy) meta() (*metav1.TypeMeta, *metav1.ObjectMeta) {
	return &o.TypeMeta, &o.ObjectMeta
}
func (o *calicoStagedGlobalNetworkPolicy) meta() (*metav1.TypeMeta, *metav1.ObjectMeta) {
	return &o.TypeMeta, &o.ObjectMeta
}
func (o *calicoStagedNetworkPolicy) meta() (*metav1.TypeMeta, *metav1.ObjectMeta) {
	return &o.TypeMeta, &o.ObjectMeta
}
func (o *calicoStagedKubernetesNetworkPolicy) meta() (*metav1.TypeMeta, *metav1.ObjectMeta) {
	return &o.TypeMeta, &o.ObjectMeta
}
func (o *calicoGlobalNetworkSet) meta() (*metav1.TypeMeta, *metav1.ObjectMeta) {
	return &o.TypeMeta, &o.ObjectMeta
}
func (o *calicoNetworkSet) meta() (*metav1.TypeMeta, *metav1.ObjectMeta) {
	return &o.TypeMeta, &o.ObjectMeta
}
func (o *calicoHostEndpoint) meta() (*metav1.TypeMeta, *metav1.ObjectMeta) {
	return &o.TypeMeta, &o.ObjectMeta
}
func (o *calicoProfile) meta() (*metav1.TypeMeta, *metav1.ObjectMeta) {
	return &o.TypeMeta, &o.ObjectMeta
}
func (o *calicoFelixConfiguration) meta() (*metav1.TypeMeta, *metav1.ObjectMeta) {
	return &o.TypeMeta, &o.ObjectMeta
}
func (o *calicoKubeControllersConfiguration) meta() (*metav1.TypeMeta, *metav1.ObjectMeta) {
	return &o.TypeMeta, &o.ObjectMeta
}
