package admission

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	certutil "k8s.io/client-go/util/cert"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/manager"
)

// keyOfCAs is the key of the Secret under which the webhook's clients find whom to
// trust: the issuer of the certificate, and that of the one before.
const keyOfCAs = "ca.crt"

// keeper maintains the webhook's certificate.
//
// The certificate is in a Secret. Every replica reads it periodically, serves what it
// finds, and ensures that the API server trusts it; a replica that finds none, or one
// that has reached two thirds of its lifetime, writes a new one. Each certificate has
// an issuer of its own, whose key is not kept. As long as other replicas may serve the
// previous certificate, its issuer is trusted too.
//
// No file is involved: a volume with the Secret would lag behind it by a minute or two,
// and a pod would not start without it.
type keeper struct {
	client client.Client
	live   client.Reader
	clock  clock.Clock

	secret   client.ObjectKey
	webhooks string // the ValidatingWebhookConfiguration
	host     string // the name that the API server uses
	validity time.Duration
	period   time.Duration

	current atomic.Pointer[tls.Certificate]
}

var (
	_ manager.Runnable               = (*keeper)(nil)
	_ manager.LeaderElectionRunnable = (*keeper)(nil)
)

// NeedLeaderElection is false: every replica serves the webhook.
func (*keeper) NeedLeaderElection() bool { return false }

// retry is when to look again after a failure.
const retry = 5 * time.Second

// Start looks after the certificate until the context ends.
func (k *keeper) Start(ctx context.Context) error {
	logger := log.FromContext(ctx).WithName("webhook-certificate")
	for {
		pause := k.period
		if err := k.sync(log.IntoContext(ctx, logger)); err != nil && ctx.Err() == nil {
			logger.Error(err, "the webhook's certificate")
			pause = min(retry, k.period)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-k.clock.After(pause):
		}
	}
}

// get is what the webhook's server serves.
func (k *keeper) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	if c := k.current.Load(); c != nil {
		return c, nil
	}
	return nil, errors.New("the webhook has no certificate yet")
}

// sync ensures that there is a good certificate, and starts using it.
func (k *keeper) sync(ctx context.Context) error {
	var s corev1.Secret
	if err := k.live.Get(ctx, k.secret, &s); err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("reading Secret/%s: %w", k.secret, err)
	}
	c, err := k.check(&s)
	if err != nil {
		log.FromContext(ctx).Info("issuing a certificate", "because", err.Error())
		if err := k.issue(ctx, &s); err != nil {
			return err
		}
		if c, err = k.check(&s); err != nil {
			return fmt.Errorf("the certificate that was just issued: %w", err)
		}
	}
	k.current.Store(c)
	return k.trust(ctx, s.Data[keyOfCAs])
}

// check reads the certificate of a Secret; the error explains why a new one is needed.
func (k *keeper) check(s *corev1.Secret) (*tls.Certificate, error) {
	c, err := tls.X509KeyPair(s.Data[corev1.TLSCertKey], s.Data[corev1.TLSPrivateKeyKey])
	if err != nil {
		return nil, fmt.Errorf("there is no usable one: %w", err)
	}
	now := k.clock.Now()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(s.Data[keyOfCAs])
	if _, err := c.Leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: k.host, CurrentTime: now}); err != nil {
		return nil, fmt.Errorf("it cannot be trusted: %w", err)
	}
	if renew := c.Leaf.NotAfter.Add(-k.validity / 3); !now.Before(renew) {
		return nil, fmt.Errorf("it ends at %s", c.Leaf.NotAfter.UTC().Format(time.RFC3339))
	}
	return &c, nil
}

// issue writes a new certificate into the Secret, and reads the resulting Secret into
// s: if two replicas write at the same time, it has the certificate of one of them.
//
// It is applied and not created, because the permission to apply can be limited to one
// Secret by name.
func (k *keeper) issue(ctx context.Context, s *corev1.Secret) error {
	chain, key, err := certutil.GenerateSelfSignedCertKeyWithOptions(certutil.SelfSignedCertKeyOptions{Host: k.host, MaxAge: k.validity})
	if err != nil {
		return fmt.Errorf("issuing a certificate: %w", err)
	}
	// The chain is the certificate and its issuer.
	block, issuer := pem.Decode(chain)
	if block == nil || len(issuer) == 0 {
		return errors.New("issuing a certificate: no issuer in the chain")
	}
	fresh := corev1ac.Secret(k.secret.Name, k.secret.Namespace).
		WithLabels(labels).
		WithType(corev1.SecretTypeTLS).
		WithData(map[string][]byte{
			corev1.TLSCertKey: chain, corev1.TLSPrivateKeyKey: key,
			keyOfCAs: append(bytes.Clone(issuer), k.previous(s)...),
		})
	if s.ResourceVersion != "" {
		fresh = fresh.WithResourceVersion(s.ResourceVersion)
	}
	if err := k.client.Apply(ctx, fresh, fieldOwner, client.ForceOwnership); err != nil && !apierrors.IsConflict(err) {
		return fmt.Errorf("writing Secret/%s: %w", k.secret, err)
	}
	if err := k.live.Get(ctx, k.secret, s); err != nil {
		return fmt.Errorf("reading Secret/%s: %w", k.secret, err)
	}
	return nil
}

// previous is the issuer of the certificate that a Secret holds, if it is still of use.
func (k *keeper) previous(s *corev1.Secret) []byte {
	block, _ := pem.Decode(s.Data[keyOfCAs])
	if block == nil {
		return nil
	}
	ca, err := x509.ParseCertificate(block.Bytes)
	if err != nil || k.clock.Now().After(ca.NotAfter) {
		return nil
	}
	return pem.EncodeToMemory(block)
}

// trust has the API server trust the issuers, if it does not yet.
func (k *keeper) trust(ctx context.Context, issuers []byte) error {
	var c admissionregistrationv1.ValidatingWebhookConfiguration
	if err := k.live.Get(ctx, client.ObjectKey{Name: k.webhooks}, &c); err != nil {
		return fmt.Errorf("reading ValidatingWebhookConfiguration/%s: %w", k.webhooks, err)
	}
	changed := c.DeepCopy()
	differs := false
	for i := range changed.Webhooks {
		bundle := &changed.Webhooks[i].ClientConfig.CABundle
		differs = differs || !bytes.Equal(*bundle, issuers)
		*bundle = issuers
	}
	if !differs {
		return nil
	}
	if err := k.client.Patch(ctx, changed, client.MergeFromWithOptions(&c, client.MergeFromWithOptimisticLock{})); err != nil {
		return fmt.Errorf("writing whom to trust into ValidatingWebhookConfiguration/%s: %w", k.webhooks, err)
	}
	return nil
}
