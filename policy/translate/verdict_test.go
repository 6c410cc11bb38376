package translate

import (
	"net/netip"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/policy/answers"
	"github.com/tierwall/tierwall/policy/convert"
	"github.com/tierwall/tierwall/policy/index"
	"github.com/tierwall/tierwall/policy/model"
	"github.com/tierwall/tierwall/policy/verdict"
)

// addresses of the world that verdicts are taken in. A name is namespace/app
// for pods; the pods of namespace shop are on node n1, all others on n2.
var addresses = map[string]string{
	"shop/front": "10.1.0.1", "shop/back": "10.1.0.2", "shop/evil": "10.1.0.3",
	"other/front": "10.2.0.1", "kube-system/dns": "10.3.0.1",
	"n1": "192.168.0.1", "n2": "192.168.0.2", "outside": "203.0.113.5", "private": "10.250.0.1",
}

// world is an index with the pods, nodes and namespaces, and the objects. With
// settings that ask for it, host endpoints stand for the nodes.
func world(t *testing.T, objects []runtime.Object) *index.Index {
	t.Helper()
	ix := index.New(index.Options{})
	add := func(o runtime.Object) {
		t.Helper()
		m, problems, known := convert.Object(o)
		if !known || m == nil || len(problems) > 0 {
			t.Fatalf("%T does not convert: %v", o, problems)
		}
		ix.Upsert(m)
	}
	for name, env := range map[string]string{"shop": "prod", "other": "test", "kube-system": "system"} {
		add(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"env": env}}})
	}
	for name, ip := range addresses {
		namespace, app, pod := strings.Cut(name, "/")
		switch {
		case pod:
			node := "n2"
			if namespace == "shop" {
				node = "n1"
			}
			add(&corev1.Pod{
				ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: app, Labels: map[string]string{"app": app}},
				Spec:       corev1.PodSpec{NodeName: node, ServiceAccountName: "default"},
				Status:     corev1.PodStatus{Phase: corev1.PodRunning, PodIPs: []corev1.PodIP{{IP: ip}}},
			})
		case strings.HasPrefix(name, "n"):
			add(&corev1.Node{
				ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"kubernetes.io/hostname": name}},
				Status:     corev1.NodeStatus{Addresses: []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: ip}}},
			})
		}
	}
	for _, o := range objects {
		add(o)
		s, ok := o.(*v1alpha1.Tierwall)
		if !ok || !s.Spec.AutoHostEndpoints {
			continue
		}
		for _, n := range []string{"n1", "n2"} {
			allow := v1alpha1.Allow
			add(&v1alpha1.HostEndpoint{
				TypeMeta:   typeMeta(v1alpha1.GroupVersion, "HostEndpoint"),
				ObjectMeta: metav1.ObjectMeta{Name: n + "-auto-hep", Labels: map[string]string{"kubernetes.io/hostname": n}},
				Spec:       v1alpha1.HostEndpointSpec{Node: n, InterfaceName: "*", ExpectedIPs: []string{addresses[n]}, DefaultAction: &allow},
			})
		}
	}
	ix.Flush()
	var known answers.Answer // of a name of the world outside
	known.Names, known.Addrs = []string{"api.example.org"}, []netip.Addr{netip.MustParseAddr(addresses["outside"])}
	answers.Learn(ix, []answers.Answer{known}, nil)
	ix.Flush()
	return ix
}

// translateAll translates YAML documents and reconciles the results.
func translateAll(t *testing.T, docs string) []runtime.Object {
	t.Helper()
	var objects []runtime.Object
	for _, doc := range strings.Split(docs, "\n---\n") {
		j, err := yaml.YAMLToJSON([]byte(doc))
		if err != nil {
			t.Fatal(err)
		}
		obj, err := decode(j)
		if err != nil {
			t.Fatal(err)
		}
		r, err := Translate(obj)
		if err != nil {
			t.Fatal(err)
		}
		objects = append(objects, r.Objects...)
	}
	objects, _ = Reconcile(objects, nil)
	return objects
}

// TestVerdicts decides connections under translated policies. A case is
// "from > to port", TCP, with what the foreign system decides.
func TestVerdicts(t *testing.T) {
	for _, test := range []struct {
		name, docs  string
		allow, deny []string
	}{
		{
			name: "Calico's data: without types a policy governs both directions",
			docs: `
apiVersion: crd.projectcalico.org/v1
kind: NetworkPolicy
metadata: {name: default.back, namespace: shop}
spec:
  selector: app == 'back'
  ingress: [{action: allow, source: {selector: app == 'front'}}]
---
apiVersion: crd.projectcalico.org/v1
kind: GlobalNetworkPolicy
metadata: {name: default.front}
spec: {namespaceSelector: projectcalico.org/name == 'other', selector: app == 'front', egress: [{action: Allow}]}
---
apiVersion: crd.projectcalico.org/v1
kind: GlobalNetworkPolicy
metadata: {name: default.dns}
spec: {selector: app == 'dns'}
`,
			allow: []string{"shop/front > shop/back 80", "other/front > outside 443"},
			deny: []string{
				"shop/back > outside 443", "shop/evil > shop/back 80", "outside > other/front 80", "shop/front > other/front 80",
				"kube-system/dns > outside 53", "shop/front > kube-system/dns 53",
			},
		},
		{
			name: "Calico's data: with types it governs what they say, in any case",
			docs: `
apiVersion: crd.projectcalico.org/v1
kind: NetworkPolicy
metadata: {name: default.back, namespace: shop}
spec: {selector: app == 'back', types: [ingress], ingress: [{action: deny, source: {selector: app == 'evil'}}]}
---
apiVersion: crd.projectcalico.org/v1
kind: NetworkPolicy
metadata: {name: default.front, namespace: shop}
spec: {selector: app == 'front', types: [EGRESS, Egress], egress: [{action: LOG}, {action: deny, protocol: tCP, destination: {ports: ["80"]}}, {action: alloW}]}
`,
			allow: []string{"shop/back > outside 443", "outside > shop/front 80", "shop/front > outside 443"},
			deny:  []string{"shop/evil > shop/back 80", "shop/front > outside 80"},
		},
		{
			name: "Calico: without types its API fills them in",
			docs: `
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: back, namespace: shop}
spec: {selector: app == 'back', ingress: [{action: deny, protocol: udp}, {action: Allow, source: {selector: app == 'front'}}]}
---
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: front, namespace: shop}
spec: {selector: app == 'front', types: [ingress]}
---
apiVersion: projectcalico.org/v3
kind: Tier
metadata: {name: sec}
spec: {order: 1, defaultAction: pass}
---
apiVersion: projectcalico.org/v3
kind: GlobalNetworkPolicy
metadata: {name: sec.none}
spec: {tier: sec, selector: app == 'evil', types: [Ingress]}
`,
			allow: []string{"shop/front > shop/back 80", "shop/back > outside 443", "shop/front > outside 443", "outside > shop/evil 80"},
			deny:  []string{"shop/evil > shop/back 80", "outside > shop/front 80"},
		},
		{
			name: "Calico: a negative selector in a namespaced policy means the namespace",
			docs: `
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: back, namespace: shop}
spec:
  selector: app == 'back'
  ingress: [{action: Allow, source: {notSelector: app == 'evil'}}]
`,
			allow: []string{"shop/front > shop/back 80", "shop/evil > shop/front 80"},
			deny:  []string{"shop/evil > shop/back 80", "other/front > shop/back 80", "outside > shop/back 80"},
		},
		{
			name: "Calico: a negative namespaceSelector matches what is in no namespace",
			docs: `
apiVersion: projectcalico.org/v3
kind: GlobalNetworkPolicy
metadata: {name: default.back}
spec:
  namespaceSelector: projectcalico.org/name == 'shop'
  ingress: [{action: Allow, source: {namespaceSelector: env != 'test'}}]
---
apiVersion: projectcalico.org/v3
kind: GlobalNetworkSet
metadata: {name: partners}
spec: {nets: [203.0.113.5]}
`,
			allow: []string{"shop/front > shop/back 80", "kube-system/dns > shop/back 80", "outside > shop/back 80"},
			deny:  []string{"other/front > shop/back 80", "private > shop/back 80"},
		},
		{
			name: "Calico: what has no equivalent is not allowed",
			docs: `
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: back, namespace: shop}
spec:
  selector: app == 'back'
  types: [Ingress, Egress]
  ingress: [{action: Allow, http: {methods: [GET]}, source: {selector: app == 'front'}}]
  egress: [{action: Allow, destination: {domains: [example.com]}}]
`,
			deny: []string{"shop/front > shop/back 80", "shop/back > outside 443"},
		},
		{
			name: "Calico: names in rules and in network sets",
			docs: `
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: back, namespace: shop}
spec:
  selector: app == 'back'
  egress: [{action: Allow, protocol: TCP, destination: {domains: ["*.example.org"], ports: [443]}}]
---
apiVersion: projectcalico.org/v3
kind: GlobalNetworkSet
metadata: {name: partners, labels: {role: partner}}
spec: {nets: [10.250.0.0/24], allowedEgressDomains: [api.example.org]}
---
apiVersion: projectcalico.org/v3
kind: GlobalNetworkPolicy
metadata: {name: front}
spec:
  selector: app == 'front'
  types: [Ingress, Egress]
  ingress: [{action: Allow, source: {selector: role == 'partner'}}]
  egress: [{action: Allow, destination: {selector: role == 'partner'}}]
`,
			allow: []string{"shop/back > outside 443", "shop/front > outside 80", "shop/front > private 80", "private > shop/front 80"},
			deny:  []string{"shop/back > outside 80", "shop/back > private 443", "outside > shop/front 80"},
		},
		{
			name: "AdminNetworkPolicy: pods only, Pass, and the baseline",
			docs: `
apiVersion: policy.networking.k8s.io/v1alpha1
kind: AdminNetworkPolicy
metadata: {name: a}
spec:
  priority: 5
  subject: {namespaces: {matchLabels: {env: prod}}}
  ingress:
  - {action: Pass, from: [{pods: {namespaceSelector: {}, podSelector: {matchLabels: {app: front}}}}]}
  - {action: Deny, from: [{namespaces: {matchLabels: {env: system}}}], ports: [{portRange: {start: 80, end: 90}}]}
---
apiVersion: policy.networking.k8s.io/v1alpha1
kind: BaselineAdminNetworkPolicy
metadata: {name: default}
spec:
  subject: {namespaces: {matchLabels: {env: prod}}}
  ingress: [{action: Deny, from: [{namespaces: {matchLabels: {env: test}}}]}]
`,
			allow: []string{"shop/front > shop/back 80", "kube-system/dns > shop/back 91", "outside > shop/back 80"},
			deny:  []string{"kube-system/dns > shop/back 85", "other/front > shop/back 80"},
		},
		{
			name: "AdminNetworkPolicy: nodes",
			docs: `
apiVersion: policy.networking.k8s.io/v1alpha1
kind: AdminNetworkPolicy
metadata: {name: a}
spec:
  priority: 5
  subject: {namespaces: {matchLabels: {env: prod}}}
  egress: [{action: Deny, to: [{nodes: {matchLabels: {kubernetes.io/hostname: n2}}}]}]
`,
			allow: []string{"shop/front > n1 80", "shop/front > outside 80"},
			deny:  []string{"shop/front > n2 80"},
		},
		{
			name: "AdminNetworkPolicy: names",
			docs: `
apiVersion: policy.networking.k8s.io/v1alpha1
kind: AdminNetworkPolicy
metadata: {name: a}
spec:
  priority: 5
  subject: {namespaces: {matchLabels: {env: prod}}}
  egress:
  - {action: Allow, to: [{domainNames: ["*.Example.org."]}], ports: [{portNumber: {port: 443}}]}
  - {action: Deny, to: [{networks: [0.0.0.0/0]}]}
`,
			allow: []string{"shop/front > outside 443", "other/front > outside 80"},
			deny:  []string{"shop/front > outside 80", "shop/front > private 443"},
		},
		{
			name: "AdminNetworkPolicy: a name below which something was answered is not that name",
			docs: `
apiVersion: policy.networking.k8s.io/v1alpha1
kind: AdminNetworkPolicy
metadata: {name: a}
spec:
  priority: 5
  subject: {namespaces: {matchLabels: {env: prod}}}
  egress:
  - {action: Allow, to: [{domainNames: [example.org]}]}
  - {action: Deny, to: [{networks: [0.0.0.0/0]}]}
`,
			deny: []string{"shop/front > outside 443"},
		},
		{
			name: "AdminNetworkPolicy: names beside nodes",
			docs: `
apiVersion: policy.networking.k8s.io/v1alpha1
kind: AdminNetworkPolicy
metadata: {name: a}
spec:
  priority: 5
  subject: {namespaces: {matchLabels: {env: prod}}}
  egress:
  - {action: Allow, to: [{nodes: {}}, {domainNames: [api.example.org]}], ports: [{portNumber: {port: 443}}]}
  - {action: Deny, to: [{networks: [0.0.0.0/0]}]}
`,
			allow: []string{"shop/front > outside 443", "shop/front > n2 443"},
			deny:  []string{"shop/front > outside 80", "shop/front > private 443"},
		},
		{
			name: "AdminNetworkPolicy: a name that is denied, or passed on, denies all that the rest of the rule matches",
			docs: `
apiVersion: policy.networking.k8s.io/v1alpha1
kind: AdminNetworkPolicy
metadata: {name: a}
spec:
  priority: 5
  subject: {pods: {namespaceSelector: {}, podSelector: {matchLabels: {app: front}}}}
  egress: [{action: Deny, to: [{domainNames: [api.example.org]}], ports: [{portNumber: {port: 443}}]}]
---
apiVersion: policy.networking.k8s.io/v1alpha1
kind: AdminNetworkPolicy
metadata: {name: b}
spec:
  priority: 6
  subject: {pods: {namespaceSelector: {}, podSelector: {matchLabels: {app: back}}}}
  egress: [{action: Pass, to: [{nodes: {}}, {domainNames: [api.example.org]}], ports: [{portNumber: {port: 443}}]}]
`,
			allow: []string{"shop/front > outside 80", "shop/back > outside 80"},
			deny:  []string{"shop/front > outside 443", "shop/front > private 443", "shop/back > outside 443", "shop/back > private 443"},
		},
		{
			name: "Cilium: own namespace, ports, default deny",
			docs: `
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: back, namespace: shop}
spec:
  endpointSelector: {matchLabels: {app: back}}
  ingress: [{fromEndpoints: [{matchLabels: {app: front}}], toPorts: [{ports: [{port: "80", protocol: TCP}]}]}]
`,
			allow: []string{"shop/front > shop/back 80", "shop/back > outside 80", "n1 > shop/back 81"},
			deny:  []string{"shop/front > shop/back 81", "other/front > shop/back 80", "outside > shop/back 80", "n2 > shop/back 80"},
		},
		{
			name: "Cilium: Deny comes before every Allow and means default deny",
			docs: `
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: allow, namespace: shop}
spec: {endpointSelector: {}, ingress: [{fromEntities: [all]}]}
---
apiVersion: cilium.io/v2
kind: CiliumClusterwideNetworkPolicy
metadata: {name: deny}
spec:
  endpointSelector: {}
  ingressDeny: [{fromEndpoints: [{matchLabels: {app: evil}}]}]
`,
			allow: []string{"shop/front > shop/back 80", "outside > shop/back 80"},
			deny:  []string{"shop/evil > shop/back 80", "shop/front > other/front 80"},
		},
		{
			name: "Cilium: without default deny",
			docs: `
apiVersion: cilium.io/v2
kind: CiliumClusterwideNetworkPolicy
metadata: {name: dns}
spec:
  endpointSelector: {}
  enableDefaultDeny: {egress: false}
  egress: [{toEndpoints: [{matchLabels: {app: dns}}], toPorts: [{ports: [{port: "53", protocol: ANY}]}]}]
  egressDeny: [{toEndpoints: [{matchLabels: {app: evil}}]}]
---
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: back, namespace: shop}
spec:
  endpointSelector: {matchLabels: {app: back}}
  egress: [{toEndpoints: [{}]}]
`,
			allow: []string{"shop/front > outside 80", "shop/front > kube-system/dns 80", "shop/back > kube-system/dns 53", "shop/back > shop/front 80"},
			deny:  []string{"shop/back > outside 80", "shop/back > kube-system/dns 80", "shop/front > shop/evil 80", "shop/back > shop/evil 80"},
		},
		{
			name: "Cilium: address blocks mean neither pods nor nodes",
			docs: `
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: front, namespace: shop}
spec:
  endpointSelector: {matchLabels: {app: front}}
  egress: [{toCIDRSet: [{cidr: 0.0.0.0/0, except: [203.0.113.0/24]}]}, {toEndpoints: [{matchLabels: {app: back}}]}]
`,
			allow: []string{"shop/front > private 80", "shop/front > shop/back 80", "shop/evil > outside 80"},
			deny:  []string{"shop/front > outside 80", "shop/front > other/front 80", "shop/front > n2 80", "shop/front > n1 80"},
		},
		{
			name: "Cilium: entities",
			docs: `
apiVersion: cilium.io/v2
kind: CiliumClusterwideNetworkPolicy
metadata: {name: shop}
spec:
  endpointSelector: {matchLabels: {k8s:io.kubernetes.pod.namespace: shop}}
  ingress: [{fromEntities: [cluster]}]
  egress: [{toEntities: [world]}]
`,
			allow: []string{"other/front > shop/front 80", "n2 > shop/front 80", "shop/front > outside 80", "shop/front > private 80"},
			deny:  []string{"outside > shop/front 80", "private > shop/front 80", "shop/front > n2 80", "shop/front > other/front 80"},
		},
		{
			name: "Cilium: groups of address blocks",
			docs: `
apiVersion: cilium.io/v2alpha1
kind: CiliumCIDRGroup
metadata: {name: all-private, labels: {kind: private}}
spec: {externalCIDRs: [10.0.0.0/8]}
---
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: front, namespace: shop}
spec:
  endpointSelector: {matchLabels: {app: front}}
  egress: [{toCIDRSet: [{cidrGroupRef: all-private}]}]
---
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: back, namespace: shop}
spec:
  endpointSelector: {matchLabels: {app: back}}
  egress: [{toCIDRSet: [{cidrGroupSelector: {matchLabels: {kind: private}}}]}]
`,
			allow: []string{"shop/front > private 80", "shop/back > private 80"},
			deny:  []string{"shop/front > other/front 80", "shop/front > outside 80", "shop/back > shop/front 80"},
		},
		{
			name: "Cilium: what works above layer 4 is not allowed",
			docs: `
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: back, namespace: shop}
spec:
  endpointSelector: {matchLabels: {app: back}}
  ingress: [{toPorts: [{ports: [{port: "80", protocol: TCP}], rules: {http: [{}]}}]}]
  egress: [{toFQDNs: [{matchName: example.com}]}, {}]
`,
			deny: []string{"shop/front > shop/back 80", "outside > shop/back 80", "shop/back > outside 443", "shop/back > shop/front 80"},
		},
		{
			name: "Cilium: names, but not those with parts of labels",
			docs: `
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: front, namespace: shop}
spec:
  endpointSelector: {matchLabels: {app: front}}
  egress: [{toFQDNs: [{matchName: api.example.org}, {matchPattern: "*.example.net"}], toPorts: [{ports: [{port: "443", protocol: TCP}]}]}]
---
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: back, namespace: shop}
spec:
  endpointSelector: {matchLabels: {app: back}}
  egress: [{toFQDNs: [{matchPattern: "**.example.org"}]}]
---
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: evil, namespace: shop}
spec:
  endpointSelector: {matchLabels: {app: evil}}
  egress: [{toFQDNs: [{matchPattern: "*.example.org"}, {matchPattern: "*"}]}]
`,
			allow: []string{"shop/front > outside 443", "shop/back > outside 80"},
			deny:  []string{"shop/front > outside 80", "shop/front > private 443", "shop/evil > outside 443", "shop/back > shop/front 80"},
		},
		{
			name: "Cilium: policies for nodes",
			docs: `
apiVersion: cilium.io/v2
kind: CiliumClusterwideNetworkPolicy
metadata: {name: nodes}
spec:
  nodeSelector: {matchLabels: {kubernetes.io/hostname: n2}}
  ingress: [{fromEntities: [remote-node]}, {fromCIDR: [203.0.113.0/24], toPorts: [{ports: [{port: "8443", protocol: TCP}]}]}]
`,
			allow: []string{"n1 > n2 80", "outside > n2 8443", "outside > n1 80", "outside > other/front 80"},
			deny:  []string{"outside > n2 80", "private > n2 8443"},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			ix := world(t, translateAll(t, strings.TrimSpace(test.docs)))
			for want, flows := range map[model.Action][]string{model.Allow: test.allow, model.Deny: test.deny} {
				for _, text := range flows {
					d := verdict.Decide(ix, parseFlow(t, text))
					if d.Action != want {
						t.Errorf("%s: %v, want %v\n%+v", text, d.Action, want, d.Stages)
					}
				}
			}
		})
	}
}

// parseFlow reads "from > to port".
func parseFlow(t *testing.T, text string) model.Flow {
	t.Helper()
	words := strings.Fields(text)
	if len(words) != 4 || addresses[words[0]] == "" || addresses[words[2]] == "" {
		t.Fatalf("%q is no flow", text)
	}
	port := uint16(0)
	for _, c := range words[3] {
		port = port*10 + uint16(c-'0')
	}
	return model.Flow{
		Src: netip.MustParseAddr(addresses[words[0]]), Dst: netip.MustParseAddr(addresses[words[2]]),
		Protocol: model.TCP, SrcPort: 40000, DstPort: port,
	}
}
