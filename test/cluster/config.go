//go:build linux

package cluster

import (
	"bytes"
	"encoding/json"

	"net/netip"
	"strings"
	"text/template"

	"sigs.k8s.io/yaml"

	"github.com/tierwall/tierwall/test/cluster/image"
)

// Paths on a node that are the same everywhere.
const (
	containerdSocket = "/run/containerd/containerd.sock"
	pluginPath       = "/opt/cni/bin"
	kubeletFolder    = "/var/lib/kubelet"
)

// networkConfig is the CNI configuration of node i.
func (o Options) networkConfig(i int) ([]byte, error) {
	var ranges [][]map[string]string
	var routes []map[string]string
	for _, p := range o.podPrefixes(i) {
		ranges = append(ranges, []map[string]string{{"subnet": p.String()}})
		routes = append(routes, map[string]string{"dst": everywhere(p).String()})
	}
	ipam := map[string]any{"type": "host-local", "ranges": ranges, "routes": routes}
	main := map[string]any{"type": "ptp", "ipMasq": false, "mtu": 1500, "ipam": ipam}
	if o.PodNetwork == Bridge {
		// A pod may reach itself by a Service: hence hairpin mode.
		main = map[string]any{"type": "bridge", "bridge": "cni0", "isGateway": true, "hairpinMode": true, "ipMasq": false, "mtu": 1500, "ipam": ipam}
	}
	return json.MarshalIndent(map[string]any{
		"cniVersion": "1.0.0", "name": "pods",
		"plugins": []any{main, map[string]any{"type": "portmap", "capabilities": map[string]bool{"portMappings": true}}},
	}, "", "  ")
}

// everywhere is the prefix of all addresses of the family of p.
func everywhere(p netip.Prefix) netip.Prefix {
	if p.Addr().Is6() {
		return anywhere6
	}
	return anywhere
}

// containerdTemplate names what is not as containerd has it by itself. The
// folders are its own ones.
var containerdTemplate = template.Must(template.New("containerd").Parse(`
{{- if eq .Runtime "containerd2" -}}
version = 3
[plugins.'io.containerd.cri.v1.images'.pinned_images]
  sandbox = "{{.Pause}}"
[plugins.'io.containerd.cri.v1.runtime']
  restrict_oom_score_adj = {{.Restrict}}
  [plugins.'io.containerd.cri.v1.runtime'.cni]
    bin_dirs = ["{{.Plugins}}"]
{{- else -}}
version = 2
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{{.Pause}}"
  restrict_oom_score_adj = {{.Restrict}}
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{{.Plugins}}"
{{- end}}
`))

// containerdConfig is the same on all nodes. restrict says that nobody may
// lower the score that decides who is killed for want of memory.
func (o Options) containerdConfig(restrict bool) ([]byte, error) {
	var b bytes.Buffer
	err := containerdTemplate.Execute(&b, map[string]any{
		"Runtime": o.Runtime, "Pause": image.PauseName, "Restrict": restrict, "Plugins": pluginPath,
	})
	return b.Bytes(), err
}

// kubeletConfig is that of node i. Intervals are the kubelet's own: what is
// measured on the cluster should hold elsewhere.
func (o Options) kubeletConfig(i int, restrict bool) ([]byte, error) {
	p, n := o.pki(), nodeName(i)
	c := map[string]any{
		"apiVersion": "kubelet.config.k8s.io/v1beta1",
		"kind":       "KubeletConfiguration",
		"authentication": map[string]any{
			"anonymous": map[string]any{"enabled": false},
			"webhook":   map[string]any{"enabled": true},
			"x509":      map[string]any{"clientCAFile": p.cert("ca")},
		},
		"authorization":            map[string]any{"mode": "Webhook"},
		"cgroupDriver":             "cgroupfs",
		"cgroupRoot":               "/" + o.cgroup(n),
		"clusterDomain":            "cluster.local",
		"containerRuntimeEndpoint": "unix://" + containerdSocket,
		// The host's disk may be as full as it likes.
		"evictionHard": map[string]any{
			"memory.available": "100Mi", "nodefs.available": "0%", "nodefs.inodesFree": "0%", "imagefs.available": "0%", "imagefs.inodesFree": "0%",
		},
		"imageGCHighThresholdPercent": 100,
		"failCgroupV1":                false,
		"failSwapOn":                  false,
		"registerNode":                true,
		// There is no DNS: pods find none rather than one that is silent.
		"resolvConf":          "",
		"rotateCertificates":  false,
		"serializeImagePulls": false,
		"tlsCertFile":         p.cert(n),
		"tlsPrivateKeyFile":   p.key(n),
		"volumePluginDir":     kubeletFolder + "/volumeplugins",
	}
	if restrict {
		c["oomScoreAdj"] = 0
	}
	return yaml.Marshal(c)
}

// proxyConfig is that of kube-proxy on node i. The sizes of the connection
// table belong to the host and stay as they are.
func (o Options) proxyConfig(i int, restrict bool) ([]byte, error) {
	c := map[string]any{
		"apiVersion":       "kubeproxy.config.k8s.io/v1alpha1",
		"kind":             "KubeProxyConfiguration",
		"mode":             o.ProxyMode,
		"clientConnection": map[string]any{"kubeconfig": o.pki().kubeconfig("proxy")},
		"hostnameOverride": nodeName(i),
		"clusterCIDR":      o.podNetworks(),
		"conntrack": map[string]any{
			"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s",
		},
	}
	if restrict {
		c["oomScoreAdj"] = 0
	}
	return yaml.Marshal(c)
}

// cgroup is that of a machine.
func (o Options) cgroup(name string) string { return o.id() + "/" + name }

// kubeletFlags are what has no place in its configuration.
func (o Options) kubeletFlags(i int, config string) []string {
	return []string{
		"--config=" + config, "--kubeconfig=" + o.pki().kubeconfig(nodeName(i)),
		"--hostname-override=" + nodeName(i), "--node-ip=" + strings.Join(o.machineAddresses(i), ","), "--v=2",
	}
}
