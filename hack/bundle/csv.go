package main

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"sort"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
)

// base is what base.yaml holds.
type base struct {
	Annotations map[string]string `json:"annotations"`
	Spec        map[string]any    `json:"spec"`
	Kinds       map[string]struct {
		DisplayName       string         `json:"displayName"`
		Description       string         `json:"description"`
		Resources         []any          `json:"resources"`
		SpecDescriptors   []descriptor   `json:"specDescriptors"`
		StatusDescriptors []descriptor   `json:"statusDescriptors"`
		Example           map[string]any `json:"example"`
	} `json:"kinds"`
}

// descriptor says how a field is shown.
type descriptor struct {
	Path         string   `json:"path"`
	DisplayName  string   `json:"displayName"`
	Description  string   `json:"description,omitempty"`
	XDescriptors []string `json:"x-descriptors,omitempty"`
}

// clusterServiceVersion makes the object that OLM installs from, and the version.
func clusterServiceVersion(p *parts, b *base) (csv map[string]any, version string, err error) {
	var d appsv1.Deployment
	if err := decode(p.deployment, &d); err != nil {
		return nil, "", err
	}
	image := d.Spec.Template.Spec.Containers[0].Image
	_, tag, _ := strings.Cut(image, ":v")
	if tag == "" {
		return nil, "", fmt.Errorf("image %s: want a tag v1.2.3", image)
	}
	strategy, err := installStrategy(p, &d, image)
	if err != nil {
		return nil, "", err
	}
	owned, examples, err := kinds(p, b)
	if err != nil {
		return nil, "", err
	}
	annotations := map[string]any{"alm-examples": examples, "containerImage": image}
	for k, v := range b.Annotations {
		annotations[k] = v
	}
	template, err := namespaceTemplate()
	if err != nil {
		return nil, "", err
	}
	annotations["operatorframework.io/suggested-namespace-template"] = template
	spec := b.Spec
	spec["version"] = tag
	spec["install"] = map[string]any{"strategy": "deployment", "spec": strategy}
	spec["customresourcedefinitions"] = map[string]any{"owned": owned}
	spec["relatedImages"] = []any{map[string]any{"name": "tierwall", "image": image}}
	spec["icon"] = []any{map[string]any{"base64data": base64.StdEncoding.EncodeToString(icon), "mediatype": "image/svg+xml"}}
	return map[string]any{
		"apiVersion": "operators.coreos.com/v1alpha1",
		"kind":       "ClusterServiceVersion",
		"metadata": map[string]any{
			"name": "tierwall.v" + tag, "namespace": "placeholder", "annotations": annotations,
			"labels": map[string]any{
				"operatorframework.io/arch.amd64": "supported", "operatorframework.io/arch.arm64": "supported", "operatorframework.io/os.linux": "supported",
			},
		},
		"spec": spec,
	}, tag, nil
}

// namespaceTemplate is the namespace that OpenShift's console makes.
func namespaceTemplate() (string, error) {
	text, err := json.Marshal(map[string]any{
		"kind": "Namespace", "apiVersion": "v1",
		"metadata": map[string]any{"name": "tierwall-system", "labels": map[string]string{
			"pod-security.kubernetes.io/enforce": "privileged", "pod-security.kubernetes.io/audit": "privileged", "pod-security.kubernetes.io/warn": "privileged",
		}},
	})
	return string(text), err
}

// installStrategy is the manager as OLM runs it.
func installStrategy(p *parts, d *appsv1.Deployment, image string) (map[string]any, error) {
	var cluster rbacv1.ClusterRole
	var local rbacv1.Role
	if err := errors.Join(decode(p.clusterRole, &cluster), decode(p.role, &local)); err != nil {
		return nil, err
	}
	c := &d.Spec.Template.Spec.Containers[0]
	c.Env = append(c.Env, corev1.EnvVar{Name: "RELATED_IMAGE_TIERWALL", Value: image})
	spec, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&d.Spec)
	if err != nil {
		return nil, err
	}
	unstructured.RemoveNestedField(spec, "template", "metadata", "creationTimestamp")
	account := d.Spec.Template.Spec.ServiceAccountName
	return map[string]any{
		"clusterPermissions": []any{map[string]any{"serviceAccountName": account, "rules": cluster.Rules}},
		"permissions":        []any{map[string]any{"serviceAccountName": account, "rules": local.Rules}},
		"deployments":        []any{map[string]any{"name": d.Name, "label": d.Labels, "spec": spec}},
	}, nil
}

// kinds describes what the CustomResourceDefinitions define, and gives examples.
// Every definition must be described, and nothing else.
func kinds(p *parts, b *base) (owned []any, examples string, err error) {
	sort.Slice(p.definitions, func(i, j int) bool { return p.definitions[i].GetName() < p.definitions[j].GetName() })
	var all []any
	for _, u := range p.definitions {
		kind, _, _ := unstructured.NestedString(u.Object, "spec", "names", "kind")
		group, _, _ := unstructured.NestedString(u.Object, "spec", "group")
		versions, _, _ := unstructured.NestedSlice(u.Object, "spec", "versions")
		text, known := b.Kinds[kind]
		if !known {
			return nil, "", fmt.Errorf("base.yaml: nothing is said about kind %s", kind)
		}
		for _, v := range versions {
			v, ok := v.(map[string]any)
			if !ok || v["served"] != true {
				continue
			}
			version, _ := v["name"].(string)
			o := map[string]any{
				"name": u.GetName(), "kind": kind, "version": version, "displayName": text.DisplayName, "description": text.Description,
			}
			if len(text.Resources) > 0 {
				o["resources"] = text.Resources
			}
			for field, list := range map[string][]descriptor{"spec": text.SpecDescriptors, "status": text.StatusDescriptors} {
				if err := describe(v, field, list); err != nil {
					return nil, "", fmt.Errorf("base.yaml: kind %s: %w", kind, err)
				}
				if len(list) > 0 {
					o[field+"Descriptors"] = list
				}
			}
			owned = append(owned, o)
			text.Example["apiVersion"], text.Example["kind"] = group+"/"+version, kind
			all = append(all, text.Example)
		}
		delete(b.Kinds, kind)
	}
	for kind := range b.Kinds {
		return nil, "", fmt.Errorf("base.yaml: kind %s: there is no such CustomResourceDefinition", kind)
	}
	data, err := json.MarshalIndent(all, "", "  ")
	return owned, string(data), err
}

// describe fills in descriptions from the schema of a version. A path that is not
// in the schema is an error.
func describe(version map[string]any, field string, list []descriptor) error {
	for i := range list {
		path := []string{"schema", "openAPIV3Schema", "properties", field}
		for _, name := range strings.Split(list[i].Path, ".") {
			path = append(path, "properties", name)
		}
		node, found, err := unstructured.NestedMap(version, path...)
		if err != nil || !found {
			return fmt.Errorf("%s.%s: no such field", field, list[i].Path)
		}
		text, _ := node["description"].(string)
		list[i].Description = strings.Join(strings.Fields(text), " ")
	}
	return nil
}

func decode(u *unstructured.Unstructured, into any) error {
	if err := runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(u.Object, into, true); err != nil {
		return fmt.Errorf("%s/%s: %w", u.GetKind(), u.GetName(), err)
	}
	return nil
}
