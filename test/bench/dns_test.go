package bench

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tierwall/tierwall/lab"
	"github.com/tierwall/tierwall/test/dns"
)

// asAgent, set in the environment, makes this program the program tierwall, so that
// an agent is a process of its own. agentProfile is a file for the profile of its CPU time.
const asAgent, agentProfile = "TIERWALL_BENCH_AGENT", "TIERWALL_BENCH_AGENT_PROFILE"

// resolving is a node with an agent, a pod whose rules speak of names, one whose rules do
// not, and a DNS server.
type resolving struct {
	*lab.Lab
	plane  *plane
	dir    string
	agent  *exec.Cmd
	end    func() // ends the agent
	log    syncBuffer
	server [2]netip.AddrPort // by family
	next   int               // number of the next name that nobody has asked for
}

// syncBuffer is a buffer that may be read while it is written.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(b)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

const (
	named, plain = "app/named", "app/plain" // the pods
	resolver     = "app/resolver"
	resolvNode   = "n1"
	beyond       = "203.0.113.9"
	beyond6      = "2001:db8:ffff::9"
)

// farAway has the addresses that names lead to.
var farAway, farAway6 = netip.MustParsePrefix("198.18.0.0/15"), netip.MustParsePrefix("2001:db8:1::/64")

const resolvingWorld = `---
apiVersion: v1
kind: Node
metadata: {name: n1}
spec: {podCIDRs: [10.1.1.0/24, "fd00:1:1::/64"]}
status: {addresses: [{type: InternalIP, address: 192.0.2.1}, {type: InternalIP, address: "2001:db8::1"}]}
---
apiVersion: v1
kind: Namespace
metadata: {name: app}
---
apiVersion: tierwall.io/v1alpha1
kind: GlobalNetworkPolicy
metadata: {name: names}
spec:
  selector: role == 'named'
  types: [Egress]
  egress:
  - {action: Allow, protocol: UDP, destination: {ports: [53]}}
  - {action: Allow, protocol: TCP, destination: {ports: [53]}}
  - {action: Allow, protocol: TCP, destination: {domains: ["*.bench.example"], ports: [443]}}
`

// newResolving brings the node up.
func newResolving(b *testing.B, p *plane, network lab.Network) *resolving {
	b.Helper()
	need(b)
	both := func(a, c string) []netip.Addr { return []netip.Addr{netip.MustParseAddr(a), netip.MustParseAddr(c)} }
	pods := map[string][]netip.Addr{named: both("10.1.1.6", "fd00:1:1::6"), plain: both("10.1.1.7", "fd00:1:1::7"), resolver: both("10.1.1.2", "fd00:1:1::2")}
	spec := lab.Spec{
		Network: network,
		Nodes:   []lab.Node{{Name: resolvNode, Addrs: both("192.0.2.1", "2001:db8::1"), PodCIDRs: []netip.Prefix{netip.MustParsePrefix("10.1.1.0/24"), netip.MustParsePrefix("fd00:1:1::/64")}}},
		Outside: []lab.Host{{Name: "out", Addrs: both(beyond, beyond6)}},
	}
	world := resolvingWorld
	for _, where := range []string{named, plain, resolver} {
		_, name, _ := strings.Cut(where, "/")
		spec.Pods = append(spec.Pods, lab.Pod{Namespace: "app", Name: name, Node: resolvNode, Addrs: pods[where]})
		world += fmt.Sprintf("---\napiVersion: v1\nkind: Pod\nmetadata: {namespace: app, name: %[1]s, labels: {role: %[1]s}}\nspec: {nodeName: n1}\nstatus: {phase: Running, podIP: %[2]q, podIPs: [{ip: %[2]q}, {ip: %[3]q}]}\n",
			name, pods[where][0], pods[where][1])
	}
	l, err := lab.New(b.Context(), spec)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = l.Close() })
	r := &resolving{Lab: l, plane: p, dir: b.TempDir(), next: 1}
	zone := dns.Zone{"*.bench.example": dns.Numbered(30, farAway, farAway6)}
	for i, a := range pods[resolver] {
		r.server[i] = netip.AddrPortFrom(a, 53)
		if err := l.Do(resolver, func() error {
			s, err := dns.Listen(r.server[i], zone)
			if err == nil {
				b.Cleanup(func() { _ = s.Close() })
			}
			return err
		}); err != nil {
			b.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(r.dir, "world.yaml"), []byte(world), 0o600); err != nil {
		b.Fatal(err)
	}
	r.route(b)
	return r
}

// route has a host beyond the node answer for all addresses of names.
func (r *resolving) route(b *testing.B) {
	b.Helper()
	for where, script := range map[string]string{
		lab.Wire: `
r=$(ip -4 route get ` + beyond + `); dev=$(echo $r | sed -n 's/.*dev \([^ ]*\).*/\1/p'); ip route add ` + farAway.String() + ` via 169.254.1.2 dev $dev onlink
r=$(ip -6 route get ` + beyond6 + `); dev=$(echo $r | sed -n 's/.*dev \([^ ]*\).*/\1/p'); ip -6 route add ` + farAway6.String() + ` via fe80::2 dev $dev onlink`,
		"out": "ip route add local " + farAway.String() + " dev lo; ip -6 route add local " + farAway6.String() + " dev lo",
	} {
		if out, err := r.Command(where, "sh", "-ec", script).CombinedOutput(); err != nil {
			b.Fatalf("%s: %v: %s", where, err, out)
		}
	}
	err := r.Do("out", func() error {
		fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		b.Cleanup(func() { _ = unix.Shutdown(fd, unix.SHUT_RDWR) })
		if err := errors.Join(unix.Bind(fd, &unix.SockaddrInet6{Port: 443}), unix.Listen(fd, 4096)); err != nil {
			return err
		}
		go func() {
			for {
				c, _, err := unix.Accept4(fd, unix.SOCK_CLOEXEC)
				if err != nil && !errors.Is(err, unix.EINTR) && !errors.Is(err, unix.ECONNABORTED) {
					_ = unix.Close(fd)
					return
				}
				if err == nil {
					_ = unix.Close(c)
				}
			}
		}()
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
}

// launch starts the agent, which holds answers or only observes them, and waits until
// answers go by it.
func (r *resolving) launch(b *testing.B, hold string) {
	b.Helper()
	settings := fmt.Sprintf("apiVersion: tierwall.io/v1alpha1\nkind: Tierwall\nmetadata: {name: default}\nspec: {dns: {hold: %s, trustedServers: [%q, %q]}}\n", hold, r.server[0].Addr(), r.server[1].Addr())
	if err := os.WriteFile(filepath.Join(r.dir, "settings.yaml"), []byte(settings), 0o600); err != nil {
		b.Fatal(err)
	}
	args := []string{"agent", "--from", r.dir, "--node", resolvNode, "--state-dir", b.TempDir(), "--metrics-addr", "127.0.0.1:9391"}
	if r.plane != byNFTables {
		script := fmt.Sprintf("iptables-%[1]s -t mangle -n -L %[2]s || iptables-%[1]s -t mangle -N %[2]s", r.plane.variant, "KUBE-KUBELET-CANARY")
		if out, err := r.Command(resolvNode, "sh", "-c", script).CombinedOutput(); err != nil {
			b.Fatalf("%v: %s", err, out)
		}
		args = append(args, "--dataplane", "iptables")
	}
	const waits = "DNS answers wait until"
	before := strings.Count(r.log.String(), waits)
	self, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	c := r.Command(resolvNode, self, args...)
	c.Env = append(os.Environ(), asAgent+"=1")
	c.Stdout, c.Stderr = &r.log, &r.log
	if err := c.Start(); err != nil {
		b.Fatal(err)
	}
	r.agent = c.Cmd
	stop := sync.OnceFunc(func() { _ = c.Process.Signal(syscall.SIGTERM); _ = c.Wait() })
	r.end = stop
	b.Cleanup(stop)
	for end := time.Now().Add(30 * time.Second); strings.Count(r.log.String(), waits) == before; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			b.Fatalf("the agent does not hold answers:\n%s", r.log.String())
		}
	}
}
