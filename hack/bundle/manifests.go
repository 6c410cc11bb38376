package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"
)

// manager is the name of the manager's Deployment, ServiceAccount and roles.
const manager = "tierwall-manager"

// parts are the manifests, sorted by what becomes of them.
type parts struct {
	deployment        *unstructured.Unstructured
	clusterRole, role *unstructured.Unstructured
	definitions       []*unstructured.Unstructured
	files             map[string]any // objects that OLM applies, by file
}

// sortOut reads manifests. A kind that it does not know is an error, so that
// nothing is left out by accident.
func sortOut(text []byte) (*parts, error) {
	p := &parts{files: map[string]any{}}
	for r := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(text))); ; {
		document, err := r.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		u := &unstructured.Unstructured{}
		if err := yaml.Unmarshal(document, &u.Object); err != nil {
			return nil, err
		}
		if err := p.add(u); err != nil {
			return nil, err
		}
	}
	if p.deployment == nil || p.clusterRole == nil || p.role == nil || len(p.definitions) == 0 {
		return nil, errors.New("the manifests lack the manager's Deployment, ClusterRole or Role, or the CustomResourceDefinitions")
	}
	return p, nil
}

func (p *parts) add(u *unstructured.Unstructured) error {
	ours := u.GetName() == manager
	switch kind := u.GetKind(); {
	case kind == "Deployment" && ours:
		p.deployment = u
	case kind == "ClusterRole" && ours:
		p.clusterRole = u
	case kind == "Role" && ours:
		p.role = u
	case (kind == "ServiceAccount" || kind == "ClusterRoleBinding" || kind == "RoleBinding") && ours:
		// OLM makes these from the permissions.
	case kind == "Namespace", kind == "ResourceQuota":
		// Whoever installs the operator makes the namespace; OLM applies no quota.
	case kind == "ValidatingAdmissionPolicy", kind == "ValidatingAdmissionPolicyBinding":
		// OLM applies none of these; an administrator does (docs/install.md).
	case kind == "ValidatingWebhookConfiguration":
		// OLM applies none of these; the manager does (controllers/admission).
	case kind == "CustomResourceDefinition":
		p.definitions = append(p.definitions, u)
		p.file(u)
	case kind == "ClusterRole", kind == "Service", kind == "PodDisruptionBudget":
		p.file(u)
	default:
		return fmt.Errorf("%s/%s: it is not known what OLM does with it", kind, u.GetName())
	}
	return nil
}

// file has OLM apply an object, in the namespace of the operator.
func (p *parts) file(u *unstructured.Unstructured) {
	unstructured.RemoveNestedField(u.Object, "metadata", "namespace")
	name := u.GetName() + "_" + strings.ToLower(u.GetKind()) + ".yaml"
	if u.GetKind() == "CustomResourceDefinition" {
		plural, group, _ := strings.Cut(u.GetName(), ".")
		name = group + "_" + plural + ".yaml"
	}
	p.files[name] = u.Object
}
