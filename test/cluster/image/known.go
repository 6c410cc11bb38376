package image

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// PauseName is the image of every pod's first container, as the kubelet of
// Kubernetes v1.36.3 and the containerd of that time expect it.
const PauseName = "registry.k8s.io/pause:3.10.2"

// AgnhostNames are the names that the pinned suites run agnhost by: Kubernetes
// v1.36.3 by the first, and by the second where it wants an older one;
// network-policy-api v0.2.0 by the third.
var AgnhostNames = []string{
	"registry.k8s.io/e2e-test-images/agnhost:2.63.0",
	"registry.k8s.io/e2e-test-images/agnhost:2.55",
	"registry.k8s.io/e2e-test-images/agnhost:2.45",
}

// CoreDNSName has the version that hack/coredns/go.mod pins.
const CoreDNSName = "registry.k8s.io/coredns/coredns:v1.15.0"

// Builder makes the known images.
type Builder struct {
	// Module is the folder of Tierwall's go.mod: small programs are built from there.
	Module string
	// Work is a folder for what is built.
	Work string
	// Bash and Busybox are static programs; empty means Debian's,
	// /bin/bash-static and /bin/busybox.
	Bash, Busybox string
}

// Pause is the pause image.
func (b Builder) Pause(ctx context.Context) (Image, error) {
	pause, err := b.build(ctx, "pause")
	if err != nil {
		return Image{}, err
	}
	return Image{
		Names:      []string{PauseName},
		Entrypoint: []string{"/pause"},
		Files:      []File{{Path: "/pause", Source: pause}},
		User:       "65535:65535",
	}, nil
}

// applets are the commands that the suites and people call in an agnhost pod.
var applets = []string{
	"sh", "ash", "awk", "basename", "cat", "chmod", "cp", "cut", "date", "dd", "dirname", "echo", "env", "expr", "false",
	"find", "grep", "head", "hostname", "id", "ifconfig", "ip", "kill", "ls", "mkdir", "mktemp", "mv", "nc", "netstat",
	"nslookup", "ping", "ping6", "printf", "ps", "pwd", "rm", "route", "sed", "seq", "sleep", "sort", "stat", "stty", "sync",
	"tail", "tar", "tee", "test", "time", "timeout", "touch", "tr", "traceroute", "true", "tty", "uname", "uniq", "vi", "wc",
	"wget", "whoami", "xargs", "yes",
}

// Agnhost is agnhost with a shell and small commands around it. program is the
// built program. In front of it stands a small one of ours, which does the SCTP
// of `agnhost porter` and `agnhost connect` where the kernel has no sockets for it.
func (b Builder) Agnhost(ctx context.Context, program string) (Image, error) {
	front, err := b.build(ctx, "front")
	if err != nil {
		return Image{}, err
	}
	bash, busybox := b.Bash, b.Busybox
	if bash == "" {
		bash = "/bin/bash-static"
	}
	if busybox == "" {
		busybox = "/bin/busybox"
	}
	for _, p := range []string{program, bash, busybox} {
		if err := static(p); err != nil {
			return Image{}, fmt.Errorf("image agnhost: %w", err)
		}
	}
	certificate, key, err := localhost()
	if err != nil {
		return Image{}, fmt.Errorf("image agnhost: %w", err)
	}
	files := []File{
		{Path: "/agnhost", Source: front},
		{Path: "/agnhost.real", Source: program},
		{Path: "/agnhost-2", Link: "agnhost"},
		{Path: "/localhost.crt", Content: certificate},
		{Path: "/localhost.key", Content: key},
		{Path: "/bin/busybox", Source: busybox},
		{Path: "/bin/bash", Source: bash},
		{Path: "/etc/passwd", Content: []byte("root:x:0:0:root:/root:/bin/sh\nuser-defined-in-image:x:1000:1000::/home:/bin/sh\n")},
		{Path: "/etc/group", Content: []byte("root:x:0:\nuser-defined-in-image:x:1000:\ngroup-defined-in-image:x:50000:user-defined-in-image\n")},
		{Path: "/uploads", Folder: true},
		{Path: "/tmp", Folder: true},
		{Path: "/root", Folder: true},
	}
	for _, a := range applets {
		files = append(files, File{Path: "/bin/" + a, Link: "busybox"})
	}
	return Image{Names: AgnhostNames, Entrypoint: []string{"/agnhost"}, Command: []string{"pause"}, Files: files}, nil
}

// Tierwall is the image that the last stage of the Dockerfile makes, of a
// program that was built with CGO_ENABLED=0.
func (b Builder) Tierwall(program string, names ...string) (Image, error) {
	if err := static(program); err != nil {
		return Image{}, fmt.Errorf("image tierwall: %w", err)
	}
	return Image{
		Names:      names,
		Entrypoint: []string{"/usr/bin/tierwall"},
		User:       "65532:65532",
		Files: []File{
			{Path: "/licenses/LICENSE", Source: filepath.Join(b.Module, "LICENSE")},
			{Path: "/usr/bin/tierwall", Source: program},
		},
	}, nil
}

// CoreDNS is the DNS server of hack/coredns, whose program hack/kube.sh builds.
func (b Builder) CoreDNS(program string) (Image, error) {
	if err := static(program); err != nil {
		return Image{}, fmt.Errorf("image coredns: %w", err)
	}
	return Image{
		Names:      []string{CoreDNSName},
		Entrypoint: []string{"/coredns"},
		Files:      []File{{Path: "/coredns", Source: program}},
	}, nil
}

// build compiles one of the small programs beside this file, for this machine.
func (b Builder) build(ctx context.Context, program string) (string, error) {
	out := filepath.Join(b.Work, program)
	c := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o", out, "./test/cluster/image/"+program)
	c.Dir = b.Module
	c.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=", "GOARCH=", "GOFLAGS=")
	if said, err := c.CombinedOutput(); err != nil {
		return "", fmt.Errorf("image: cannot build %s: %w\n%s", program, err, said)
	}
	return out, nil
}
