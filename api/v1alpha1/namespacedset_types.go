package v1alpha1

// NamespacedSets controls which rules of global policies count the NetworkSets of
// namespaces.
type NamespacedSets string

const (
	// NamespacedSetsAuto means Selected in a new installation, and Everywhere in one that
	// was upgraded from a version without the setting. The meaning is recorded in
	// status.namespacedSets.
	NamespacedSetsAuto NamespacedSets = "Auto"
	// NamespacedSetsSelected counts them if a rule has a namespaceSelector on the same
	// side that matches their namespace.
	NamespacedSetsSelected NamespacedSets = "Selected"
	// NamespacedSetsEverywhere also counts them if a rule has a selector or notSelector
	// and no namespaceSelector. Editors of any namespace then decide which addresses such
	// a rule matches.
	NamespacedSetsEverywhere NamespacedSets = "Everywhere"
)
