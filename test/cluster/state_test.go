//go:build linux

package cluster

import (
	"context"
	"crypto/x509"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/tierwall/tierwall/test/cluster/machine"
)

func TestStateIsReadAsWritten(t *testing.T) {
	o, err := Options{Dir: t.TempDir(), Nodes: 2, DualStack: true, Programs: "/p"}.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := readState(o.Dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no state: %v", err)
	}
	p := machine.Process{PID: 7, Start: 8, Boot: "b"}
	s := &state{Options: o, Machines: map[string]machine.Process{"n1": p}, Ready: true}
	if err := s.write(); err != nil {
		t.Fatal(err)
	}
	got, err := readState(o.Dir)
	if err != nil {
		t.Fatal(err)
	}
	if !got.Options.same(o) || got.Machines["n1"] != p || !got.Ready {
		t.Errorf("read %+v", got)
	}
	// A copy of the folder must not lead to the machines of the original.
	other := t.TempDir()
	b, err := os.ReadFile(stateFile(o.Dir))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(stateFile(other), b, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := readState(other); err == nil || !strings.Contains(err.Error(), "is of a cluster in "+o.Dir) {
		t.Errorf("a copied state: %v", err)
	}
	if _, err := Open(o.Dir); err == nil || !strings.Contains(err.Error(), "is not up") {
		t.Errorf("a cluster whose machines are gone: %v", err)
	}
}

func TestLockIsForOne(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "c")
	unlock, err := lock(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := lock(ctx, dir); !errors.Is(err, context.Canceled) {
		t.Fatalf("a second lock: %v", err)
	}
	unlock()
	unlock, err = lock(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	unlock()
}

func TestDownLeavesForeignFoldersAlone(t *testing.T) {
	dir := t.TempDir()
	if err := Down(t.Context(), filepath.Join(dir, "absent")); err != nil {
		t.Errorf("a folder that is not there: %v", err)
	}
	file := filepath.Join(dir, "thesis.txt")
	if err := os.WriteFile(file, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Down(t.Context(), dir); err == nil {
		t.Error("a folder that is no cluster's was taken down")
	}
	if _, err := Up(t.Context(), Options{Dir: dir}); err == nil || !strings.Contains(err.Error(), "not empty") {
		t.Errorf("up in it: %v", err)
	}
	if _, err := os.Stat(file); err != nil {
		t.Error(err)
	}
}

func TestCertificates(t *testing.T) {
	o, err := Options{Dir: t.TempDir(), Nodes: 1, DualStack: true}.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	if err := o.pki().create(o); err != nil {
		t.Fatal(err)
	}
	authority, err := readAuthority(o.pki().cert("ca"), o.pki().key("ca"))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(authority.certificate)
	for name, server := range map[string]string{"apiserver": "10.200.0.1", "n1": "fd00:200::11", "admin": "", "proxy": ""} {
		der, err := readPEM(o.pki().cert(name))
		if err != nil {
			t.Fatal(err)
		}
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := cert.Verify(x509.VerifyOptions{Roots: pool, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
			t.Errorf("%s as a client: %v", name, err)
		}
		_, err = cert.Verify(x509.VerifyOptions{Roots: pool, DNSName: server, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
		if (err == nil) != (server != "") {
			t.Errorf("%s as server %q: %v", name, server, err)
		}
	}
	c := newCluster(&state{Options: o})
	b, err := c.UserKubeconfig("jane", "ops", "dev")
	if err != nil {
		t.Fatal(err)
	}
	config, err := clientcmd.RESTConfigFromKubeConfig(b)
	if err != nil {
		t.Fatal(err)
	}
	if config.Host != "https://10.200.0.1:6443" || len(config.CertData) == 0 {
		t.Errorf("config of jane: %+v", config)
	}
}

func TestReadyIsARecentReport(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	node := func(status corev1.ConditionStatus, at time.Time) *corev1.Node {
		return &corev1.Node{
			ObjectMeta: metav1.ObjectMeta{Name: "n1"},
			Status: corev1.NodeStatus{Conditions: []corev1.NodeCondition{
				{Type: corev1.NodeDiskPressure, Status: corev1.ConditionFalse},
				{Type: corev1.NodeReady, Status: status, LastHeartbeatTime: metav1.Time{Time: at}},
			}},
		}
	}
	for _, c := range []struct {
		name string
		node *corev1.Node
		want string
	}{
		{"ready", node(corev1.ConditionTrue, now.Truncate(time.Second)), ""},
		{"not ready", node(corev1.ConditionFalse, now), "is not ready"},
		{"before its power was cut", node(corev1.ConditionTrue, now.Add(-2*time.Second)), "has not reported"},
		{"never", &corev1.Node{}, "has not said"},
	} {
		err := ready(c.node, now)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}
