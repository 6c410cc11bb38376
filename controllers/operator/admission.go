package operator

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"
)

// AdmissionObjects reads the objects of config/admission: those of the files that
// its kustomization lists. What is in DefaultNamespace there is in namespace here.
func AdmissionObjects(files fs.FS, namespace string) ([]client.Object, error) {
	data, err := fs.ReadFile(files, "kustomization.yaml")
	if err != nil {
		return nil, err
	}
	var list struct {
		Resources []string `json:"resources"`
	}
	if err := yaml.Unmarshal(data, &list); err != nil {
		return nil, fmt.Errorf("kustomization.yaml: %w", err)
	}
	var out []client.Object
	for _, file := range list.Resources {
		data, err := fs.ReadFile(files, file)
		if err != nil {
			return nil, err
		}
		if namespace != "" {
			data = bytes.ReplaceAll(data, []byte(DefaultNamespace), []byte(namespace))
		}
		objects, err := decodeAdmission(data)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		out = append(out, objects...)
	}
	return out, nil
}

func decodeAdmission(text []byte) ([]client.Object, error) {
	scheme := runtime.NewScheme()
	if err := admissionv1.AddToScheme(scheme); err != nil {
		return nil, err
	}
	decoder := serializer.NewCodecFactory(scheme, serializer.EnableStrict).UniversalDeserializer()
	var out []client.Object
	for r := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(text))); ; {
		document, err := r.Read()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
		decoded, gvk, err := decoder.Decode(document, nil, nil)
		if err != nil {
			return nil, err
		}
		o, ok := decoded.(client.Object)
		if !ok {
			return nil, fmt.Errorf("%s is no object", gvk)
		}
		o.GetObjectKind().SetGroupVersionKind(*gvk)
		out = append(out, o)
	}
}

// guard applies the objects of admission, whether there is a Tierwall object or
// not: who may write policies does not depend on agents.
func (r *reconciler) guard(ctx context.Context) error {
	var errs []error
	for _, o := range r.admission {
		done, err := r.applier.apply(ctx, o)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		r.tell(ctx, nil, o, done)
	}
	return errors.Join(errs...)
}
