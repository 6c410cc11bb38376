package admission

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	certutil "k8s.io/client-go/util/cert"
	testclock "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/controllers/admission"
	"github.com/tierwall/tierwall/test/integration/env"
)

// hang accepts connections on a port and says nothing.
func hang(port int) {
	GinkgoHelper()
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(func() { Expect(l.Close()).To(Succeed()) })
	go func() {
		for {
			if _, err := l.Accept(); err != nil {
				return
			}
		}
	}()
}

// secret is the one with the certificate.
func secret(g Gomega) *corev1.Secret {
	s := &corev1.Secret{}
	g.Expect(admin.Get(ctx(), client.ObjectKey{Namespace: namespace, Name: admission.SecretName}, s)).To(Succeed())
	return s
}

// served is what the API server of this moment would make of the webhook on a
// port: the certificate that it trusts, or why it does not.
func served(g Gomega, port int) *x509.Certificate {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(configuration().Webhooks[0].ClientConfig.CABundle)
	c, err := tls.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port), &tls.Config{RootCAs: roots, ServerName: "localhost"})
	g.Expect(err).NotTo(HaveOccurred())
	defer func() { _ = c.Close() }()
	return c.ConnectionState().PeerCertificates[0]
}

var _ = Describe("the webhook's certificate", func() {
	// With no Secret to begin with.
	BeforeEach(func() {
		s := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: admission.SecretName}}
		Expect(client.IgnoreNotFound(admin.Delete(ctx(), s))).To(Succeed())
	})
	up := func() replica {
		GinkgoHelper()
		r := manage(admission.Options{NoInstall: true})
		webhookAt(r.port)
		answers()
		return r
	}
	// write puts a certificate of that age into the Secret, as if it had been issued.
	write := func(s *corev1.Secret, age time.Duration) {
		GinkgoHelper()
		chain, key, err := certutil.GenerateSelfSignedCertKeyWithOptions(certutil.SelfSignedCertKeyOptions{Host: "localhost", MaxAge: age})
		Expect(err).NotTo(HaveOccurred())
		certs, err := certutil.ParseCertsPEM(chain)
		Expect(err).NotTo(HaveOccurred())
		issuer, err := certutil.EncodeCertificates(certs[1])
		Expect(err).NotTo(HaveOccurred())
		s.Data = map[string][]byte{"tls.crt": chain, "tls.key": key, "ca.crt": issuer}
		Expect(admin.Update(ctx(), s)).To(Succeed())
	}

	It("is issued, kept in a Secret and trusted", func() {
		r := up()
		s := secret(Default)
		Expect(s.Type).To(Equal(corev1.SecretTypeTLS))
		Expect(configuration().Webhooks[0].ClientConfig.CABundle).To(Equal(s.Data["ca.crt"]))
		c := served(Default, r.port)
		Expect(c.NotAfter).To(BeTemporally("~", time.Now().Add(admission.DefaultValidity), 2*time.Hour))
	})

	It("is renewed when two thirds of its time have passed, and the one before stays trusted", func() {
		r := up()
		s := secret(Default)
		// Twenty days left: less than a third of ninety.
		write(s, 20*24*time.Hour)
		before, err := certutil.ParseCertsPEM(s.Data["tls.crt"])
		Expect(err).NotTo(HaveOccurred())
		Eventually(func(g Gomega) {
			g.Expect(secret(g).Data["tls.crt"]).NotTo(Equal(s.Data["tls.crt"]))
			c := served(g, r.port)
			g.Expect(c.Equal(before[0])).To(BeFalse())
			g.Expect(c.NotAfter).To(BeTemporally("~", time.Now().Add(admission.DefaultValidity), 2*time.Hour))
		}).Should(Succeed())
		Eventually(func(g Gomega) {
			issuers, err := certutil.ParseCertsPEM(configuration().Webhooks[0].ClientConfig.CABundle)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(issuers).To(HaveLen(2))
			g.Expect(issuers[1].Equal(before[1])).To(BeTrue())
		}).Should(Succeed())
		answers()
	})

	It("is kept while more than a third of its time is left", func() {
		up()
		s := secret(Default)
		write(s, 40*24*time.Hour)
		Eventually(func() []byte { return configuration().Webhooks[0].ClientConfig.CABundle }).Should(Equal(s.Data["ca.crt"]))
		Expect(secret(Default).Data).To(Equal(s.Data))
		answers()
	})

	It("is issued anew when it has run out, is damaged, or is gone", func() {
		r := up()
		good := func(previous []byte) {
			GinkgoHelper()
			Eventually(func(g Gomega) {
				s := secret(g)
				g.Expect(s.Data["tls.crt"]).NotTo(Equal(previous))
				served(g, r.port)
			}).Should(Succeed())
			answers()
		}
		s := secret(Default)
		write(s, 30*time.Minute) // ran out half an hour ago: it began an hour ago
		good(s.Data["tls.crt"])

		s = secret(Default)
		s.Data = map[string][]byte{"tls.crt": []byte("no certificate"), "tls.key": nil, "ca.crt": {0}}
		Expect(admin.Update(ctx(), s)).To(Succeed())
		good(s.Data["tls.crt"])

		s = secret(Default)
		Expect(admin.Delete(ctx(), s)).To(Succeed())
		good(s.Data["tls.crt"])
	})

	It("is trusted again after somebody took the trust away", func() {
		up()
		c := configuration()
		c.Webhooks[0].ClientConfig.CABundle = nil
		Expect(admin.Update(ctx(), c)).To(Succeed())
		Eventually(func() []byte { return configuration().Webhooks[0].ClientConfig.CABundle }).Should(Equal(secret(Default).Data["ca.crt"]))
		answers()
	})

	It("is one for all replicas, also when all start at once", func() {
		replicas := []replica{manage(admission.Options{NoInstall: true}), manage(admission.Options{NoInstall: true}), manage(admission.Options{NoInstall: true})}
		webhookAt(replicas[0].port)
		Eventually(func(g Gomega) {
			leaf, err := certutil.ParseCertsPEM(secret(g).Data["tls.crt"])
			g.Expect(err).NotTo(HaveOccurred())
			for _, r := range replicas {
				g.Expect(served(g, r.port).Equal(leaf[0])).To(BeTrue())
			}
		}).Should(Succeed())
		answers()
	})
})

var _ = Describe("what guards tiers and objects", func() {
	It("is looked for by the manager, which may not install it", func() {
		list := func() (notes []string) {
			var all eventsv1.EventList
			Expect(admin.List(ctx(), &all)).To(Succeed())
			for _, e := range all.Items {
				if e.Reason == admission.ReasonPoliciesMissing {
					notes = append(notes, e.Note)
				}
			}
			return notes
		}
		tw := &v1alpha1.Tierwall{ObjectMeta: metav1.ObjectMeta{Name: v1alpha1.TierwallName}}
		Expect(admin.Create(ctx(), tw)).To(Succeed())
		DeferCleanup(func() { Expect(admin.Delete(ctx(), tw)).To(Succeed()) })
		Expect(server.Apply(ctx(), "config/admission/built-in-tiers.yaml")).To(Succeed())
		policy := &admissionregistrationv1.ValidatingAdmissionPolicy{ObjectMeta: metav1.ObjectMeta{Name: "tierwall-built-in-tiers"}}
		binding := &admissionregistrationv1.ValidatingAdmissionPolicyBinding{ObjectMeta: policy.ObjectMeta}
		DeferCleanup(func() {
			Expect(admin.Delete(ctx(), policy)).To(Succeed())
			Expect(admin.Delete(ctx(), binding)).To(Succeed())
		})
		By("one that somebody has changed, and others that are not there")
		Expect(admin.Patch(ctx(), binding.DeepCopy(), client.RawPatch(types.MergePatchType, []byte(`{"spec":{"validationActions":["Audit"]}}`)))).To(Succeed())
		manage(admission.Options{NoInstall: true})
		Eventually(list).Should(ContainElement(And(
			ContainSubstring("ValidatingAdmissionPolicy/tierwall-tier-ownership is missing"),
			ContainSubstring("ValidatingAdmissionPolicyBinding/tierwall-manager-daemonset is missing"),
			ContainSubstring("ValidatingAdmissionPolicyBinding/tierwall-built-in-tiers is not that of this version"),
			Not(ContainSubstring("ValidatingAdmissionPolicy/tierwall-built-in-tiers")),
		)))
	})
})

var _ = Describe("what leads to the webhook", func() {
	It("is installed by the manager, and again when somebody removes it", func() {
		want, err := env.Read(server.Root() + "/config/webhook/")
		Expect(err).NotTo(HaveOccurred())
		Expect(want).To(HaveLen(2))
		present := func(g Gomega) {
			for _, o := range want {
				live := &unstructured.Unstructured{}
				live.SetGroupVersionKind(o.GroupVersionKind())
				g.Expect(admin.Get(ctx(), client.ObjectKeyFromObject(o), live)).To(Succeed(), o.GetKind()+"/"+o.GetName())
			}
		}
		DeferCleanup(func() {
			for _, o := range want {
				Expect(client.IgnoreNotFound(admin.Delete(ctx(), o))).To(Succeed())
			}
		})
		ticks := testclock.NewFakeClock(time.Now())
		manage(admission.Options{Clock: ticks})
		Eventually(present).Should(Succeed())

		hook := configuration()
		Eventually(func(g Gomega) {
			// The keeper writes whom to trust once there is a configuration.
			ticks.Step(time.Minute)
			hook = configuration()
			g.Expect(hook.Webhooks[0].ClientConfig.CABundle).NotTo(BeEmpty())
		}).Should(Succeed())
		Expect(hook.Webhooks[0].ClientConfig.Service.Namespace).To(Equal(namespace))
		Expect(*hook.Webhooks[0].FailurePolicy).To(Equal(admissionregistrationv1.Ignore))

		for _, o := range want {
			Expect(admin.Delete(ctx(), o.DeepCopy())).To(Succeed())
		}
		Eventually(func(g Gomega) {
			ticks.Step(10 * time.Minute)
			present(g)
			g.Expect(bytes.TrimSpace(configuration().Webhooks[0].ClientConfig.CABundle)).NotTo(BeEmpty())
		}).Should(Succeed())
	})
})
