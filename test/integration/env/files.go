package env

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/kubernetes/scheme"
	policyv1alpha2 "sigs.k8s.io/network-policy-api/apis/v1alpha2"
	"sigs.k8s.io/yaml"

	"github.com/tierwall/tierwall/api/v1alpha1"
)

// Scheme returns a new scheme of the kinds of Kubernetes, of Tierwall, of
// network-policy-api and of CRDs.
func Scheme() *runtime.Scheme {
	s := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		scheme.AddToScheme, v1alpha1.AddToScheme, policyv1alpha2.Install, apiextensionsv1.AddToScheme,
	} {
		utilruntime.Must(add(s))
	}
	return s
}

// Root finds the folder of Tierwall's sources from the working folder of a test.
func Root() (string, error) {
	start, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("finding the working folder: %w", err)
	}
	for dir := start; ; dir = filepath.Dir(dir) {
		data, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if err == nil && bytes.HasPrefix(data, []byte("module github.com/tierwall/tierwall\n")) {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", fmt.Errorf("%s is not in Tierwall's sources", start)
		}
	}
}

// binaries returns the folder of kube-apiserver and etcd.
func binaries(root string) (string, error) {
	script := filepath.Join(root, "hack", "kube.sh")
	var problem strings.Builder
	where := exec.Command(script, "--where")
	where.Stderr = &problem
	out, err := where.Output()
	if err != nil {
		return "", fmt.Errorf("asking %s where kube-apiserver is: %w: %s", script, err, strings.TrimSpace(problem.String()))
	}
	folder := strings.TrimSpace(string(out))
	for _, program := range []string{"kube-apiserver", "etcd"} {
		if _, err := os.Stat(filepath.Join(folder, program)); err != nil {
			return "", fmt.Errorf("integration tests need kube-apiserver and etcd: run hack/kube.sh once, which builds them, or name a folder that has them in KUBEBUILDER_ASSETS: %w", err)
		}
	}
	return folder, nil
}

// Read reads the objects of a YAML file, or of all YAML files in a folder in the
// order of their names; kustomizations are left out.
func Read(path string) ([]*unstructured.Unstructured, error) {
	var out []*unstructured.Unstructured
	err := filepath.WalkDir(path, func(file string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() || file != path && (filepath.Ext(file) != ".yaml" || entry.Name() == "kustomization.yaml") {
			return nil
		}
		objects, err := readFile(file)
		out = append(out, objects...)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("reading objects: %w", err)
	}
	return out, nil
}

func readFile(file string) ([]*unstructured.Unstructured, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var out []*unstructured.Unstructured
	for r := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(data))); ; {
		text, err := r.Read()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		asJSON, err := yaml.YAMLToJSONStrict(text)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		if string(asJSON) == "null" {
			continue
		}
		o := &unstructured.Unstructured{}
		if err := o.UnmarshalJSON(asJSON); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		out = append(out, o)
	}
}
