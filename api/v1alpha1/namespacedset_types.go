package v1alpha1

// NamespacedSets is in which rules of global policies the NetworkSets of namespaces
// count.
type NamespacedSets string

const (
	// NamespacedSetsAuto is Selected in a new installation. Where an installed Tierwall
	// has been upgraded from a version without the setting it is Everywhere:
	// status.namespacedSets has it.
	NamespacedSetsAuto NamespacedSets = "Auto"
	// NamespacedSetsSelected has them count where a rule has a namespaceSelector on the
	// same side that matches their namespace.
	NamespacedSetsSelected NamespacedSets = "Selected"
	// NamespacedSetsEverywhere has them count also where a rule has a selector or
	// notSelector and no namespaceSelector. Editors of any namespace then decide which
	// addresses such a rule means.
	NamespacedSetsEverywhere NamespacedSets = "Everywhere"
)
