package operator

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"github.com/onsi/gomega/gexec"
	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/controllers/operator"
)

// build compiles the program, once.
func build() string {
	GinkgoHelper()
	path := filepath.Join(GinkgoT().TempDir(), "tierwall")
	b := exec.Command("go", "build", "-o", path, ".")
	b.Dir = server.Root()
	b.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := b.CombinedOutput()
	Expect(err).NotTo(HaveOccurred(), string(out))
	return path
}

// replica is a process of the manager, as the kubelet would run it.
type replica struct {
	name   string
	health string
	*gexec.Session
}

// replicaOf runs the container of a Deployment as the ServiceAccount of its pods,
// with the ports that are fixed in a pod taken from the machine.
func replicaOf(d *appsv1.Deployment, program, name string) replica {
	GinkgoHelper()
	account := d.Spec.Template.Spec.ServiceAccountName
	Expect(d.Namespace).NotTo(BeEmpty())
	kubeconfig, err := server.Kubeconfig("system:serviceaccount:"+d.Namespace+":"+account, "system:serviceaccounts", "system:serviceaccounts:"+d.Namespace)
	Expect(err).NotTo(HaveOccurred())
	file := filepath.Join(GinkgoT().TempDir(), "kubeconfig")
	Expect(os.WriteFile(file, kubeconfig, 0o600)).To(Succeed())
	r := replica{name: name, health: freeAddress()}
	container := d.Spec.Template.Spec.Containers[0]
	Expect(container.Command).To(BeEmpty())
	args := []string{"--kubeconfig=" + file}
	for _, a := range container.Args {
		flag, _, _ := strings.Cut(a, "=")
		switch flag {
		case "--health-addr":
			a = flag + "=" + r.health
		case "--metrics-addr":
			a = flag + "=127.0.0.1:0"
		case "--webhook-addr":
			a = flag + "=" + freeAddress()
		}
		args = append(args, a)
	}
	// The command is first in a container's arguments, and flags go behind it.
	args = append(args[1:], args[0])
	c := exec.Command(program, args...)
	c.Env = []string{"HOME=" + GinkgoT().TempDir()}
	for _, e := range container.Env {
		value := e.Value
		if e.ValueFrom != nil {
			value = map[string]string{"metadata.name": name, "metadata.namespace": d.Namespace}[e.ValueFrom.FieldRef.FieldPath]
			Expect(value).NotTo(BeEmpty(), e.Name)
		}
		c.Env = append(c.Env, e.Name+"="+value)
	}
	r.Session, err = gexec.Start(c, GinkgoWriter, GinkgoWriter)
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(func() { r.Terminate().Wait("1m") })
	return r
}

func freeAddress() string {
	GinkgoHelper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	Expect(err).NotTo(HaveOccurred())
	defer func() { Expect(l.Close()).To(Succeed()) }()
	return l.Addr().String()
}

// ready asks the probe as the kubelet does.
func (r replica) ready() error {
	answer, err := http.Get("http://" + r.health + "/readyz")
	if err != nil {
		return err
	}
	defer func() { _ = answer.Body.Close() }()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("%s", answer.Status)
	}
	return nil
}

// managerDeployment is the one among some objects.
func managerDeployment(objects []*unstructured.Unstructured) *appsv1.Deployment {
	GinkgoHelper()
	d := &appsv1.Deployment{}
	for _, o := range objects {
		if o.GetKind() == "Deployment" && o.GetName() == operator.ManagerName {
			Expect(runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, d)).To(Succeed())
		}
	}
	Expect(d.Name).NotTo(BeEmpty())
	return d
}

var _ = Describe("The manager of config/default", func() {
	BeforeEach(fresh)

	It("comes up in two replicas, installs, and is taken over", func() {
		lease := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: operator.ManagerName}}
		Expect(client.IgnoreNotFound(admin.Delete(ctx(), lease.DeepCopy()))).To(Succeed())
		program, d := build(), managerDeployment(installed)
		// In a pod the image is that of the pod.
		d.Spec.Template.Spec.Containers[0].Args = append(d.Spec.Template.Spec.Containers[0].Args, "--agent-image="+image)
		a, b := replicaOf(d, program, "tierwall-manager-a"), replicaOf(d, program, "tierwall-manager-b")
		Eventually(a.ready).Should(Succeed())
		Eventually(b.ready).Should(Succeed())
		allInstalled()
		Eventually(state(operator.ConditionDegraded)).Should(HavePrefix("False AsDesired"))
		policy := &v1alpha1.GlobalNetworkPolicy{ObjectMeta: metav1.ObjectMeta{Name: "accepted"}}
		Expect(admin.Create(ctx(), policy)).To(Succeed())
		DeferCleanup(func() { Expect(admin.Delete(ctx(), policy)).To(Succeed()) })
		Eventually(read[*v1alpha1.GlobalNetworkPolicy]).WithArguments(policy).Should(HaveField("Status.Conditions", ContainElement(HaveField("Type", "Accepted"))))

		Expect(read(lease)).NotTo(BeNil())
		leader, other := a, b
		// Both processes have the name of this machine: who is the leader is told by who ends.
		holder := *lease.Spec.HolderIdentity
		leader.Signal(syscall.SIGTERM)
		Eventually(leader).Should(gexec.Exit(0))
		Eventually(read[*coordinationv1.Lease]).WithArguments(lease).Should(HaveField("Spec.HolderIdentity", HaveValue(Not(BeEmpty()))))
		Expect(holder).NotTo(BeEmpty())
		deleted(objects()[0])
		Eventually(daemonSet).Should(enforcing)
		other.Signal(syscall.SIGTERM)
		Eventually(other).Should(gexec.Exit(0))
	})
})
