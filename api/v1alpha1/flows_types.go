package v1alpha1

// FlowsMode controls whether flows are recorded.
// +kubebuilder:validation:Enum=Auto;On;Off
type FlowsMode string

const (
	// FlowsAuto leaves it to Tierwall's version.
	FlowsAuto FlowsMode = "Auto"
	// FlowsOn records flows.
	FlowsOn FlowsMode = "On"
	// FlowsOff records none.
	FlowsOff FlowsMode = "Off"
)

// FlowsSpec is how connections are recorded, kept and exported. It bears on no verdict.
type FlowsSpec struct {
	// Enabled: On has the agents record connections and the manager keep them; Off costs
	// nothing. Auto (default) means Off in this version.
	// +optional
	// +kubebuilder:default=Auto
	Enabled FlowsMode `json:"enabled,omitempty"`
	// Accounting has an init container of the agents set net.netfilter.nf_conntrack_acct
	// to 1 on their nodes. Without it the kernel counts no bytes and packets unless the
	// nodes' own configuration says so. The init container is privileged: /proc/sys is
	// read-only for others. Default false.
	// +optional
	Accounting bool `json:"accounting,omitempty"`
	// History is what the manager keeps.
	// +optional
	// +kubebuilder:default={}
	History FlowsHistory `json:"history,omitempty,omitzero"`
	// Exports are where records are sent as they are made.
	// +optional
	Exports FlowsExports `json:"exports,omitempty,omitzero"`
}

// FlowsHistory is what the manager keeps of flows: an hour in windows of 15 seconds and
// a day in windows of 5 minutes in memory, and what is older in a database.
// +kubebuilder:validation:XValidation:rule="!has(self.hours) || self.hours <= 24 || (has(self.path) && size(self.path) > 0)",message="hours above 24 need path"
type FlowsHistory struct {
	// Hours is how long records are kept, 1–8,760; default 24. More than 24 needs path.
	// +optional
	// +kubebuilder:default=24
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=8760
	Hours *int32 `json:"hours,omitempty"`
	// Path is a folder in the manager's container where it keeps a database of windows of
	// 5 minutes. What is mounted there decides how long it lasts: an emptyDir as long as the
	// manager's pod, a PersistentVolumeClaim longer. Empty (default): records are kept in
	// memory alone, and are lost when the manager restarts.
	// +optional
	// +kubebuilder:validation:MaxLength=256
	// +kubebuilder:validation:Pattern=`^(/[A-Za-z0-9._-]+)+$`
	Path string `json:"path,omitempty"`
	// MaxMebibytes bounds the database, 16–1,048,576; default 1024. The oldest records are
	// deleted first.
	// +optional
	// +kubebuilder:default=1024
	// +kubebuilder:validation:Minimum=16
	// +kubebuilder:validation:Maximum=1048576
	MaxMebibytes *int32 `json:"maxMebibytes,omitempty"`
}

// FlowsExports are where records are sent as they are made.
type FlowsExports struct {
	// Stdout has each agent write the records of its node on its standard output, as JSON
	// lines; default false.
	// +optional
	Stdout bool `json:"stdout,omitempty"`
	// OTLP sends the records of all nodes from the manager to an OpenTelemetry collector,
	// as logs. Unset: none are sent.
	// +optional
	OTLP *FlowsOTLP `json:"otlp,omitempty"`
}

// FlowsOTLP is an OpenTelemetry collector that takes logs by OTLP over HTTP.
type FlowsOTLP struct {
	// Endpoint is the collector's URL, such as http://collector.observability:4318; the
	// path is /v1/logs unless the URL has one. With https, its certificate must be signed
	// by an authority of the manager's image or of caBundle.
	// +required
	// +kubebuilder:validation:MaxLength=512
	// +kubebuilder:validation:XValidation:rule="isURL(self) && url(self).getScheme() in ['http', 'https'] && url(self).getHost() != ''",message="must be a URL with scheme http or https and a host, such as http://collector.observability:4318"
	Endpoint string `json:"endpoint"`
	// CABundle are PEM certificates of the authorities that the collector's certificate
	// may be signed by, instead of those of the manager's image.
	// +optional
	// +kubebuilder:validation:MaxLength=262144
	CABundle string `json:"caBundle,omitempty"`
}
