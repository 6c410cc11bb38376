package scrape

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"sync"
	"time"

	"k8s.io/utils/clock"
)

// validity of a certificate. A new one is made after half of it.
const validity = 90 * 24 * time.Hour

// certificates makes the certificates of a process, which nobody has signed: they
// keep what is sent secret, and do not prove who serves it.
type certificates struct {
	clock clock.PassiveClock

	mu      sync.Mutex
	current *tls.Certificate
	// begins is when the current one becomes valid, renewAt when there is to be another.
	begins, renewAt time.Time
}

// get implements tls.Config's GetCertificate.
func (c *certificates) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	// Without its monotonic reading: those who connect compare what the clock shows,
	// which may have been set since.
	now := c.clock.Now().Round(0)
	if c.current != nil && !now.Before(c.begins) && now.Before(c.renewAt) {
		return c.current, nil
	}
	begins := now.Add(-time.Hour)
	made, err := selfSigned(begins, now.Add(validity))
	if err != nil {
		return nil, fmt.Errorf("certificate for metrics: %w", err)
	}
	c.current, c.begins, c.renewAt = made, begins, now.Add(validity/2)
	return made, nil
}

// selfSigned makes a certificate with a key on P-256: it is signed with in well
// under a tenth of the time that RSA takes.
func selfSigned(begins, ends time.Time) (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "tierwall-metrics"}, DNSNames: []string{"tierwall-metrics"},
		NotBefore: begins, NotAfter: ends,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}
