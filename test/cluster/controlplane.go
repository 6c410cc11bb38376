//go:build linux

package cluster

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/tierwall/tierwall/test/cluster/machine"
)

// Services of the control plane.
const (
	etcd              = "etcd"
	apiServer         = "kube-apiserver"
	controllerManager = "kube-controller-manager"
	scheduler         = "kube-scheduler"
)

// service is a program of Options.Programs with its flags.
func (o Options) service(program string, flags ...string) machine.Service {
	return machine.Service{
		Name:    program,
		Command: append([]string{o.program(program)}, flags...),
		Env:     []string{"PATH=" + searchPath, "HOME=/root"},
	}
}

// program is the path of one of the Kubernetes programs.
func (o Options) program(name string) string { return filepath.Join(o.Programs, name) }

func (o Options) pki() pki { return pki{dir: filepath.Join(o.Dir, "pki")} }

// etcdService keeps nothing safe from a power cut: nobody cuts that of cp.
func (o Options) etcdService() machine.Service {
	return o.service(etcd, "--data-dir=/var/lib/etcd", "--unsafe-no-fsync",
		"--listen-client-urls=http://127.0.0.1:2379", "--advertise-client-urls=http://127.0.0.1:2379",
		"--listen-peer-urls=http://127.0.0.1:2380")
}

func (o Options) apiServerService() machine.Service {
	p := o.pki()
	bind := "0.0.0.0"
	if o.DualStack {
		bind = "::"
	}
	return o.service(apiServer,
		"--etcd-servers=http://127.0.0.1:2379",
		"--bind-address="+bind, "--advertise-address="+serverAddress.String(), fmt.Sprintf("--secure-port=%d", serverPort),
		"--tls-cert-file="+p.cert("apiserver"), "--tls-private-key-file="+p.key("apiserver"), "--client-ca-file="+p.cert("ca"),
		"--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction",
		"--kubelet-client-certificate="+p.cert("kubelet-client"), "--kubelet-client-key="+p.key("kubelet-client"),
		"--kubelet-certificate-authority="+p.cert("ca"), "--kubelet-preferred-address-types=InternalIP",
		"--service-account-issuer=https://kubernetes.default.svc.cluster.local",
		"--service-account-key-file="+filepath.Join(p.dir, "accounts.pub"), "--service-account-signing-key-file="+p.key("accounts"),
		"--service-cluster-ip-range="+o.serviceNetworks(),
		// cp has no kube-proxy: webhooks behind Services are called at their pods.
		"--enable-aggregator-routing=true",
		"--allow-privileged=true")
}

func (o Options) controllerManagerService() machine.Service {
	p := o.pki()
	return o.service(controllerManager, append(clientFlags(p.kubeconfig("controller-manager")),
		"--use-service-account-credentials", "--allocate-node-cidrs=false",
		"--service-account-private-key-file="+p.key("accounts"), "--root-ca-file="+p.cert("ca"),
		"--cluster-signing-cert-file="+p.cert("ca"), "--cluster-signing-key-file="+p.key("ca"))...)
}

func (o Options) schedulerService() machine.Service {
	return o.service(scheduler, clientFlags(o.pki().kubeconfig("scheduler"))...)
}

// clientFlags are those of a part of the control plane that is there once.
func clientFlags(kubeconfig string) []string {
	return []string{"--kubeconfig=" + kubeconfig, "--authentication-kubeconfig=" + kubeconfig,
		"--authorization-kubeconfig=" + kubeconfig, "--leader-elect=false"}
}

// startControlPlane starts etcd and the API server, waits for it, and starts
// the rest.
func (c *Cluster) startControlPlane(ctx context.Context) error {
	cp := c.machine(controlPlane)
	for _, s := range []machine.Service{c.options.etcdService(), c.options.apiServerService()} {
		if err := cp.StartService(ctx, s); err != nil {
			return err
		}
	}
	if err := c.awaitServer(ctx); err != nil {
		return err
	}
	for _, s := range []machine.Service{c.options.controllerManagerService(), c.options.schedulerService()} {
		if err := cp.StartService(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

// StopServer stops kube-apiserver alone. That it does not run is no error.
func (c *Cluster) StopServer(ctx context.Context) error {
	running, err := c.serverRuns(ctx)
	if err != nil || !running {
		return err
	}
	return c.machine(controlPlane).StopService(ctx, apiServer)
}

// StartServer starts kube-apiserver again and returns when it is ready. That it
// runs is no error.
func (c *Cluster) StartServer(ctx context.Context) error {
	running, err := c.serverRuns(ctx)
	if err != nil {
		return err
	}
	if !running {
		if err := c.machine(controlPlane).StartService(ctx, c.options.apiServerService()); err != nil {
			return err
		}
	}
	return c.awaitServer(ctx)
}

func (c *Cluster) serverRuns(ctx context.Context) (bool, error) {
	services, err := c.machine(controlPlane).Services(ctx)
	if err != nil {
		return false, fmt.Errorf("cluster: %w", err)
	}
	for _, s := range services {
		if s.Name == apiServer {
			return s.Running, nil
		}
	}
	return false, nil
}
