package latency

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/test/cluster/image"
)

// Cluster is what is needed of a test cluster.
type Cluster interface {
	Config() (*rest.Config, error)
	Nodes() []string
	LoadImage(ctx context.Context, archive string) error
	Kubectl(ctx context.Context, arguments ...string) *exec.Cmd
}

// Bed is the pods on a cluster between which is measured. See NewBed.
type Bed struct {
	cluster   Cluster
	client    client.Client
	namespace string
	// prefix of the names of all pods: no other pod of this machine has it.
	prefix           string
	nodes            []string
	sender, receiver End
}

// imageName of what the pods run. No registry has it.
const imageName = "tierwall.test/latency/beacon:1"

const port = 7777

// NewBed loads the image of the pods, built from the module at root, and makes a
// namespace with a sender on the first node and a receiver on the second. The
// caller closes it.
func NewBed(ctx context.Context, c Cluster, root string) (*Bed, error) {
	b := &Bed{cluster: c, nodes: c.Nodes(), prefix: "latency-" + strings.ToLower(rand.Text()[:6])}
	b.namespace = b.prefix
	if len(b.nodes) < 2 {
		return nil, errors.New("latency: two nodes are needed")
	}
	config, err := c.Config()
	if err != nil {
		return nil, err
	}
	config.QPS = -1
	scheme := runtime.NewScheme()
	if err := errors.Join(corev1.AddToScheme(scheme), networkingv1.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		return nil, err
	}
	if b.client, err = client.New(config, client.Options{Scheme: scheme}); err != nil {
		return nil, fmt.Errorf("latency: %w", err)
	}
	if err := load(ctx, c, root); err != nil {
		return nil, err
	}
	if err := b.client.Create(ctx, &corev1.Namespace{ObjectMeta: meta("", b.namespace)}); err != nil {
		return nil, err
	}
	if err := b.pods(ctx); err != nil {
		return nil, errors.Join(err, b.Close(context.WithoutCancel(ctx)))
	}
	return b, nil
}

// load builds the image and loads it on all nodes.
func load(ctx context.Context, c Cluster, root string) error {
	dir, err := os.MkdirTemp("", "tierwall-latency-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	program, archive := filepath.Join(dir, "beacon"), filepath.Join(dir, "beacon.tar")
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", program, "./test/cluster/latency/beacon")
	build.Dir = root
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if said, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("latency: cannot build beacon: %w\n%s", err, said)
	}
	i := image.Image{Names: []string{imageName}, Files: []image.File{{Path: "/beacon", Source: program}}, Entrypoint: []string{"/beacon"}}
	if err := i.WriteFile(archive); err != nil {
		return err
	}
	return c.LoadImage(ctx, archive)
}

func (b *Bed) pods(ctx context.Context) (err error) {
	if b.sender, err = b.pod(ctx, "sender", b.nodes[0], map[string]string{role: "sender"}); err != nil {
		return err
	}
	b.receiver, err = b.pod(ctx, "receiver", b.nodes[1], map[string]string{role: "receiver"})
	return err
}

// pod makes a pod that does nothing, and waits until it runs.
func (b *Bed) pod(ctx context.Context, name, node string, labels map[string]string) (End, error) {
	p := newPod(b.namespace, b.prefix+"-"+name, node, imageName, labels, "pause")
	limit := time.Now().Add(podTimeout)
	for {
		err := b.client.Create(ctx, p)
		if err == nil {
			return running(ctx, b.client, b.namespace, p.Name)
		}
		// The namespace has no service account yet.
		if !apierrors.IsForbidden(err) || time.Now().After(limit) || ctx.Err() != nil {
			return End{}, err
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// Close removes the namespace and all in it.
func (b *Bed) Close(ctx context.Context) error {
	err := b.client.DeleteAllOf(ctx, &corev1.Pod{}, client.InNamespace(b.namespace), client.GracePeriodSeconds(0))
	return errors.Join(err, client.IgnoreNotFound(b.client.Delete(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: b.namespace}})))
}

func (b *Bed) ends() Pods {
	return Pods{Namespace: b.namespace, Sender: b.prefix + "-sender", Receiver: b.prefix + "-receiver"}
}

// run measures triggers, by these protocols.
func (b *Bed) run(ctx context.Context, triggers []Trigger, rounds int, protocols ...Protocol) (rows []Row, odd []string, err error) {
	for _, p := range protocols {
		s, err := Open(p, b.sender, b.receiver, port)
		if err != nil {
			return nil, nil, err
		}
		for _, t := range triggers {
			r, err := Run(ctx, s, t, rounds)
			if err != nil {
				s.Close()
				return nil, nil, err
			}
			rows = append(rows, r.Rows()...)
			if o := r.odd(); o != "" {
				odd = append(odd, o)
			}
		}
		s.Close()
	}
	return rows, odd, nil
}

// oddLine says how many packets fared otherwise than those around them.
func oddLine(odd []string) string {
	if len(odd) == 0 {
		odd = []string{"none"}
	}
	return fmt.Sprintf("\nFlows that did not get through although one sent earlier and one sent later did: %s.\n", strings.Join(odd, "; "))
}

// Calls measures changes by calls of the API.
func (b *Bed) Calls(ctx context.Context, rounds int) (string, error) {
	rows, odd, err := b.run(ctx, Triggers(b.client, b.ends()), rounds, UDP, TCP)
	if err != nil {
		return "", err
	}
	return Table("from the call of the API, pods on two nodes", rows) + oddLine(odd), nil
}

// Kubectl measures changes by kubectl apply, and what kubectl needs to start.
func (b *Bed) Kubectl(ctx context.Context, rounds int) (string, error) {
	var alone Row
	alone.Name = "`kubectl version --client`, which asks nobody"
	for range rounds {
		began := now()
		if out, err := b.cluster.Kubectl(ctx, "version", "--client").CombinedOutput(); err != nil {
			return "", fmt.Errorf("kubectl version: %w: %s", err, out)
		}
		alone.Samples = append(alone.Samples, now()-began)
	}
	apply := func(ctx context.Context, manifest string) error {
		k := b.cluster.Kubectl(ctx, "apply", "-f", "-")
		k.Stdin = strings.NewReader(manifest)
		if out, err := k.CombinedOutput(); err != nil {
			return fmt.Errorf("kubectl apply: %w: %s", err, out)
		}
		return nil
	}
	remove := func(ctx context.Context, names ...string) error {
		if out, err := b.cluster.Kubectl(ctx, append([]string{"delete", "--ignore-not-found"}, names...)...).CombinedOutput(); err != nil {
			return fmt.Errorf("kubectl delete: %w: %s", err, out)
		}
		return nil
	}
	rows, odd, err := b.run(ctx, KubectlTriggers(apply, remove, b.ends()), rounds, UDP)
	if err != nil {
		return "", err
	}
	return Table("from the start of kubectl, pods on two nodes", append(rows, alone)) + oddLine(odd), nil
}

// Starts measures pods that start.
func (b *Bed) Starts(ctx context.Context, pods int) (string, error) {
	for _, p := range startPolicies(b.namespace) {
		if err := b.client.Create(ctx, p); err != nil {
			return "", err
		}
	}
	var peers []Peer
	for _, w := range []Way{Admitted, PeerDeny, OwnDeny} {
		for i, where := range []string{"the same node", "another node"} {
			e, err := b.pod(ctx, peerLabel(w)+"-"+b.nodes[i], b.nodes[i], map[string]string{labelPeer: peerLabel(w)})
			if err != nil {
				return "", err
			}
			peers = append(peers, Peer{w, where, e})
		}
	}
	time.Sleep(2 * time.Second) // all nodes know the peers then
	s, err := listenStarts(peers)
	if err != nil {
		return "", err
	}
	defer s.close()
	seen := make([][]Start, len(peers))
	for n := range pods {
		one, err := s.one(ctx, b.client, b.namespace, b.nodes[0], imageName, b.prefix, n)
		if err != nil {
			return "", err
		}
		for i := range peers {
			seen[i] = append(seen[i], one[i])
		}
	}
	return startTable(peers, seen), nil
}
