package admission

import (
	"bytes"
	"encoding/pem"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	certutil "k8s.io/client-go/util/cert"
	testclock "k8s.io/utils/clock/testing"
)

// issued is a Secret as issue writes it.
func issued(t *testing.T, host string, validity time.Duration) *corev1.Secret {
	t.Helper()
	chain, key, err := certutil.GenerateSelfSignedCertKeyWithOptions(certutil.SelfSignedCertKeyOptions{Host: host, MaxAge: validity})
	if err != nil {
		t.Fatal(err)
	}
	_, issuer := pem.Decode(chain)
	return &corev1.Secret{Data: map[string][]byte{corev1.TLSCertKey: chain, corev1.TLSPrivateKeyKey: key, keyOfCAs: issuer}}
}

// TestCheck: when a certificate is replaced.
func TestCheck(t *testing.T) {
	const day = 24 * time.Hour
	start := time.Now()
	ticks := testclock.NewFakeClock(start)
	k := &keeper{clock: ticks, host: "webhook.example", validity: 90 * day}
	good, other := issued(t, k.host, k.validity), issued(t, k.host, k.validity)
	foreign := good.DeepCopy()
	foreign.Data[keyOfCAs] = other.Data[keyOfCAs]
	mixed := good.DeepCopy()
	mixed.Data[corev1.TLSPrivateKeyKey] = other.Data[corev1.TLSPrivateKeyKey]
	both := good.DeepCopy()
	both.Data[keyOfCAs] = bytes.Join([][]byte{other.Data[keyOfCAs], good.Data[keyOfCAs]}, nil)
	for _, tc := range []struct {
		name   string
		secret *corev1.Secret
		after  time.Duration
		why    string // "": it is kept
	}{
		{"new", good, 0, ""},
		{"two thirds less a day", good, 59 * day, ""},
		{"two thirds", good, 60 * day, "it ends at"},
		{"run out", good, 91 * day, "cannot be trusted"},
		{"not valid yet", good, -2 * time.Hour, "cannot be trusted"},
		{"no Secret", &corev1.Secret{}, 0, "no usable one"},
		{"of another host", issued(t, "other.example", k.validity), 0, "cannot be trusted"},
		{"of another issuer", foreign, 0, "cannot be trusted"},
		{"of two issuers", both, 0, ""},
		{"with the key of another", mixed, 0, "no usable one"},
		{"with less than a third of what it should have", issued(t, k.host, 29*day), 0, "it ends at"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			ticks.SetTime(start.Add(tc.after))
			switch c, err := k.check(tc.secret); {
			case tc.why == "" && (err != nil || c == nil):
				t.Errorf("is replaced: %v", err)
			case tc.why != "" && (err == nil || !strings.Contains(err.Error(), tc.why)):
				t.Errorf("got %v, want %q", err, tc.why)
			}
		})
	}
}

// TestPrevious: the issuer before is trusted for as long as it is valid, and the one
// before that no more.
func TestPrevious(t *testing.T) {
	start := time.Now()
	ticks := testclock.NewFakeClock(start)
	k := &keeper{clock: ticks, host: "webhook.example", validity: time.Hour}
	a, b := issued(t, k.host, 48*time.Hour), issued(t, k.host, 48*time.Hour)
	a.Data[keyOfCAs] = append(bytes.Clone(a.Data[keyOfCAs]), b.Data[keyOfCAs]...)
	first, _ := pem.Decode(a.Data[keyOfCAs])
	if got := k.previous(a); !bytes.Equal(got, pem.EncodeToMemory(first)) {
		t.Errorf("got %q", got)
	}
	ticks.SetTime(start.Add(72 * time.Hour))
	if got := k.previous(a); got != nil {
		t.Errorf("an issuer that has run out is trusted: %q", got)
	}
	for _, damaged := range [][]byte{nil, []byte("no block"), []byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")} {
		if got := k.previous(&corev1.Secret{Data: map[string][]byte{keyOfCAs: damaged}}); got != nil {
			t.Errorf("%q: got %q", damaged, got)
		}
	}
}

// TestNoCertificateYet: a server without a certificate says so, and does not crash.
func TestNoCertificateYet(t *testing.T) {
	if _, err := (&keeper{}).get(nil); err == nil {
		t.Error("a certificate from nowhere")
	}
}
