package env

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
)

// Options of an environment. The zero value has Tierwall's CRDs installed.
type Options struct {
	// NoCRDs leaves the server without Tierwall's CRDs; InstallCRDs adds them.
	NoCRDs bool
	// ClusterNetworkPolicies installs the CRD of ClusterNetworkPolicy too.
	ClusterNetworkPolicies bool
	// Arguments of kube-apiserver in addition to envtest's, without the dashes:
	// {"audit-log-path": "/tmp/audit"}.
	Arguments map[string]string
}

// Env is a running API server.
type Env struct {
	root  string
	certs string
	inner *envtest.Environment
	admin *rest.Config
}

// startTimeout is generous: other tests may use the machine's cores meanwhile.
const startTimeout = 2 * time.Minute

// Start starts etcd and kube-apiserver and installs what the options say. The
// caller stops them with Stop.
func Start(o Options) (*Env, error) {
	root, err := Root()
	if err != nil {
		return nil, err
	}
	folder, err := binaries(root)
	if err != nil {
		return nil, err
	}
	// A folder of our own outlives a stop of the server, and with it the server's
	// certificates: they must be the same when it starts again.
	certs, err := os.MkdirTemp("", "tierwall-apiserver-")
	if err != nil {
		return nil, fmt.Errorf("making a folder for certificates: %w", err)
	}
	e := &Env{root: root, certs: certs, inner: &envtest.Environment{
		Scheme:                   Scheme(),
		ControlPlaneStartTimeout: startTimeout,
		ControlPlaneStopTimeout:  startTimeout,
	}}
	server := e.inner.ControlPlane.GetAPIServer()
	// By full path: envtest would let KUBEBUILDER_ASSETS or a folder of its own
	// decide for each program by itself.
	server.CertDir = certs
	server.Path = filepath.Join(folder, "kube-apiserver")
	e.inner.ControlPlane.Etcd = &envtest.Etcd{Path: filepath.Join(folder, "etcd")}
	for name, value := range o.Arguments {
		server.Configure().Set(name, value)
	}
	if e.admin, err = e.inner.Start(); err != nil {
		return nil, errors.Join(fmt.Errorf("starting kube-apiserver and etcd of %s: %w", folder, err), e.Stop())
	}
	if !o.NoCRDs {
		err = e.InstallCRDs()
	}
	if err == nil && o.ClusterNetworkPolicies {
		err = e.InstallClusterNetworkPolicyCRD()
	}
	if err != nil {
		return nil, errors.Join(err, e.Stop())
	}
	return e, nil
}

// Stop stops the server and etcd and removes their files.
func (e *Env) Stop() error {
	if err := errors.Join(e.inner.Stop(), os.RemoveAll(e.certs)); err != nil {
		return fmt.Errorf("stopping kube-apiserver and etcd: %w", err)
	}
	return nil
}

// StopServer stops kube-apiserver alone: the outage of an API server, whose
// data stay. StartServer ends it.
func (e *Env) StopServer() error { return e.inner.ControlPlane.GetAPIServer().Stop() }

// StartServer starts kube-apiserver again, at the same address, after StopServer.
func (e *Env) StartServer() error { return e.inner.ControlPlane.GetAPIServer().Start() }

// Compact has etcd forget all but the newest version of each object: a watch that
// goes on from an older one ends with 410 once the server's own memory of it is
// gone too, after StopServer and StartServer.
func (e *Env) Compact(ctx context.Context) error {
	ask := func(path, body string, answer any) error {
		u := e.inner.ControlPlane.Etcd.URL.JoinPath(path)
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, u.String(), strings.NewReader(body))
		if err != nil {
			return err
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return err
		}
		defer func() { _ = resp.Body.Close() }()
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("etcd %s: %s", path, resp.Status)
		}
		return json.NewDecoder(resp.Body).Decode(answer)
	}
	var now struct {
		Header struct {
			Revision string `json:"revision"`
		} `json:"header"`
	}
	if err := ask("/v3/kv/range", `{"key": "AA=="}`, &now); err != nil {
		return fmt.Errorf("compacting etcd: %w", err)
	}
	if err := ask("/v3/kv/compaction", `{"revision": "`+now.Header.Revision+`", "physical": true}`, &struct{}{}); err != nil {
		return fmt.Errorf("compacting etcd: %w", err)
	}
	return nil
}

// InstallCRDs installs config/crd and waits until the server serves the kinds.
func (e *Env) InstallCRDs() error {
	return e.installCRDs(filepath.Join(e.root, "config", "crd", "bases"))
}

// InstallClusterNetworkPolicyCRD installs the standard CRD of
// sigs.k8s.io/network-policy-api, of the version in go.mod.
func (e *Env) InstallClusterNetworkPolicyCRD() error {
	list := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "sigs.k8s.io/network-policy-api")
	list.Dir = e.root
	dir, err := list.Output()
	if err != nil {
		return fmt.Errorf("finding the module sigs.k8s.io/network-policy-api: %w", err)
	}
	return e.installCRDs(filepath.Join(strings.TrimSpace(string(dir)), "config", "crd", "standard"))
}

func (e *Env) installCRDs(folder string) error {
	_, err := envtest.InstallCRDs(e.admin, envtest.CRDInstallOptions{
		Scheme: e.inner.Scheme, Paths: []string{folder}, ErrorIfPathMissing: true, MaxTime: startTimeout,
	})
	if err != nil {
		return fmt.Errorf("installing the CRDs of %s: %w", folder, err)
	}
	return nil
}

// Root is the folder of Tierwall's sources.
func (e *Env) Root() string { return e.root }

// Client returns a client with the rights of config and the kinds of Scheme,
// which reads from the server and caches nothing.
func (e *Env) Client(config *rest.Config) (client.Client, error) {
	c, err := client.New(config, client.Options{Scheme: Scheme()})
	if err != nil {
		return nil, fmt.Errorf("making a client: %w", err)
	}
	return c, nil
}

// Apply applies the objects of YAML files and of all YAML files in folders, given
// relative to Root, by server-side apply as the administrator.
func (e *Env) Apply(ctx context.Context, paths ...string) error {
	c, err := e.Client(e.Admin())
	if err != nil {
		return err
	}
	for _, path := range paths {
		objects, err := Read(filepath.Join(e.root, path))
		if err != nil {
			return err
		}
		for _, o := range objects {
			if err := c.Apply(ctx, client.ApplyConfigurationFromUnstructured(o), client.FieldOwner("test"), client.ForceOwnership); err != nil {
				return fmt.Errorf("applying %s %s of %s: %w", o.GetKind(), o.GetName(), path, err)
			}
		}
	}
	return nil
}
