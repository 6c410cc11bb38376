//go:build linux

package cluster

import (
	"encoding/json"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/tierwall/tierwall/test/cluster/image"
)

// every combination of what Options choose among.
func every(t *testing.T) []Options {
	t.Helper()
	var all []Options
	for _, dual := range []bool{false, true} {
		for _, pods := range []string{Routed, Bridge} {
			for _, proxy := range []string{NFTables, IPTables} {
				for _, run := range []string{Containerd2, Containerd1} {
					o, err := Options{Dir: "/tmp/c", DualStack: dual, PodNetwork: pods, ProxyMode: proxy, Runtime: run, Programs: "/p"}.withDefaults()
					if err != nil {
						t.Fatal(err)
					}
					all = append(all, o)
				}
			}
		}
	}
	return all
}

func TestOptions(t *testing.T) {
	o, err := Options{Dir: "/tmp/c"}.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	if o.Nodes != 3 || o.PodNetwork != Routed || o.ProxyMode != NFTables || o.Runtime != Containerd2 || o.DualStack || o.Log == nil {
		t.Errorf("defaults are %+v", o)
	}
	for want, bad := range map[string]Options{
		"Dir is empty":     {},
		"Nodes is 10":      {Dir: "/tmp/c", Nodes: 10},
		"Nodes is -1":      {Dir: "/tmp/c", Nodes: -1},
		`PodNetwork is "x`: {Dir: "/tmp/c", PodNetwork: "x"},
		`ProxyMode is "x`:  {Dir: "/tmp/c", ProxyMode: "x"},
		`Runtime is "x`:    {Dir: "/tmp/c", Runtime: "x"},
		"its own /var/lib": {Dir: "/var/lib/c"},
		"its own /run":     {Dir: "/run/c"},
	} {
		if _, err := bad.withDefaults(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, not %q", bad, err, want)
		}
	}
	p := o
	p.Programs = "/elsewhere"
	if !o.same(p) {
		t.Error("the same cluster with its programs elsewhere is another")
	}
	p.DualStack = true
	if o.same(p) {
		t.Error("a dual-stack cluster is the same as one that is not")
	}
}

func TestAddressesOfANodeAreItsOwn(t *testing.T) {
	for _, dual := range []bool{false, true} {
		o := Options{Nodes: 9, DualStack: dual}
		seen := map[netip.Prefix]bool{}
		for i := 0; i <= 9; i++ {
			list := o.machinePrefixes(i)
			if i > 0 {
				list = append(list, o.podPrefixes(i)...)
			}
			if want := 2; i > 0 && !dual && len(list) != want {
				t.Errorf("node %d has %v", i, list)
			}
			for _, p := range list {
				if seen[p] {
					t.Errorf("%s twice", p)
				}
				seen[p] = true
			}
		}
	}
	o := Options{Nodes: 2, DualStack: true}
	if got := o.machineAddresses(2); !slices.Equal(got, []string{"10.200.0.12", "fd00:200::12"}) {
		t.Errorf("n2 has %v", got)
	}
	if o.nodeIndex("n2") != 2 || o.nodeIndex("n3") != 0 || o.nodeIndex("cp") != 0 {
		t.Error("a node's name is not its index")
	}
}

func TestNetworkConfig(t *testing.T) {
	for _, o := range every(t) {
		b, err := o.networkConfig(2)
		if err != nil {
			t.Fatal(err)
		}
		var c struct {
			Plugins []struct {
				Type string
				IPAM struct {
					Ranges [][]struct{ Subnet string }
					Routes []struct{ Dst string }
				}
			}
		}
		if err := json.Unmarshal(b, &c); err != nil {
			t.Fatal(err)
		}
		main := map[string]string{Routed: "ptp", Bridge: "bridge"}[o.PodNetwork]
		if len(c.Plugins) != 2 || c.Plugins[0].Type != main || c.Plugins[1].Type != "portmap" {
			t.Fatalf("%s: plugins %+v", o, c.Plugins)
		}
		var subnets, routes []string
		for _, r := range c.Plugins[0].IPAM.Ranges {
			subnets = append(subnets, r[0].Subnet)
		}
		for _, r := range c.Plugins[0].IPAM.Routes {
			routes = append(routes, r.Dst)
		}
		if !slices.Equal(subnets, o.either("10.210.2.0/24", "fd00:210:2::/64")) || !slices.Equal(routes, o.either("0.0.0.0/0", "::/0")) {
			t.Errorf("%s: subnets %v, routes %v", o, subnets, routes)
		}
	}
}

func TestContainerdConfig(t *testing.T) {
	for _, o := range every(t) {
		for _, restrict := range []bool{false, true} {
			b, err := o.containerdConfig(restrict)
			if err != nil {
				t.Fatal(err)
			}
			version := map[string]string{Containerd2: "version = 3\n", Containerd1: "version = 2\n"}[o.Runtime]
			flag := map[bool]string{true: "restrict_oom_score_adj = true\n", false: "restrict_oom_score_adj = false\n"}[restrict]
			for _, want := range []string{version, flag, image.PauseName, pluginPath} {
				if !strings.Contains(string(b), want) {
					t.Errorf("%s: no %q in\n%s", o, want, b)
				}
			}
		}
	}
}

func TestKubernetesConfigs(t *testing.T) {
	for _, o := range every(t) {
		for name, render := range map[string]func(int, bool) ([]byte, error){"kubelet": o.kubeletConfig, "kube-proxy": o.proxyConfig} {
			for _, restrict := range []bool{false, true} {
				b, err := render(2, restrict)
				if err != nil {
					t.Fatal(err)
				}
				var c map[string]any
				if err := yaml.Unmarshal(b, &c); err != nil {
					t.Fatalf("%s: %v", name, err)
				}
				if _, has := c["oomScoreAdj"]; has != restrict {
					t.Errorf("%s: oomScoreAdj is there: %t, and the program may lower it: %t", name, has, !restrict)
				}
				switch name {
				case "kubelet":
					if c["cgroupRoot"] != "/"+o.id()+"/n2" || c["tlsCertFile"] != "/tmp/c/pki/n2.crt" {
						t.Errorf("kubelet: %s", b)
					}
				case "kube-proxy":
					if c["mode"] != o.ProxyMode || c["hostnameOverride"] != "n2" || c["clusterCIDR"] != o.podNetworks() {
						t.Errorf("kube-proxy: %s", b)
					}
				}
			}
		}
	}
}

func TestFlagsFollowTheFamily(t *testing.T) {
	for _, o := range every(t) {
		line := strings.Join(o.apiServerService().Command, " ")
		if got := strings.Contains(line, "--service-cluster-ip-range=10.96.0.0/16,fd00:96::/112"); got != o.DualStack {
			t.Errorf("%s: %s", o, line)
		}
		line = strings.Join(o.kubeletService(1).Command, " ")
		if got := strings.Contains(line, "--node-ip=10.200.0.11,fd00:200::11 "); got != o.DualStack {
			t.Errorf("%s: %s", o, line)
		}
	}
}
