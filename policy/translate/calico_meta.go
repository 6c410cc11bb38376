package translate

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/tierwall/tierwall/api/builtin"
	"github.com/tierwall/tierwall/api/v1alpha1"
)

const (
	calicoGroup    = "projectcalico.org"
	calicoCRDGroup = "crd.projectcalico.org"
	// calicoMetadata is the annotation in which the crd spelling keeps labels,
	// annotations and the name of the v3 object, as JSON.
	calicoMetadata = "projectcalico.org/metadata"
	// lastApplied is kubectl's copy of the whole foreign object.
	lastApplied = "kubectl.kubernetes.io/last-applied-configuration"
)

// cleanMeta returns what a new object keeps of a foreign one's metadata: name,
// namespace, labels and annotations. In the crd spelling it undoes the packing
// of the v3 metadata into an annotation.
func (t *translation) cleanMeta(tm *metav1.TypeMeta, om *metav1.ObjectMeta) (metav1.ObjectMeta, error) {
	out := metav1.ObjectMeta{
		Name:         om.Name,
		GenerateName: om.GenerateName,
		Namespace:    om.Namespace,
		Labels:       maps.Clone(om.Labels),
		Annotations:  maps.Clone(om.Annotations),
	}
	packed, err := packedMeta(tm, om)
	if err != nil {
		return out, err
	}
	out.Labels = merged(out.Labels, packed.Labels)
	out.Annotations = merged(out.Annotations, packed.Annotations)
	out.Name = cmp.Or(packed.Name, out.Name)
	if out.Name != "" {
		out.GenerateName = "" // it has done its work
	}
	delete(out.Annotations, calicoMetadata)
	delete(out.Annotations, lastApplied)
	if len(out.Labels) == 0 {
		out.Labels = nil
	}
	if len(out.Annotations) == 0 {
		out.Annotations = nil
	}
	if len(om.OwnerReferences) > 0 {
		t.explain("metadata.ownerReferences", "left out: the translated object has no owner and is not deleted with it")
	}
	if len(om.Finalizers) > 0 {
		t.explain("metadata.finalizers", "left out")
	}
	return out, nil
}

// packedMeta is what the annotation of the crd spelling keeps of the v3 metadata; the
// zero value for objects without it.
func packedMeta(tm *metav1.TypeMeta, om *metav1.ObjectMeta) (m metav1.ObjectMeta, err error) {
	text, ok := om.Annotations[calicoMetadata]
	if !ok || tm.GroupVersionKind().Group != calicoCRDGroup {
		return m, nil
	}
	if err := json.Unmarshal([]byte(text), &m); err != nil {
		return m, fmt.Errorf("metadata.annotations[%s]: %w", calicoMetadata, err)
	}
	return m, nil
}

// policyMeta is cleanMeta for policies, whose names stay as people know them, tier and
// all: ties go by name. Old objects of the crd spelling were stored with the default
// tier before the name, whichever their tier, and without the annotation that keeps
// the name. It returns nil for Calico's images of native policies.
func (t *translation) policyMeta(tm *metav1.TypeMeta, om *metav1.ObjectMeta) (*metav1.ObjectMeta, error) {
	if kind, name := syncedKind(om.Name); kind != "" {
		t.lose("", "left out: it is Calico's image of a native object; translate or apply %s %s itself", kind, name)
		return nil, nil
	}
	meta, err := t.cleanMeta(tm, om)
	if err != nil {
		return nil, err
	}
	packed, err := packedMeta(tm, om)
	if err == nil && packed.Name == "" && tm.GroupVersionKind().Group == calicoCRDGroup {
		if n, ok := strings.CutPrefix(meta.Name, v1alpha1.DefaultTier+"."); ok && n != "" {
			meta.Name = n
		}
	}
	return &meta, err
}

// merged adds the entries of b to a; a may be nil and is changed.
func merged(a, b map[string]string) map[string]string {
	if a == nil {
		a = map[string]string{}
	}
	maps.Copy(a, b)
	return a
}

// calicoVersion is the spelling that people write.
var calicoVersion = schema.GroupVersion{Group: calicoGroup, Version: "v3"}

// Names that Calico gives to its own copies of native objects.
var calicoSyncedPrefixes = []struct{ prefix, kind string }{
	{"knp.default.", "NetworkPolicy"},
	{"kcnp.kube-admin.", "ClusterNetworkPolicy"},
	{"kcnp.kube-baseline.", "ClusterNetworkPolicy"},
	{"kanp.adminnetworkpolicy.", "AdminNetworkPolicy"},
	{"kbanp.baselineadminnetworkpolicy.", "BaselineAdminNetworkPolicy"},
}

// syncedKind returns the kind of the native object that a policy of this name
// is an image of, and its name; empty for ordinary policies.
func syncedKind(name string) (kind, native string) {
	for _, s := range calicoSyncedPrefixes {
		if n, ok := strings.CutPrefix(name, s.prefix); ok {
			return s.kind, n
		}
	}
	return "", ""
}

// Tiers that every Tierwall cluster has, and Calico's names for them.
var calicoTierNames = map[string]string{
	"":                           v1alpha1.DefaultTier,
	"adminnetworkpolicy":         builtin.KubeAdmin,
	"baselineadminnetworkpolicy": builtin.KubeBaseline,
}

// tierName maps the name of a tier.
func tierName(calico string) string {
	if n, ok := calicoTierNames[calico]; ok {
		return n
	}
	return calico
}
