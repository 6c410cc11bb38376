package install

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/test/cluster/image"
)

// Namespace is where config/default puts the manager and the agents.
const Namespace = "tierwall-system"

// Cluster is what is needed of a test cluster.
type Cluster interface {
	// Kubeconfig is the administrator's file.
	Kubeconfig() string
	// Nodes are the names of all nodes, each of which gets an agent.
	Nodes() []string
	// Command makes a command that runs inside a machine.
	Command(ctx context.Context, machine string, argv ...string) *exec.Cmd
	// LoadImage loads a docker archive on all nodes.
	LoadImage(ctx context.Context, archive string) error
}

// Options say what is installed. The zero value is this module as it stands,
// under the image that config/operator names.
type Options struct {
	// Module is the folder of Tierwall's go.mod; empty: the one that the working
	// directory is in.
	Module string
	// Work is a folder for what is built, which need not exist; empty: a new one
	// that is removed at the end. A program that is there is built anew all the
	// same, which the compiler's cache makes cheap.
	Work string
	// Kubectl is the program; empty: that of hack/kube.sh.
	Kubectl string
	// Tag of the image, and the version that the program says it is; empty: that
	// of config/operator. Another one is an upgrade, or a way back.
	Tag string
	// Dataplane is spec.dataplane of Tierwall/default; empty or Auto: what
	// config/default installs. IPTables takes an image that has the commands, as the
	// Dockerfile's stage iptables makes it.
	Dataplane v1alpha1.Dataplane
	// Program is a tierwall that is built already, statically linked; empty: it is built.
	Program string
	// Timeout bounds the wait until all is ready; 0: three minutes.
	Timeout time.Duration
}

// complete fills in what is empty. done removes what was made for it.
func (o Options) complete(ctx context.Context) (full Options, done func(), err error) {
	done = func() {}
	if o.Module == "" {
		if o.Module, err = Module(); err != nil {
			return o, done, err
		}
	}
	if o.Kubectl == "" {
		c := exec.CommandContext(ctx, filepath.Join(o.Module, "hack", "kube.sh"), "kubectl")
		c.Stderr = os.Stderr // it says what it builds
		folder, err := c.Output()
		if err != nil {
			return o, done, fmt.Errorf("install: hack/kube.sh kubectl: %w", err)
		}
		o.Kubectl = filepath.Join(strings.TrimSpace(string(folder)), "kubectl")
	}
	o.Timeout = cmp.Or(o.Timeout, 3*time.Minute)
	if o.Work == "" {
		if o.Work, err = os.MkdirTemp("", "tierwall-install-"); err != nil {
			return o, done, err
		}
		work := o.Work
		done = func() { _ = os.RemoveAll(work) }
	}
	return o, done, os.MkdirAll(o.Work, 0o755)
}

// Module finds the folder of Tierwall's go.mod, upwards from the working directory.
func Module() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for at := dir; ; at = filepath.Dir(at) {
		text, err := os.ReadFile(filepath.Join(at, "go.mod"))
		if err == nil && strings.HasPrefix(string(text), "module github.com/tierwall/tierwall\n") {
			return at, nil
		}
		if at == filepath.Dir(at) {
			return "", fmt.Errorf("install: %s is not in Tierwall's module", dir)
		}
	}
}

// Tierwall installs or upgrades: it builds the program and its image, loads the
// image on all nodes, applies config/default, and waits until the manager is
// there and every node's agent is of that image and in sync.
func Tierwall(ctx context.Context, c Cluster, o Options) error {
	if _, err := Load(ctx, c, o); err != nil {
		return err
	}
	return Apply(ctx, c, o)
}

// Apply applies config/default, with the tag of o, and waits as Tierwall does.
// The nodes must have the image.
func Apply(ctx context.Context, c Cluster, o Options) error {
	o, done, err := o.complete(ctx)
	defer done()
	if err != nil {
		return err
	}
	name, tag, err := imageOf(o.Module)
	if err != nil {
		return err
	}
	config := filepath.Join(o.Module, "config", "default")
	if o.Tag != "" && o.Tag != tag {
		tag = o.Tag
		if config, err = overlay(config, o.Work, name, tag); err != nil {
			return err
		}
	}
	if _, err := Kubectl(ctx, c, o, "", "apply", "-k", config); err != nil {
		return err
	}
	if err := settings(ctx, c, o); err != nil {
		return err
	}
	return wait(ctx, c, o, name+":"+tag)
}

// settings applies Tierwall/default where config/default is not all.
func settings(ctx context.Context, c Cluster, o Options) error {
	if o.Dataplane == "" || o.Dataplane == v1alpha1.DataplaneAuto {
		return nil
	}
	if _, err := Kubectl(ctx, c, o, "", "wait", "--for=condition=Established", "crd/tierwalls.tierwall.io"); err != nil {
		return err
	}
	t := v1alpha1.Tierwall{ObjectMeta: metav1.ObjectMeta{Name: v1alpha1.TierwallName}, Spec: v1alpha1.TierwallSpec{Dataplane: o.Dataplane}}
	t.APIVersion, t.Kind = v1alpha1.GroupVersion.String(), "Tierwall"
	text, err := yaml.Marshal(&t)
	if err != nil {
		return err
	}
	_, err = Kubectl(ctx, c, o, string(text), "apply", "--server-side", "-f", "-")
	return err
}

// Load builds the program and its image and loads it on all nodes, under the
// name of config/operator with the tag of o. It returns the image's reference.
func Load(ctx context.Context, c Cluster, o Options) (string, error) {
	o, done, err := o.complete(ctx)
	defer done()
	if err != nil {
		return "", err
	}
	name, tag, err := imageOf(o.Module)
	if err != nil {
		return "", err
	}
	tag = cmp.Or(o.Tag, tag)
	return name + ":" + tag, load(ctx, c, o, name, tag)
}

// Build builds the program for the tag of o, statically linked, into its folder
// Work, which must be named, and returns the program's path.
func Build(ctx context.Context, o Options) (string, error) {
	if o.Work == "" {
		return "", errors.New("install: Build needs Options.Work")
	}
	o, _, err := o.complete(ctx)
	if err != nil {
		return "", err
	}
	_, tag, err := imageOf(o.Module)
	if err != nil {
		return "", err
	}
	return build(ctx, o, cmp.Or(o.Tag, tag))
}

func build(ctx context.Context, o Options, tag string) (string, error) {
	program := filepath.Join(o.Work, "tierwall-"+tag)
	c := exec.CommandContext(ctx, "go", "build", "-trimpath",
		"-ldflags", "-s -w -X github.com/tierwall/tierwall/cmd.Version="+tag, "-o", program, ".")
	c.Dir = o.Module
	c.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux")
	if said, err := c.CombinedOutput(); err != nil {
		return "", fmt.Errorf("install: cannot build tierwall: %w\n%s", err, said)
	}
	return program, nil
}

// load makes the image and takes it to the nodes.
func load(ctx context.Context, c Cluster, o Options, name, tag string) error {
	if o.Program == "" {
		var err error
		if o.Program, err = build(ctx, o, tag); err != nil {
			return err
		}
	}
	b := image.Builder{Module: o.Module, Work: o.Work}
	made := b.Tierwall
	if o.Dataplane == v1alpha1.DataplaneIPTables {
		made = b.TierwallIPTables
	}
	i, err := made(o.Program, name+":"+tag)
	if err != nil {
		return err
	}
	archive := filepath.Join(o.Work, "tierwall-"+tag+".tar")
	if err := i.WriteFile(archive); err != nil {
		return err
	}
	if err := c.LoadImage(ctx, archive); err != nil {
		return fmt.Errorf("install: image %s:%s: %w", name, tag, err)
	}
	return nil
}

// kustomization is what is read of config/operator, and written for another tag.
type kustomization struct {
	APIVersion string           `json:"apiVersion"`
	Kind       string           `json:"kind"`
	Resources  []string         `json:"resources"`
	Images     []kustomizeImage `json:"images"`
}

type kustomizeImage struct {
	Name    string `json:"name"`
	NewName string `json:"newName,omitempty"`
	NewTag  string `json:"newTag,omitempty"`
}

// imageOf reads which image config/default runs.
func imageOf(module string) (name, tag string, err error) {
	file := filepath.Join(module, "config", "operator", "kustomization.yaml")
	text, err := os.ReadFile(file)
	if err != nil {
		return "", "", err
	}
	var k kustomization
	if err := yaml.Unmarshal(text, &k); err != nil {
		return "", "", fmt.Errorf("%s: %w", file, err)
	}
	for _, i := range k.Images {
		if i.Name == "tierwall" && i.NewName != "" && i.NewTag != "" {
			return i.NewName, i.NewTag, nil
		}
	}
	return "", "", fmt.Errorf("%s: field images names no tierwall", file)
}

// overlay writes what docs/install.md tells users to write for an image of
// their own, and returns its folder.
func overlay(config, work, name, tag string) (string, error) {
	dir := filepath.Join(work, "overlay-"+tag)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	// kubectl takes no absolute path here.
	absolute, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	if config, err = filepath.Abs(config); err != nil {
		return "", err
	}
	relative, err := filepath.Rel(absolute, config)
	if err != nil {
		return "", err
	}
	text, err := yaml.Marshal(kustomization{
		APIVersion: "kustomize.config.k8s.io/v1beta1", Kind: "Kustomization",
		Resources: []string{relative},
		Images:    []kustomizeImage{{Name: name, NewTag: tag}},
	})
	if err != nil {
		return "", err
	}
	return absolute, os.WriteFile(filepath.Join(dir, "kustomization.yaml"), text, 0o644)
}
