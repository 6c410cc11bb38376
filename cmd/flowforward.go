package cmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/scheme"
	coordination "k8s.io/client-go/kubernetes/typed/coordination/v1"
	core "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/transport/spdy"

	flowstore "github.com/tierwall/tierwall/controllers/flows"
	"github.com/tierwall/tierwall/controllers/operator"
)

// manager reads from the manager that is the leader, by a port that the API server
// forwards.
func (f *recordFlags) manager(ctx context.Context) (recordReader, func(), error) {
	nothing := func() {}
	config, err := f.cluster.config()
	if err != nil {
		return nil, nothing, fmt.Errorf("no records (--records, --address) and no cluster: %w", err)
	}
	r := &remoteRecords{}
	if err := r.authenticate(config); err != nil {
		return nil, nothing, err
	}
	pod, err := leader(ctx, config, f.namespace)
	if err != nil {
		return nil, nothing, err
	}
	port, stop, err := forward(ctx, config, f.namespace, pod)
	if err != nil {
		return nil, nothing, fmt.Errorf("port of Pod/%s/%s: %w", f.namespace, pod, err)
	}
	r.base = url.URL{Scheme: "https", Host: fmt.Sprintf("127.0.0.1:%d", port)}
	return r, stop, nil
}

// leader is the manager's pod that works.
func leader(ctx context.Context, config *rest.Config, namespace string) (string, error) {
	leases, err := coordination.NewForConfig(config)
	if err != nil {
		return "", err
	}
	var lease *coordinationv1.Lease
	if lease, err = leases.Leases(namespace).Get(ctx, operator.ManagerName, metav1.GetOptions{}); err == nil && lease.Spec.HolderIdentity != nil {
		if pod := podOfHolder(*lease.Spec.HolderIdentity); pod != "" {
			return pod, nil
		}
	}
	// Not everybody may read leases: any manager's pod says if it is not the leader.
	pods, err := core.NewForConfig(config)
	if err != nil {
		return "", err
	}
	list, err := pods.Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: managerSelector})
	if err != nil {
		return "", fmt.Errorf("the manager's pods in namespace %s: %w", namespace, err)
	}
	for i := range list.Items {
		if list.Items[i].Status.Phase == corev1.PodRunning {
			return list.Items[i].Name, nil
		}
	}
	return "", fmt.Errorf("no manager runs in namespace %s", namespace)
}

// managerSelector selects the manager's pods.
const managerSelector = "app.kubernetes.io/name=tierwall,app.kubernetes.io/component=manager"

// podOfHolder is the pod's name in a lease's holder, which controller-runtime writes as
// hostname_uid.
func podOfHolder(holder string) string {
	for i := len(holder) - 1; i >= 0; i-- {
		if holder[i] == '_' {
			return holder[:i]
		}
	}
	return ""
}

// forward forwards a port of this machine's loopback address to a pod's.
func forward(ctx context.Context, config *rest.Config, namespace, pod string) (port uint16, stop func(), err error) {
	config = rest.CopyConfig(config)
	config.GroupVersion, config.APIPath = &corev1.SchemeGroupVersion, "/api"
	config.NegotiatedSerializer = scheme.Codecs.WithoutConversion()
	client, err := rest.RESTClientFor(config)
	if err != nil {
		return 0, nil, err
	}
	transport, upgrader, err := spdy.RoundTripperFor(config)
	if err != nil {
		return 0, nil, err
	}
	at := client.Post().Resource("pods").Namespace(namespace).Name(pod).SubResource("portforward").URL()
	dialer := spdy.NewDialer(upgrader, &http.Client{Transport: transport}, http.MethodPost, at)
	done, ready := make(chan struct{}), make(chan struct{})
	f, err := portforward.NewOnAddresses(dialer, []string{"127.0.0.1"}, []string{fmt.Sprintf("0:%d", flowstore.DefaultPort)}, done, ready, io.Discard, io.Discard)
	if err != nil {
		return 0, nil, err
	}
	failed := make(chan error, 1)
	go func() { failed <- f.ForwardPorts() }()
	stop = func() { close(done) }
	select {
	case <-ready:
	case err := <-failed:
		return 0, nil, errors.Join(err, errors.New("it takes the right to create pods/portforward"))
	case <-ctx.Done():
		stop()
		return 0, nil, context.Cause(ctx)
	}
	ports, err := f.GetPorts()
	if err != nil || len(ports) != 1 {
		stop()
		return 0, nil, fmt.Errorf("no port: %w", err)
	}
	return ports[0].Local, stop, nil
}
