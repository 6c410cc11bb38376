package admission

import (
	"cmp"
	"crypto/tls"
	"fmt"
	"time"

	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/webhook"
)

// +kubebuilder:rbac:groups=tierwall.io,resources=tiers,verbs=get;list;watch
// +kubebuilder:rbac:groups="",namespace=tierwall-system,resources=secrets,resourceNames=tierwall-webhook-tls,verbs=get;create;patch
// +kubebuilder:rbac:groups="",namespace=tierwall-system,resources=services,resourceNames=tierwall-webhook,verbs=create;patch
// +kubebuilder:rbac:groups=admissionregistration.k8s.io,resources=validatingadmissionpolicies;validatingadmissionpolicybindings,verbs=get
// +kubebuilder:rbac:groups=admissionregistration.k8s.io,resources=validatingwebhookconfigurations,resourceNames=tierwall-validation,verbs=get;create;patch

const (
	// DefaultNamespace is where the manager runs.
	DefaultNamespace = "tierwall-system"
	// ServiceName is the Service that leads to the webhook.
	ServiceName = "tierwall-webhook"
	// SecretName is the Secret that holds the webhook's certificate.
	SecretName = "tierwall-webhook-tls"
	// WebhookName is the name of the ValidatingWebhookConfiguration.
	WebhookName = "tierwall-validation"
	// Path is where the webhook is served.
	Path = "/validate"
	// DefaultPort is the port of the webhook.
	DefaultPort = 9443
	// DefaultValidity is how long a certificate is valid. It is renewed after two
	// thirds of that.
	DefaultValidity = 90 * 24 * time.Hour
)

const (
	fieldOwner = client.FieldOwner("tierwall-admission")
	// certificatePeriod is how often a replica looks at the certificate. It is how
	// long a replica may go on with one that another has replaced.
	certificatePeriod = time.Minute
	// installPeriod is how long an object that somebody has removed may be missing,
	// and a missing policy go unreported.
	installPeriod = 5 * time.Minute
)

// labels of the objects that the manager makes.
var labels = map[string]string{
	"app.kubernetes.io/name": "tierwall", "app.kubernetes.io/component": "admission", "app.kubernetes.io/part-of": "tierwall",
}

// Options of the webhook. The zero value is what the manager uses.
type Options struct {
	// Namespace of the manager; empty means DefaultNamespace.
	Namespace string
	// Host is the address to listen on; empty means all.
	Host string
	// Port to listen on; 0 means DefaultPort. Less than 0 means that there is no
	// webhook.
	Port int
	// ServerName is the name that the API server uses for the webhook; empty means
	// that of the Service.
	ServerName string
	// Validity of a certificate; 0 means DefaultValidity.
	Validity time.Duration
	// Period is how often the certificate is looked at; 0 means a minute.
	Period time.Duration
	// NoInstall leaves the objects of config/webhook to others.
	NoInstall bool
	// Clock; nil: the real one.
	Clock clock.Clock
}

// Add gives the webhook, its certificate and the look at the admission policies to a
// manager, whose scheme must know Tierwall's kinds.
func Add(mgr ctrl.Manager, o Options) error {
	if o.Clock == nil {
		o.Clock = clock.RealClock{}
	}
	o.Namespace = cmp.Or(o.Namespace, DefaultNamespace)
	if err := addLookout(mgr, o.Clock); err != nil {
		return fmt.Errorf("admission: %w", err)
	}
	if !o.NoInstall && o.Port >= 0 {
		list, err := objects(o.Namespace)
		if err != nil {
			return fmt.Errorf("admission: %w", err)
		}
		if err := mgr.Add(&installer{client: mgr.GetClient(), clock: o.Clock, objects: list, period: installPeriod}); err != nil {
			return fmt.Errorf("admission: %w", err)
		}
	}
	if o.Port < 0 {
		return nil
	}
	k := &keeper{
		client: mgr.GetClient(), live: mgr.GetAPIReader(), clock: o.Clock,
		secret: client.ObjectKey{Namespace: o.Namespace, Name: SecretName}, webhooks: WebhookName,
		host:     cmp.Or(o.ServerName, ServiceName+"."+o.Namespace+".svc"),
		validity: cmp.Or(o.Validity, DefaultValidity), period: cmp.Or(o.Period, certificatePeriod),
	}
	// A server of its own and not the manager's, whose options are not ours to set.
	server := webhook.NewServer(webhook.Options{Host: o.Host, Port: o.Port, TLSOpts: []func(*tls.Config){func(c *tls.Config) {
		c.MinVersion, c.GetCertificate = tls.VersionTLS13, k.get
	}}})
	server.Register(Path, newRequestLimiter(&webhook.Admission{Handler: &validator{scheme: mgr.GetScheme(), tiers: mgr.GetClient(), live: mgr.GetAPIReader()}}))
	if err := mgr.Add(k); err != nil {
		return fmt.Errorf("admission: %w", err)
	}
	if err := mgr.Add(server); err != nil {
		return fmt.Errorf("admission: %w", err)
	}
	return nil
}
