package manifests

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/tierwall/tierwall/api/v1alpha1"
)

// completed loads a file and lists what Complete makes of it: pods with their
// addresses, node and service account, nodes, slices, and the names of all that
// was added.
func completed(t *testing.T, text string) (lines []string, r *Result) {
	t.Helper()
	r, err := LoadBytes("a.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	r.Complete()
	for i := range r.Objects {
		o := &r.Objects[i]
		s := o.Ref.String()
		switch v := o.Object.(type) {
		case *corev1.Pod:
			s += fmt.Sprint(" ", podAddrs(v))
			if v.Spec.NodeName != "" {
				s += " on " + v.Spec.NodeName
			}
		case *corev1.Node:
			s += fmt.Sprint(" ", nodeAddrs(v))
		case *discoveryv1.EndpointSlice:
			s += " of " + v.Labels[discoveryv1.LabelServiceName]
			for _, e := range v.Endpoints {
				s += " " + strings.Join(e.Addresses, ",")
			}
			for _, p := range v.Ports {
				s += fmt.Sprintf(" %s:%d", *p.Protocol, *p.Port)
			}
		case *v1alpha1.HostEndpoint:
			s += fmt.Sprint(" ", v.Spec.InterfaceName, v.Spec.ExpectedIPs, v.Labels)
		default:
			if !o.Added {
				continue
			}
		}
		if o.Added {
			s = "+ " + s
		}
		lines = append(lines, s)
	}
	slices.Sort(lines)
	return lines, r
}

func podYAML(name, rest string) string {
	return "---\napiVersion: v1\nkind: Pod\nmetadata: {name: " + name + ", namespace: 'n', labels: {app: " + name + "}}\n" + rest
}

const namespaceYAML = "---\napiVersion: v1\nkind: Namespace\nmetadata: {name: 'n'}\n"

func workloadYAML(apiVersion, kind, name, spec string) string {
	return "---\napiVersion: " + apiVersion + "\nkind: " + kind + "\nmetadata: {name: " + name + ", namespace: 'n'}\nspec: " + spec + "\n"
}

func TestComplete(t *testing.T) {
	const (
		template = "{metadata: {labels: {app: x}}, spec: {containers: []}}"
		selected = "{selector: {matchLabels: {app: x}}, template: " + template + "}"
	)
	tests := []struct {
		name, text string
		want       []string
	}{
		{"namespaces of objects", podYAML("a", "status: {podIP: 10.1.1.1}\n"), []string{"+ Namespace/n", "Pod/n/a [10.1.1.1]"}},
		{"no namespace of a name that none can have", strings.ReplaceAll(podYAML("a", "status: {podIP: 10.1.1.1}\n"), "namespace: 'n'", `namespace: "{{ .ns }}"`), []string{"Pod/{{ .ns }}/a [10.1.1.1]"}},
		{"addresses by name, not by place; those that are taken or mentioned are left out",
			namespaceYAML + podYAML("c", "") + podYAML("b", "") + podYAML("a", "") + podYAML("z", "status: {podIPs: [{ip: 10.244.0.11}]}\n") +
				"---\napiVersion: tierwall.io/v1alpha1\nkind: GlobalNetworkSet\nmetadata: {name: s}\nspec: {nets: [10.244.0.12/30, 10.0.0.0/8, 10.244.0.16]}\n",
			[]string{"Pod/n/a [10.244.0.10]", "Pod/n/b [10.244.0.17]", "Pod/n/c [10.244.0.18]", "Pod/n/z [10.244.0.11]"}},
		{"pods that are no endpoints get no address",
			namespaceYAML + podYAML("a", "status: {phase: Succeeded}\n") + podYAML("b", "spec: {hostNetwork: true}\n") + podYAML("c", "status: {phase: Failed}\n"),
			[]string{"Pod/n/a []", "Pod/n/b []", "Pod/n/c []"}},
		{"both families if one pod has IPv6",
			namespaceYAML + podYAML("a", "") + podYAML("b", "status: {podIPs: [{ip: 10.1.1.1}, {ip: \"fd00::1\"}]}\n"),
			[]string{"Pod/n/a [10.244.0.10 fd00:10:244::a]", "Pod/n/b [10.1.1.1 fd00::1]"}},
		{"IPv6 alone if all is",
			namespaceYAML + podYAML("a", "") + podYAML("b", "status: {podIP: \"fd00::1\"}\n"),
			[]string{"Pod/n/a [fd00:10:244::a]", "Pod/n/b [fd00::1]"}},
		{"the one node, its pod block, and no more than it holds",
			namespaceYAML + podYAML("a", "") + podYAML("b", "") + "---\napiVersion: v1\nkind: Node\nmetadata: {name: k}\nspec: {podCIDRs: [10.7.0.0/28]}\nstatus: {addresses: [{type: InternalIP, address: 10.7.0.10}, {type: Hostname, address: k}]}\n" +
				podYAML("c", "") + podYAML("d", "") + podYAML("e", ""),
			[]string{"Node/k [10.7.0.10]", "Pod/n/a [10.7.0.11] on k", "Pod/n/b [10.7.0.12] on k", "Pod/n/c [10.7.0.13] on k", "Pod/n/d [10.7.0.14] on k", "Pod/n/e [10.244.0.10] on k"}},
		{"of two nodes none is chosen; nodes have addresses, from their host endpoints first",
			namespaceYAML + podYAML("a", "") + "---\napiVersion: v1\nkind: Node\nmetadata: {name: k}\n---\napiVersion: v1\nkind: Node\nmetadata: {name: l}\n" +
				"---\napiVersion: tierwall.io/v1alpha1\nkind: HostEndpoint\nmetadata: {name: h}\nspec: {node: l, expectedIPs: [192.0.2.1]}\n",
			[]string{"HostEndpoint/h [192.0.2.1] map[]", "Node/k [172.30.0.10]", "Node/l [192.0.2.1]", "Pod/n/a [10.244.0.10]"}},
		{"automatic host endpoints",
			"apiVersion: tierwall.io/v1alpha1\nkind: Tierwall\nmetadata: {name: default}\nspec: {autoHostEndpoints: true}\n" +
				"---\napiVersion: v1\nkind: Node\nmetadata: {name: k, labels: {a: b}}\nstatus: {addresses: [{type: InternalIP, address: 192.0.2.1}]}\n---\napiVersion: v1\nkind: Node\nmetadata: {name: l}\n" +
				"---\napiVersion: tierwall.io/v1alpha1\nkind: HostEndpoint\nmetadata: {name: l-auto-hep}\nspec: {node: l, interfaceName: eth0}\n",
			[]string{"+ HostEndpoint/k-auto-hep *[192.0.2.1] map[a:b kubernetes.io/hostname:k kubernetes.io/os:linux]", "HostEndpoint/l-auto-hep eth0[] map[]", "Node/k [192.0.2.1]", "Node/l [172.30.0.10]"}},
		{"a pod for each kind of workload",
			namespaceYAML + workloadYAML("apps/v1", "Deployment", "d", selected) + workloadYAML("apps/v1", "StatefulSet", "s", selected) +
				workloadYAML("apps/v1", "DaemonSet", "ds", selected) + workloadYAML("apps/v1", "ReplicaSet", "rs", selected) +
				workloadYAML("v1", "ReplicationController", "rc", "{selector: {app: x}, template: "+template+"}") +
				workloadYAML("batch/v1", "Job", "j", "{template: "+template+"}") +
				workloadYAML("batch/v1", "CronJob", "cj", "{schedule: x, jobTemplate: {spec: {template: "+template+"}}}"),
			[]string{"+ Pod/n/cj [10.244.0.10]", "+ Pod/n/d [10.244.0.11]", "+ Pod/n/ds [10.244.0.12]", "+ Pod/n/j [10.244.0.13]", "+ Pod/n/rc [10.244.0.14]", "+ Pod/n/rs [10.244.0.15]", "+ Pod/n/s [10.244.0.16]"}},
		{"no pod for a workload that has one by its labels",
			namespaceYAML + workloadYAML("apps/v1", "Deployment", "d", "{selector: {matchLabels: {app: a}}, template: {metadata: {labels: {app: a}}, spec: {containers: []}}}") + podYAML("a", ""),
			[]string{"Pod/n/a [10.244.0.10]"}},
		{"a pod for a workload of which one has finished, and one bears the labels of the selector alone",
			namespaceYAML + workloadYAML("apps/v1", "Deployment", "d", "{selector: {matchLabels: {app: a}}, template: {metadata: {labels: {app: a, v: w}}, spec: {containers: []}}}") +
				podYAML("a", "") + strings.Replace(podYAML("d", "status: {phase: Failed, reason: Evicted}\n"), "app: d", "app: a, v: w", 1),
			[]string{"+ Pod/n/d-deployment [10.244.0.11]", "Pod/n/a [10.244.0.10]", "Pod/n/d []"}},
		{"a pod for a CronJob between two runs",
			namespaceYAML + workloadYAML("batch/v1", "CronJob", "cj", "{jobTemplate: {spec: {template: "+template+"}}}") +
				"---\napiVersion: batch/v1\nkind: Job\nmetadata: {name: cj-1, namespace: 'n', ownerReferences: [{apiVersion: batch/v1, kind: CronJob, name: cj, uid: x}]}\nspec: {template: " + template + "}\n" +
				"---\napiVersion: v1\nkind: Pod\nmetadata: {name: cj-1-p, namespace: 'n', ownerReferences: [{apiVersion: batch/v1, kind: Job, name: cj-1, uid: x}]}\nstatus: {phase: Succeeded}\n",
			[]string{"+ Pod/n/cj [10.244.0.10]", "Pod/n/cj-1-p []"}},
		{"a pod for each replica of a StatefulSet",
			namespaceYAML + workloadYAML("apps/v1", "StatefulSet", "s", "{replicas: 3, selector: {matchLabels: {app: x}}, template: "+template+"}"),
			[]string{"+ Pod/n/s [10.244.0.10]", "+ Pod/n/s-1 [10.244.0.11]", "+ Pod/n/s-2 [10.244.0.12]"}},
		{"a pod for a workload whose name and the next are taken",
			namespaceYAML + workloadYAML("apps/v1", "Deployment", "d", selected) + podYAML("d", "") + podYAML("d-deployment", ""),
			[]string{"+ Pod/n/d-deployment-2 [10.244.0.12]", "Pod/n/d [10.244.0.10]", "Pod/n/d-deployment [10.244.0.11]"}},
		{"no pod for a workload that has one by its owners, and none for a workload of a workload",
			namespaceYAML + workloadYAML("batch/v1", "CronJob", "cj", "{jobTemplate: {spec: {template: "+template+"}}}") +
				"---\napiVersion: batch/v1\nkind: Job\nmetadata: {name: cj-1, namespace: 'n', ownerReferences: [{apiVersion: batch/v1, kind: CronJob, name: cj, uid: x}]}\nspec: {template: " + template + "}\n" +
				"---\napiVersion: v1\nkind: Pod\nmetadata: {name: cj-1-p, namespace: 'n', ownerReferences: [{apiVersion: batch/v1, kind: Job, name: cj-1, uid: x}]}\n",
			[]string{"Pod/n/cj-1-p [10.244.0.10]"}},
		{"two workloads of one name",
			namespaceYAML + workloadYAML("apps/v1", "Deployment", "d", selected) + workloadYAML("apps/v1", "StatefulSet", "d", selected),
			[]string{"+ Pod/n/d [10.244.0.10]", "+ Pod/n/d-statefulset [10.244.0.11]"}},
		{"slices by family and by what a named port is on each pod",
			namespaceYAML + podYAML("a", "spec: {containers: [{name: c, ports: [{name: http, containerPort: 80}]}]}\nstatus: {podIPs: [{ip: 10.1.1.1}, {ip: \"fd00::1\"}]}\n") +
				strings.Replace(podYAML("b", "spec: {containers: [{name: c, ports: [{name: http, containerPort: 81}]}]}\nstatus: {podIP: 10.1.1.2}\n"), "app: b", "app: a", 1) +
				strings.Replace(podYAML("c", "status: {podIP: 10.1.1.3}\n"), "app: c", "app: a", 1) +
				"---\napiVersion: v1\nkind: Service\nmetadata: {name: s, namespace: 'n'}\nspec: {selector: {app: a}, ports: [{name: x, port: 1, targetPort: http}]}\n" +
				"---\napiVersion: v1\nkind: Service\nmetadata: {name: u, namespace: 'n'}\nspec: {selector: {app: c}, ports: [{port: 1}]}\n" +
				"---\napiVersion: v1\nkind: Service\nmetadata: {name: v, namespace: 'n'}\nspec: {ports: [{port: 1}]}\n" +
				"---\napiVersion: v1\nkind: Service\nmetadata: {name: e, namespace: 'n'}\nspec: {type: ExternalName, selector: {app: a}, externalName: x.y}\n",
			[]string{"+ EndpointSlice/n/s-ipv4 of s 10.1.1.1 TCP:80", "+ EndpointSlice/n/s-ipv4-2 of s 10.1.1.2 TCP:81", "+ EndpointSlice/n/s-ipv6 of s fd00::1 TCP:80",
				"Pod/n/a [10.1.1.1 fd00::1]", "Pod/n/b [10.1.1.2]", "Pod/n/c [10.1.1.3]"}},
		{"Endpoints of a Service without a selector, of both families; not those of others",
			namespaceYAML + podYAML("a", "status: {podIP: 10.1.1.1}\n") +
				"---\napiVersion: v1\nkind: Service\nmetadata: {name: s, namespace: 'n'}\nspec: {ports: [{name: x, port: 1}]}\n" +
				"---\napiVersion: v1\nkind: Endpoints\nmetadata: {name: s, namespace: 'n'}\nsubsets: [{addresses: [{ip: 192.0.2.1}, {ip: \"2001:db8::1\"}], notReadyAddresses: [{ip: 192.0.2.2}], ports: [{name: x, port: 7}]}, {addresses: [{ip: 192.0.2.3}], ports: [{name: x, port: 8}]}]\n" +
				"---\napiVersion: v1\nkind: Service\nmetadata: {name: t, namespace: 'n'}\nspec: {selector: {app: a}, ports: [{port: 1}]}\n" +
				"---\napiVersion: v1\nkind: Endpoints\nmetadata: {name: t, namespace: 'n'}\nsubsets: [{addresses: [{ip: 192.0.2.9}], ports: [{port: 7}]}]\n" +
				"---\napiVersion: v1\nkind: Service\nmetadata: {name: u, namespace: 'n'}\nspec: {ports: [{port: 1}]}\n" +
				"---\napiVersion: v1\nkind: Endpoints\nmetadata: {name: u, namespace: 'n', labels: {endpointslice.kubernetes.io/skip-mirror: \"true\"}}\nsubsets: [{addresses: [{ip: 192.0.2.9}], ports: [{port: 7}]}]\n" +
				"---\napiVersion: v1\nkind: Endpoints\nmetadata: {name: v, namespace: 'n'}\nsubsets: [{addresses: [{ip: 192.0.2.9}], ports: [{port: 7}]}]\n",
			[]string{"+ EndpointSlice/n/s-mirrored-ipv4-1 of s 192.0.2.1 192.0.2.2 TCP:7", "+ EndpointSlice/n/s-mirrored-ipv4-2 of s 192.0.2.3 TCP:8", "+ EndpointSlice/n/s-mirrored-ipv6-1 of s 2001:db8::1 TCP:7",
				"+ EndpointSlice/n/t-ipv4 of t 10.1.1.1 TCP:1", "Pod/n/a [10.1.1.1]"}},
		{"a named target port of an ordinary init container is no endpoint, that of a sidecar is",
			namespaceYAML + podYAML("a", "spec: {initContainers: [{name: once, ports: [{name: web, containerPort: 80}]}]}\nstatus: {podIP: 10.1.1.1}\n") +
				strings.Replace(podYAML("b", "spec: {initContainers: [{name: sidecar, restartPolicy: Always, ports: [{name: web, containerPort: 81}]}]}\nstatus: {podIP: 10.1.1.2}\n"), "app: b", "app: a", 1) +
				"---\napiVersion: v1\nkind: Service\nmetadata: {name: s, namespace: 'n'}\nspec: {selector: {app: a}, ports: [{port: 1, targetPort: web}]}\n",
			[]string{"+ EndpointSlice/n/s-ipv4 of s 10.1.1.2 TCP:81", "Pod/n/a [10.1.1.1]", "Pod/n/b [10.1.1.2]"}},
		{"a Service that has a slice keeps it; a host-network pod is reached at its node",
			namespaceYAML + podYAML("a", "spec: {hostNetwork: true, nodeName: k}\n") + "---\napiVersion: v1\nkind: Node\nmetadata: {name: k}\nstatus: {addresses: [{type: InternalIP, address: 192.0.2.1}]}\n" +
				"---\napiVersion: v1\nkind: Service\nmetadata: {name: s, namespace: 'n'}\nspec: {selector: {app: a}, ports: [{port: 1, targetPort: 9, protocol: UDP}]}\n" +
				"---\napiVersion: v1\nkind: Service\nmetadata: {name: t, namespace: 'n'}\nspec: {selector: {app: a}, ports: [{port: 1}]}\n" +
				"---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: t-x, namespace: 'n', labels: {kubernetes.io/service-name: t}}\naddressType: IPv4\nendpoints: []\n",
			[]string{"+ EndpointSlice/n/s-ipv4 of s 192.0.2.1 UDP:9", "EndpointSlice/n/t-x of t", "Node/k [192.0.2.1]", "Pod/n/a [] on k"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, r := completed(t, tt.text)
			if strings.Join(got, "\n") != strings.Join(tt.want, "\n") {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(tt.want, "\n"))
			}
			before := refs(r)
			if r.Complete(); refs(r) != before {
				t.Errorf("a second Complete changed\n%s\nto\n%s", before, refs(r))
			}
		})
	}
}

func TestCompletePodOfWorkload(t *testing.T) {
	_, r := completed(t, "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: d}\nspec:\n  selector: {matchLabels: {a: b}}\n  template:\n    metadata:\n      labels: {a: b}\n    spec:\n      hostNetwork: false\n")
	pods := all[*corev1.Pod](r)
	if len(pods) != 1 {
		t.Fatalf("got %d pods", len(pods))
	}
	p := pods[0]
	if p.v.Labels["a"] != "b" || p.v.Spec.ServiceAccountName != "default" || p.o.Place() != "a.yaml:1" {
		t.Errorf("got %+v at %s", p.v, p.o.Place())
	}
	if got := p.o.LineOf("metadata.labels[a]"); got != 8 {
		t.Errorf("the label is in line 8, not %d", got)
	}
}

func TestSharedAddressWarning(t *testing.T) {
	_, r := completed(t, podYAML("a", "status: {podIP: 10.1.1.1}\n")+podYAML("b", "status: {podIP: 10.1.1.1}\n"))
	if len(r.Warnings) != 1 || r.Warnings[0].String() != "a.yaml:10:1: Pod/n/b: status.podIPs: the address 10.1.1.1 is also that of Pod/n/a (a.yaml:2)" {
		t.Errorf("got %v", r.Warnings)
	}
}

func TestServices(t *testing.T) {
	const pods = `
{apiVersion: v1, kind: Pod, metadata: {name: a, namespace: 'n', labels: {app: a}}, spec: {nodeName: k, containers: [{name: c, image: i, ports: [{name: http, containerPort: 8080}]}]}, status: {podIPs: [{ip: 10.1.1.1}, {ip: "fd00::1"}]}}
---
`
	for _, tt := range []struct{ name, text, want string }{
		{"no cluster address", `{apiVersion: v1, kind: Service, metadata: {name: s, namespace: 'n'}, spec: {clusterIP: None, selector: {app: a}, ports: [{port: 80}]}}`, "Service/n/s [] TCP 80 [10.1.1.1:80 [fd00::1]:80]"},
		{"no address of its own", `{apiVersion: v1, kind: Service, metadata: {name: s, namespace: 'n'}, spec: {type: ExternalName, externalName: x.y}}`, ""},
		{
			"ports by name and number",
			`{apiVersion: v1, kind: Service, metadata: {name: s, namespace: 'n'}, spec: {clusterIPs: [10.96.0.1, "fd00:96::1"], selector: {app: a}, ports: [{name: w, port: 80, targetPort: http}, {name: x, protocol: UDP, port: 53}]}}`,
			"Service/n/s [10.96.0.1 fd00:96::1] TCP 80 [10.1.1.1:8080 [fd00::1]:8080] UDP 53 [10.1.1.1:53 [fd00::1]:53]",
		},
		{
			"a slice without names, as of a live cluster",
			`{apiVersion: v1, kind: Service, metadata: {name: s, namespace: 'n'}, spec: {clusterIP: 10.96.0.1, ports: [{name: w, port: 80, targetPort: 8080}, {name: x, port: 81, targetPort: "y"}, {name: z, protocol: UDP, port: 53}]}}
---
{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {name: s-1, namespace: 'n', labels: {kubernetes.io/service-name: s}}, addressType: IPv4, endpoints: [{addresses: [203.0.113.9]}], ports: [{port: 8080, protocol: TCP}, {port: 9090, protocol: TCP}, {port: 53, protocol: UDP}]}`,
			"Service/n/s [10.96.0.1] TCP 80 [203.0.113.9:8080] TCP 81 [203.0.113.9:8080 203.0.113.9:9090] UDP 53 [203.0.113.9:53]",
		},
		{"no endpoints", `{apiVersion: v1, kind: Service, metadata: {name: s, namespace: 'n'}, spec: {clusterIP: 10.96.0.1, selector: {app: none}, ports: [{port: 80}]}}`, "Service/n/s [10.96.0.1] TCP 80 []"},
	} {
		r, err := LoadBytes("x.yaml", []byte(pods+tt.text))
		if err != nil {
			t.Fatal(err)
		}
		r.Complete()
		got := ""
		for _, s := range r.Services() {
			got += fmt.Sprint(s.Ref, " ", s.Addrs)
			for _, p := range s.Ports {
				got += fmt.Sprint(" ", p.Protocol, " ", p.Port, " ", p.Endpoints)
			}
		}
		if got != tt.want {
			t.Errorf("%s: got\n%s\nwant\n%s", tt.name, got, tt.want)
		}
	}
}
