//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/tierwall/tierwall/test/cluster/image"
	"github.com/tierwall/tierwall/test/cluster/probe"
)

const probeImage = "tierwall.example/probe:e2e"

// Ports that pods and hosts answer on, TCP and UDP. Port "http" is 80 of web and
// api, and 81 of db.
const (
	port80 = 80
	port81 = 81
	// hostPort is that of hosts: 80 would be in the way of others.
	hostPort = 7001
)

// place is where a probe runs: a pod, a node's own network, or the world
// outside the cluster's nodes.
type place struct {
	// name is namespace/role of a pod, node/NODE, or outside.
	name string
	// node that it is on; empty: none.
	node string
	// addresses are one a family, IPv4 first.
	addresses []netip.Addr
	probe     *probe.Client
	pod       client.ObjectKey
}

func (p *place) String() string { return p.name }

// world is the pods of all specs: in each of two namespaces a web, an api and a
// db, on the first, second and third node, and a prober in the network of each
// node and beside the cluster.
type world struct {
	pods  []*place
	hosts []*place // in the order of the nodes
	cp    *place
}

// namespaces of the pods; label team says the name.
var namespaces = []string{"alpha", "beta"}

var roles = []string{"web", "api", "db"}

// at finds a place by its name.
func (w *world) at(name string) *place {
	GinkgoHelper()
	for _, p := range append(append([]*place{w.cp}, w.pods...), w.hosts...) {
		if p.name == name {
			return p
		}
	}
	Fail("there is no place " + name)
	return nil
}

// host is the prober of a node.
func (w *world) host(node string) *place { return w.at("node/" + node) }

// newWorld makes the pods and waits for them.
func newWorld(ctx context.Context) *world {
	GinkgoHelper()
	program := filepath.Join(work, "probe")
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", program, "./test/cluster/probe/program")
	build.Dir, build.Env = module, append(os.Environ(), "CGO_ENABLED=0")
	out, err := build.CombinedOutput()
	Expect(err).NotTo(HaveOccurred(), string(out))
	archive := filepath.Join(work, "probe.tar")
	Expect(image.Image{
		Names: []string{probeImage}, Entrypoint: []string{"/probe"}, Files: []image.File{{Path: "/probe", Source: program}},
	}.WriteFile(archive)).To(Succeed())
	Expect(bed.LoadImage(ctx, archive)).To(Succeed())

	w := &world{}
	nodes := bed.Nodes()
	for _, ns := range append([]string{"hosts"}, namespaces...) {
		create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: ns, Labels: map[string]string{"team": ns}}})
	}
	for _, ns := range namespaces {
		for i, role := range roles {
			w.pods = append(w.pods, newPod(ctx, ns, role, nodes[i%len(nodes)]))
		}
	}
	for _, node := range nodes {
		w.hosts = append(w.hosts, newHost(ctx, node))
	}
	w.cp = newOutside(ctx, program)
	w.await(ctx, "", time.Time{})
	return w
}

// create makes an object, and removes it at the end.
func create(ctx context.Context, o client.Object) {
	GinkgoHelper()
	Expect(admin.Create(ctx, o)).To(Succeed())
	DeferCleanup(func(ctx SpecContext) {
		Expect(client.IgnoreNotFound(admin.Delete(ctx, o, client.GracePeriodSeconds(0)))).To(Succeed())
	})
}

func control(name string) string { return filepath.Join(work, name+".sock") }

// newPod makes one of the pods.
func newPod(ctx context.Context, ns, role, node string) *place {
	GinkgoHelper()
	name := ns + "-" + role
	http, alt := int32(port80), int32(port81)
	if role == "db" {
		http, alt = alt, http
	}
	pod := probePod(ns, role, node, name, fmt.Sprintf("%d,%d", port80, port81))
	pod.Labels = map[string]string{"team": ns, "role": role}
	pod.Spec.Containers[0].Ports = []corev1.ContainerPort{
		{Name: "http", ContainerPort: http, Protocol: corev1.ProtocolTCP},
		{Name: "alt", ContainerPort: alt, Protocol: corev1.ProtocolTCP},
		{Name: "dgram", ContainerPort: port80, Protocol: corev1.ProtocolUDP},
	}
	create(ctx, pod)
	return &place{name: ns + "/" + role, node: node, pod: client.ObjectKeyFromObject(pod), probe: probe.NewClient(control(name))}
}

// newHost makes a prober in a node's own network.
func newHost(ctx context.Context, node string) *place {
	GinkgoHelper()
	pod := probePod("hosts", node, node, node, fmt.Sprint(hostPort))
	pod.Spec.HostNetwork = true
	create(ctx, pod)
	return &place{name: "node/" + node, node: node, pod: client.ObjectKeyFromObject(pod), probe: probe.NewClient(control(node))}
}

// probePod is what all have in common. The name of the place in answers has no
// slash in front.
func probePod(ns, name, node, socket, ports string) *corev1.Pod {
	answer := ns + "/" + name
	if ns == "hosts" {
		answer = "node/" + name
	}
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name},
		Spec: corev1.PodSpec{
			NodeName:                      node,
			TerminationGracePeriodSeconds: ptr.To[int64](0),
			AutomountServiceAccountToken:  ptr.To(false),
			Tolerations:                   []corev1.Toleration{{Operator: corev1.TolerationOpExists}},
			Containers: []corev1.Container{{
				Name: "probe", Image: probeImage, ImagePullPolicy: corev1.PullNever,
				Args:         []string{"--name", answer, "--control", "/control/" + socket + ".sock", "--ports", ports},
				VolumeMounts: []corev1.VolumeMount{{Name: "control", MountPath: "/control"}},
			}},
			Volumes: []corev1.Volume{{Name: "control", VolumeSource: corev1.VolumeSource{
				HostPath: &corev1.HostPathVolumeSource{Path: work, Type: ptr.To(corev1.HostPathDirectory)},
			}}},
		},
	}
}

// newOutside runs a prober on the machine of the control plane, which is no
// node: to the nodes it is the world.
func newOutside(_ context.Context, program string) *place {
	GinkgoHelper()
	running, stop := context.WithCancel(context.Background())
	c := bed.Command(running, "cp", program, "--name", "outside", "--control", control("cp"), "--ports", fmt.Sprint(hostPort))
	c.Stdout, c.Stderr = GinkgoWriter, GinkgoWriter
	Expect(c.Start()).To(Succeed())
	DeferCleanup(func() { stop(); _ = c.Wait() })
	p := &place{name: "outside", probe: probe.NewClient(control("cp")), addresses: []netip.Addr{netip.MustParseAddr("10.200.0.1")}}
	if bed.Options().DualStack {
		p.addresses = append(p.addresses, netip.MustParseAddr("fd00:200::1"))
	}
	return p
}

// await waits until all pods run and all probers answer, and learns the pods'
// addresses, which are others after a node's restart. The containers of node (if
// it is not empty) must have started since since: before its kubelet has spoken,
// the API server says what was true before.
func (w *world) await(ctx context.Context, node string, since time.Time) {
	GinkgoHelper()
	families := 1
	if bed.Options().DualStack {
		families = 2
	}
	for _, p := range append(w.pods, w.hosts...) {
		Eventually(ctx, func(g Gomega) {
			var pod corev1.Pod
			g.Expect(admin.Get(ctx, p.pod, &pod)).To(Succeed())
			g.Expect(pod.Status.Phase).To(Equal(corev1.PodRunning), "%s: %v", p, pod.Status)
			g.Expect(pod.Status.PodIPs).To(HaveLen(families))
			running := pod.Status.ContainerStatuses[0].State.Running
			g.Expect(running).NotTo(BeNil())
			if p.node == node {
				g.Expect(running.StartedAt.Time).To(BeTemporally(">=", since.Truncate(time.Second)))
			}
			p.addresses = nil
			for _, ip := range pod.Status.PodIPs {
				p.addresses = append(p.addresses, netip.MustParseAddr(ip.IP))
			}
		}).WithTimeout(2 * minute).Should(Succeed())
	}
	for _, p := range append(append([]*place{w.cp}, w.pods...), w.hosts...) {
		Eventually(ctx, func() error { _, err := p.probe.Seen(ctx, "nothing"); return err }).Should(Succeed(), p.name)
	}
}
