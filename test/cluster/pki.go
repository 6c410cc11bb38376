//go:build linux

package cluster

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// pki is a folder of certificates NAME.crt and keys NAME.key, all of one
// authority, "ca". They are good for a year.
type pki struct{ dir string }

const validity = 365 * 24 * time.Hour

func (p pki) cert(name string) string       { return filepath.Join(p.dir, name+".crt") }
func (p pki) key(name string) string        { return filepath.Join(p.dir, name+".key") }
func (p pki) kubeconfig(name string) string { return filepath.Join(p.dir, name+".kubeconfig") }

// identity is what a certificate says of its owner.
type identity struct {
	user   string
	groups []string
	// serves are the names and addresses of a server; a client has none.
	serves []string
}

// create makes the authority, the key of service accounts, and the certificates
// and kubeconfigs of all programs.
func (p pki) create(o Options) error {
	if err := os.MkdirAll(p.dir, 0o700); err != nil {
		return err
	}
	if err := p.createAuthority(); err != nil {
		return err
	}
	if err := p.createAccountKey(); err != nil {
		return err
	}
	names := []string{"kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local", "localhost", "127.0.0.1", "::1",
		serviceAddress.String(), "fd00:96::1", serverAddress.String(), serverAddress6.String()}
	all := map[string]identity{
		"apiserver":          {user: "kube-apiserver", serves: names},
		"kubelet-client":     {user: "apiserver-kubelet-client", groups: []string{"system:masters"}},
		"admin":              {user: "admin", groups: []string{"system:masters"}},
		"controller-manager": {user: "system:kube-controller-manager"},
		"scheduler":          {user: "system:kube-scheduler"},
		"proxy":              {user: "system:kube-proxy"},
	}
	for i := 1; i <= o.Nodes; i++ {
		n := nodeName(i)
		all[n] = identity{user: "system:node:" + n, groups: []string{"system:nodes"}, serves: append([]string{n}, o.machineAddresses(i)...)}
	}
	for name, id := range all {
		if err := p.createOne(name, id); err != nil {
			return fmt.Errorf("certificate of %s: %w", name, err)
		}
	}
	return nil
}

func (p pki) createAuthority() error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: "tierwall test cluster"},
		NotBefore:    time.Now().Add(-time.Hour), NotAfter: time.Now().Add(validity),
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature | x509.KeyUsageCRLSign,
		IsCA:     true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, key.Public(), key)
	if err != nil {
		return err
	}
	return p.write("ca", der, key)
}

// createAccountKey makes the key that signs the tokens of service accounts.
func (p pki) createAccountKey() error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return err
	}
	if err := writePEM(filepath.Join(p.dir, "accounts.pub"), "PUBLIC KEY", public); err != nil {
		return err
	}
	return writeKey(p.key("accounts"), key)
}

// createOne makes a certificate with its key, and a kubeconfig for a client.
func (p pki) createOne(name string, id identity) error {
	der, key, err := p.issue(id)
	if err != nil {
		return err
	}
	if err := p.write(name, der, key); err != nil {
		return err
	}
	config, err := p.config(der, key, id.user)
	if err != nil {
		return err
	}
	return os.WriteFile(p.kubeconfig(name), config, 0o600)
}

// issue signs a new certificate.
func (p pki) issue(id identity) (der []byte, key *ecdsa.PrivateKey, err error) {
	pair, err := readAuthority(p.cert("ca"), p.key("ca"))
	if err != nil {
		return nil, nil, err
	}
	if key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return nil, nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, nil, err
	}
	template := x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: id.user, Organization: id.groups},
		NotBefore:    time.Now().Add(-time.Hour), NotAfter: pair.certificate.NotAfter,
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	if len(id.serves) > 0 {
		template.ExtKeyUsage = append(template.ExtKeyUsage, x509.ExtKeyUsageServerAuth)
	}
	for _, s := range id.serves {
		if ip := net.ParseIP(s); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, s)
		}
	}
	der, err = x509.CreateCertificate(rand.Reader, &template, pair.certificate, key.Public(), pair.key)
	return der, key, err
}

// config is a kubeconfig for the owner of a certificate.
func (p pki) config(der []byte, key *ecdsa.PrivateKey, user string) ([]byte, error) {
	authority, err := os.ReadFile(p.cert("ca"))
	if err != nil {
		return nil, err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	c := clientcmdapi.NewConfig()
	c.Clusters["tierwall"] = &clientcmdapi.Cluster{
		Server:                   fmt.Sprintf("https://%s:%d", serverAddress, serverPort),
		CertificateAuthorityData: authority,
	}
	c.AuthInfos[user] = &clientcmdapi.AuthInfo{
		ClientCertificateData: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		ClientKeyData:         pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}),
	}
	c.Contexts["tierwall"] = &clientcmdapi.Context{Cluster: "tierwall", AuthInfo: user}
	c.CurrentContext = "tierwall"
	return clientcmd.Write(*c)
}

func (p pki) write(name string, der []byte, key crypto.PrivateKey) error {
	if err := writePEM(p.cert(name), "CERTIFICATE", der); err != nil {
		return err
	}
	return writeKey(p.key(name), key)
}

// authority is a certificate that signs others, with its key.
type authority struct {
	certificate *x509.Certificate
	key         crypto.PrivateKey
}

func readAuthority(certFile, keyFile string) (*authority, error) {
	cert, err := readPEM(certFile)
	if err != nil {
		return nil, err
	}
	key, err := readPEM(keyFile)
	if err != nil {
		return nil, err
	}
	a := &authority{}
	if a.certificate, err = x509.ParseCertificate(cert); err != nil {
		return nil, fmt.Errorf("%s: %w", certFile, err)
	}
	if a.key, err = x509.ParsePKCS8PrivateKey(key); err != nil {
		return nil, fmt.Errorf("%s: %w", keyFile, err)
	}
	return a, nil
}

func readPEM(file string) ([]byte, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(b)
	if block == nil {
		return nil, fmt.Errorf("%s: %w", file, errors.New("is not PEM"))
	}
	return block.Bytes, nil
}

func writePEM(file, kind string, der []byte) error {
	return os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600)
}

func writeKey(file string, key crypto.PrivateKey) error {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	return writePEM(file, "PRIVATE KEY", der)
}
