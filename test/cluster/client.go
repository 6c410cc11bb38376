//go:build linux

package cluster

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/tierwall/tierwall/test/cluster/machine"
)

// Config is for clients that act as the administrator, from any network: they
// dial from that of cp.
func (c *Cluster) Config() (*rest.Config, error) {
	config, err := clientcmd.BuildConfigFromFlags("", c.Kubeconfig())
	if err != nil {
		return nil, fmt.Errorf("cluster: %w", err)
	}
	config.Dial = c.machine(controlPlane).Dial
	return config, nil
}

// client is one that does not hold back requests.
func (c *Cluster) client() (*kubernetes.Clientset, error) {
	config, err := c.Config()
	if err != nil {
		return nil, err
	}
	config.QPS = -1
	config.Timeout = 10 * time.Second
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("cluster: %w", err)
	}
	return client, nil
}

// awaitServer waits until the API server says that it is ready.
func (c *Cluster) awaitServer(ctx context.Context) error {
	client, err := c.client()
	if err != nil {
		return err
	}
	cp := []*machine.Machine{c.machine(controlPlane)}
	return await(ctx, "the API server", cp, func() error {
		_, err := client.Discovery().RESTClient().Get().AbsPath("/readyz").DoRaw(ctx)
		return err
	})
}

// awaitNode waits until node i is Ready by a report not older than since, and
// its kube-proxy has programmed the kernel.
func (c *Cluster) awaitNode(ctx context.Context, i int, since time.Time) error {
	client, err := c.client()
	if err != nil {
		return err
	}
	m := c.machine(nodeName(i))
	machines := []*machine.Machine{c.machine(controlPlane), m}
	err = await(ctx, "node "+m.Name(), machines, func() error {
		node, err := client.CoreV1().Nodes().Get(ctx, m.Name(), metav1.GetOptions{})
		if err != nil {
			return err
		}
		return ready(node, since)
	})
	if err != nil {
		return err
	}
	return await(ctx, "kube-proxy of "+m.Name(), machines, func() error { return proxyHealthy(ctx, m) })
}

// ready says why a node is not. Times in the API are whole seconds.
func ready(node *corev1.Node, since time.Time) error {
	for _, condition := range node.Status.Conditions {
		if condition.Type != corev1.NodeReady {
			continue
		}
		if condition.Status != corev1.ConditionTrue {
			return fmt.Errorf("node %s is not ready: %s: %s", node.Name, condition.Reason, condition.Message)
		}
		if condition.LastHeartbeatTime.Time.Before(since.Truncate(time.Second)) {
			return fmt.Errorf("node %s has not reported since it was started", node.Name)
		}
		return nil
	}
	return fmt.Errorf("node %s has not said whether it is ready", node.Name)
}

// awaitAccounts waits for what pods need: the service account of namespace
// default.
func (c *Cluster) awaitAccounts(ctx context.Context) error {
	client, err := c.client()
	if err != nil {
		return err
	}
	cp := []*machine.Machine{c.machine(controlPlane)}
	return await(ctx, "the service account default/default", cp, func() error {
		_, err := client.CoreV1().ServiceAccounts("default").Get(ctx, "default", metav1.GetOptions{})
		return err
	})
}

// tellPodNetworks writes down which addresses the pods of each node have, as
// the controller manager does where it chooses them.
func (c *Cluster) tellPodNetworks(ctx context.Context) error {
	client, err := c.client()
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	for i := 1; i <= c.options.Nodes; i++ {
		group.Go(func() error {
			patch := podNetworkPatch(c.options.podPrefixes(i))
			_, err := client.CoreV1().Nodes().Patch(ctx, nodeName(i), types.StrategicMergePatchType, patch, metav1.PatchOptions{})
			if err != nil {
				return fmt.Errorf("cluster: node %s: spec.podCIDRs: %w", nodeName(i), err)
			}
			return nil
		})
	}
	return group.Wait()
}

func podNetworkPatch(pods []netip.Prefix) []byte {
	list := ""
	for _, p := range pods {
		if list != "" {
			list += ","
		}
		list += fmt.Sprintf("%q", p)
	}
	return fmt.Appendf(nil, `{"spec":{"podCIDR":%q,"podCIDRs":[%s]}}`, pods[0], list)
}

// proxyHealthy asks kube-proxy of a node whether it has programmed the kernel.
func proxyHealthy(ctx context.Context, m *machine.Machine) error {
	client := http.Client{Transport: &http.Transport{DialContext: m.Dial, DisableKeepAlives: true}, Timeout: 2 * time.Second}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://127.0.0.1:10256/healthz", http.NoBody)
	if err != nil {
		return err
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("kube-proxy of %s is not healthy: %s", m.Name(), response.Status)
	}
	return nil
}
