package image

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// moduleDir is where a module that another go.mod pins is unpacked.
func moduleDir(t *testing.T, in, module string) string {
	t.Helper()
	c := exec.Command("go", "mod", "download", "-json", module)
	c.Dir = in
	c.Env = append(os.Environ(), "GOWORK=off")
	out, err := c.Output()
	found := regexp.MustCompile(`"Dir": "(.*)"`).FindSubmatch(out)
	if err != nil || found == nil {
		t.Fatalf("module %s of %s: %v: %s", module, in, err, out)
	}
	return string(found[1])
}

// read is a file of it.
func read(t *testing.T, file ...string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(file...))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestNamesAreThoseOfThePinnedSuites(t *testing.T) {
	const kube = "../../../hack/kube"
	kubernetes := moduleDir(t, kube, "k8s.io/kubernetes")
	list := read(t, kubernetes, "test", "utils", "image", "manifest.go")
	registries := map[string]string{"GcRegistry": "registry.k8s.io", "PromoterE2eRegistry": "registry.k8s.io/e2e-test-images"}
	for field, registry := range registries {
		if !regexp.MustCompile(field + `:\s+"` + regexp.QuoteMeta(registry) + `"`).MatchString(list) {
			t.Errorf("%s of the suites is not %s", field, registry)
		}
	}
	for id, want := range map[string]string{"Agnhost": AgnhostNames[0], "AgnhostPrev": AgnhostNames[1], "Pause": PauseName} {
		found := regexp.MustCompile(`configs\[` + id + `\] = Config\{list\.(\w+), "([^"]+)", "([^"]+)"\}`).FindStringSubmatch(list)
		if found == nil {
			t.Errorf("the suites have no image %s", id)
			continue
		}
		if got := registries[found[1]] + "/" + found[2] + ":" + found[3]; got != want {
			t.Errorf("the suites' image %s is %s, not %s", id, got, want)
		}
	}
	policy := moduleDir(t, kube, "sigs.k8s.io/network-policy-api")
	manifests := read(t, policy, "conformance", "base", "manifests.yaml")
	for _, found := range regexp.MustCompile(`image: (\S+)`).FindAllStringSubmatch(manifests, -1) {
		if found[1] != AgnhostNames[2] {
			t.Errorf("network-policy-api's image is %s, not %s", found[1], AgnhostNames[2])
		}
	}
}

func TestCoreDNSIsThePinnedOne(t *testing.T) {
	_, version, _ := strings.Cut(CoreDNSName, ":")
	if pins := read(t, "../../../hack/coredns", "go.mod"); !strings.Contains(pins, "github.com/coredns/coredns "+version+"\n") {
		t.Errorf("hack/coredns does not pin %s", version)
	}
}

func TestPauseAndFrontAreBuilt(t *testing.T) {
	module, err := filepath.Abs("../../..")
	if err != nil {
		t.Fatal(err)
	}
	b := Builder{Module: module, Work: t.TempDir()}
	i, err := b.Pause(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := static(i.Files[0].Source); err != nil {
		t.Error(err)
	}
	// The program itself stands for agnhost and the rest: what is looked at is how
	// they are put together.
	b.Bash, b.Busybox = i.Files[0].Source, i.Files[0].Source
	i, err = b.Agnhost(t.Context(), b.Bash)
	if err != nil {
		t.Fatal(err)
	}
	_, parts := entries(t, write(t, i))
	for name, content := range parts {
		if !strings.HasSuffix(name, "layer.tar") {
			continue
		}
		_, files := entries(t, content)
		for _, want := range []string{"agnhost", "agnhost.real", "localhost.crt", "localhost.key", "bin/sh", "bin/bash", "uploads/"} {
			if _, there := files[want]; !there {
				t.Errorf("no %s in the image", want)
			}
		}
		if !bytes.Contains(files["localhost.crt"], []byte("BEGIN CERTIFICATE")) {
			t.Error("localhost.crt is no certificate")
		}
	}
}
