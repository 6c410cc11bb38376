package oracle_test

import (
	"fmt"
	"net/netip"
	"regexp"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	k8s "k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	cnpv1alpha2 "sigs.k8s.io/network-policy-api/apis/v1alpha2"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/policy/model"
	"github.com/tierwall/tierwall/policy/verdict"
	"github.com/tierwall/tierwall/test/oracle"
)

// base is the world of every case of TestDecide: two nodes with host endpoints
// (n1 "*", n2 one interface), pods web and db in shop, job in batch.
const base = `
apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {env: prod}}
---
apiVersion: v1
kind: Namespace
metadata: {name: batch, labels: {env: test}}
---
apiVersion: v1
kind: ServiceAccount
metadata: {namespace: shop, name: web, labels: {trust: high}}
---
apiVersion: v1
kind: Node
metadata: {name: n1, labels: {zone: z1}}
spec: {podCIDRs: [10.0.1.0/24]}
status: {addresses: [{type: InternalIP, address: 192.168.0.1}, {type: InternalIP, address: "fd01::1"}]}
---
apiVersion: v1
kind: Node
metadata: {name: n2}
spec: {podCIDR: 10.0.2.0/24}
status: {addresses: [{type: InternalIP, address: 192.168.0.2}]}
---
apiVersion: v1
kind: Node
metadata: {name: n3}
status: {addresses: [{type: InternalIP, address: 192.168.0.3}]}
---
apiVersion: v1
kind: Pod
metadata: {namespace: shop, name: web, labels: {app: web}}
spec: {nodeName: n1, serviceAccountName: web, containers: [{name: c, ports: [{name: http, containerPort: 8080}]}]}
status: {phase: Running, podIPs: [{ip: 10.0.1.1}, {ip: "fd00::1"}]}
---
apiVersion: v1
kind: Pod
metadata: {namespace: shop, name: db, labels: {app: db}}
spec: {nodeName: n2, containers: [{name: c, ports: [{name: http, containerPort: 80}, {name: sql, containerPort: 5432}]}]}
status: {phase: Running, podIPs: [{ip: 10.0.2.1}, {ip: "fd00::2"}]}
---
apiVersion: v1
kind: Pod
metadata: {namespace: batch, name: job, labels: {app: db}}
spec: {nodeName: n1}
status: {phase: Running, podIPs: [{ip: 10.0.1.2}]}
---
apiVersion: v1
kind: Pod
metadata: {namespace: batch, name: done, labels: {app: db}}
spec: {nodeName: n1}
status: {phase: Succeeded, podIPs: [{ip: 172.16.0.1}]}
---
apiVersion: v1
kind: Pod
metadata: {namespace: batch, name: hostnet, labels: {app: db}}
spec: {nodeName: n3, hostNetwork: true}
status: {phase: Running, podIPs: [{ip: 192.168.0.3}]}
---
apiVersion: tierwall.io/v1alpha1
kind: GlobalNetworkSet
metadata: {name: partners, labels: {who: partner}}
spec: {nets: [203.0.113.0/24, "2001:db8::/32", nonsense]}
---
apiVersion: tierwall.io/v1alpha1
kind: NetworkSet
metadata: {namespace: shop, name: office, labels: {who: office}}
spec: {nets: [198.51.100.0/25]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {namespace: shop, name: sql-1, labels: {kubernetes.io/service-name: sql}}
addressType: IPv4
endpoints: [{addresses: [10.0.2.1]}]
ports: [{port: 5432, protocol: TCP}]
---
apiVersion: tierwall.io/v1alpha1
kind: Tier
metadata: {name: security}
spec: {order: 100}
---
apiVersion: tierwall.io/v1alpha1
kind: Tier
metadata: {name: platform}
spec: {order: 200, defaultAction: Pass}
`

// hosts adds the host endpoints.
const hosts = `
---
apiVersion: tierwall.io/v1alpha1
kind: HostEndpoint
metadata: {name: n1-all, labels: {role: node}}
spec: {node: n1, interfaceName: "*", defaultAction: Allow}
---
apiVersion: tierwall.io/v1alpha1
kind: HostEndpoint
metadata: {name: n2-eth0, labels: {role: node}}
spec: {node: n2, interfaceName: eth0}
`

// addresses by the names that cases use.
var names = map[string]string{
	"web": "10.0.1.1", "db": "10.0.2.1", "job": "10.0.1.2", "web6": "fd00::1", "db6": "fd00::2",
	"n1": "192.168.0.1", "n2": "192.168.0.2", "n3": "192.168.0.3", "done": "172.16.0.1",
	"partner": "203.0.113.9", "partner6": "2001:db8::9", "office": "198.51.100.1", "world": "9.9.9.9", "lost": "10.0.1.99",
}

// policies in short: kind, name and spec.
func gnp(name, spec string) string { return object("GlobalNetworkPolicy", `name: "`+name+`"`, spec) }
func tnp(name, spec string) string {
	return object("NetworkPolicy", `namespace: shop, name: "`+name+`"`, spec)
}
func object(kind, meta, spec string) string {
	return fmt.Sprintf("\n---\napiVersion: tierwall.io/v1alpha1\nkind: %s\nmetadata: {%s}\nspec: {%s}\n", kind, meta, spec)
}
func knp(name, spec string) string {
	return fmt.Sprintf("\n---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {namespace: shop, name: %s}\nspec: {%s}\n", name, spec)
}
func cnp(name, spec string) string {
	return fmt.Sprintf("\n---\napiVersion: policy.networking.k8s.io/v1alpha2\nkind: ClusterNetworkPolicy\nmetadata: {name: %s}\nspec: {%s}\n", name, spec)
}

// TestDecide holds the interpreter, and the engine beside it, to sentences of the design. A case is objects
// beside the base world, and lines "from to PROTO/PORT: what decides last".
func TestDecide(t *testing.T) {
	for _, c := range []struct{ name, objects, want string }{
		{"no policy: a workload endpoint allows", "", `
			web db TCP/80: Allow ingress workload Default
			world db TCP/80: Allow ingress workload Default
			world partner TCP/80: Allow ingress workload NoEndpoint`},
		{"finished and host-network pods are no endpoints", gnp("deny", `selector: app == 'db', ingress: [{action: Deny}]`), `
			world db TCP/80: Deny ingress workload Rule default GlobalNetworkPolicy/deny 0
			world done TCP/80: Allow ingress workload NoEndpoint
			world n3 TCP/80: Allow ingress host NoEndpoint`},
		{"a tier ends in deny only for the direction in which a policy selects", tnp("p", `selector: app == 'db', types: [Ingress], ingress: [{action: Allow, source: {selector: app == 'web'}}]`), `
			web db TCP/80: Allow ingress workload Rule default NetworkPolicy.tierwall.io/shop/p 0
			job db TCP/80: Deny ingress workload EndOfTier default NetworkPolicy.tierwall.io/shop/p end-of-tier
			db world TCP/80: Allow ingress workload NoEndpoint`},
		{"the last policy of the tier stands for its end", tnp("p", `order: 5, types: [Ingress]`) + tnp("q", `order: 4, types: [Ingress]`), `
			world db TCP/80: Deny ingress workload EndOfTier default NetworkPolicy.tierwall.io/shop/p end-of-tier`},
		{"order, nil last, ties by kind, namespace, name", gnp("z", `ingress: [{action: Deny}], order: 1`) +
			tnp("a", `ingress: [{action: Allow}], order: 1`) + gnp("y", `ingress: [{action: Allow}]`) + gnp("zz", `ingress: [{action: Allow}], order: 1`), `
			world db TCP/80: Deny ingress workload Rule default GlobalNetworkPolicy/z 0`},
		{"tiers by order, Pass to the next, default action Pass", gnp("s", `tier: security, ingress: [{action: Pass, source: {nets: [9.0.0.0/8]}}, {action: Allow, protocol: UDP}]`) +
			gnp("pl", `tier: platform, ingress: [{action: Deny, protocol: TCP, destination: {ports: [22]}}]`) + gnp("d", `selector: app == 'db', ingress: [{action: Deny, protocol: TCP, destination: {ports: ["80:90"]}}]`), `
			world db TCP/22: Deny ingress workload Rule platform GlobalNetworkPolicy/pl 0
			world db TCP/85: Deny ingress workload Rule default GlobalNetworkPolicy/d 0
			world db TCP/91: Deny ingress workload EndOfTier default GlobalNetworkPolicy/d end-of-tier
			world web TCP/91: Allow ingress workload Default
			partner web UDP/1: Allow ingress workload Rule security GlobalNetworkPolicy/s 1
			partner web TCP/1: Deny ingress workload EndOfTier security GlobalNetworkPolicy/s end-of-tier`},
		{"a missing tier comes last and denies", gnp("m", `tier: gone, types: [Ingress], ingress: [{action: Pass, protocol: UDP}]`) + gnp("d", `ingress: [{action: Allow, protocol: SCTP}, {action: Pass}]`), `
			world db SCTP/1: Allow ingress workload Rule default GlobalNetworkPolicy/d 0
			world db TCP/1: Deny ingress workload EndOfTier gone GlobalNetworkPolicy/m end-of-tier
			world db UDP/1: Allow ingress workload Default`},
		{"built-in tiers cannot be changed", object("Tier", "name: default", "order: 1, defaultAction: Pass") + gnp("d", `types: [Ingress]`), `
			world db TCP/1: Deny ingress workload EndOfTier default GlobalNetworkPolicy/d end-of-tier`},
		{"Log goes on, Audit counts for nothing", gnp("a", `enforcement: Audit, ingress: [{action: Deny}]`) + gnp("l", `ingress: [{action: Log}, {action: Allow}]`), `
			world db TCP/1: Allow ingress workload Rule default GlobalNetworkPolicy/l 1 audit Deny GlobalNetworkPolicy/a`},
		{"types: only egress rules mean Egress", gnp("e", `egress: [{action: Allow, destination: {selector: who == 'partner'}}]`), `
			web partner TCP/443: Allow ingress workload NoEndpoint
			web6 partner6 TCP/443: Allow ingress workload NoEndpoint
			web world TCP/443: Deny egress workload EndOfTier default GlobalNetworkPolicy/e end-of-tier
			world web TCP/443: Allow ingress workload Default`},
		{"a selector in a namespaced policy means its namespace", tnp("n", `selector: app == 'web', ingress: [{action: Allow, source: {selector: "app == 'db'"}}, {action: Allow, source: {selector: who == 'office'}}, {action: Allow, source: {selector: who == 'partner', namespaceSelector: global()}}]`), `
			db web TCP/1: Allow ingress workload Rule default NetworkPolicy.tierwall.io/shop/n 0
			job web TCP/1: Deny ingress workload EndOfTier default NetworkPolicy.tierwall.io/shop/n end-of-tier
			office web TCP/1: Allow ingress workload Rule default NetworkPolicy.tierwall.io/shop/n 1
			partner web TCP/1: Allow ingress workload Rule default NetworkPolicy.tierwall.io/shop/n 2`},
		{"a namespaceSelector scopes, and matches only what is in a namespace", tnp("n", `selector: app == 'web', ingress: [{action: Allow, source: {selector: "app == 'db'", namespaceSelector: "env != 'prod'"}}]`), `
			job web TCP/1: Allow ingress workload Rule default NetworkPolicy.tierwall.io/shop/n 0
			db web TCP/1: Deny ingress workload EndOfTier default NetworkPolicy.tierwall.io/shop/n end-of-tier
			partner web TCP/1: Deny ingress workload EndOfTier default NetworkPolicy.tierwall.io/shop/n end-of-tier`},
		{"a negative selector alone matches unknown addresses too", gnp("n", `selector: app == 'web', ingress: [{action: Allow, source: {notSelector: app == 'db'}}]`), `
			world web TCP/1: Allow ingress workload Rule default GlobalNetworkPolicy/n 0
			db web TCP/1: Deny ingress workload EndOfTier default GlobalNetworkPolicy/n end-of-tier`},
		{"a negative one in a namespaced policy excludes its namespace only", tnp("n", `selector: app == 'web', ingress: [{action: Allow, source: {notSelector: app == 'db'}}]`), `
			db web TCP/1: Deny ingress workload EndOfTier default NetworkPolicy.tierwall.io/shop/n end-of-tier
			job web TCP/1: Allow ingress workload Rule default NetworkPolicy.tierwall.io/shop/n 0`},
		{"service accounts by name and label", gnp("sa", `selector: app == 'db', ingress: [{action: Allow, protocol: TCP, source: {serviceAccounts: {names: [web]}}}, {action: Allow, source: {serviceAccounts: {selector: trust == 'high'}}}]`) +
			gnp("neg", `serviceAccountSelector: "trust != 'high'", ingress: [{action: Deny}], order: 1`), `
			web db TCP/1: Allow ingress workload Rule default GlobalNetworkPolicy/sa 0
			web db UDP/1: Allow ingress workload Rule default GlobalNetworkPolicy/sa 1
			job db TCP/1: Deny ingress workload EndOfTier default GlobalNetworkPolicy/sa end-of-tier`},
		{"implicit labels in both spellings", gnp("i", `selector: "projectcalico.org/namespace == 'shop'", ingress: [{action: Allow, source: {selector: tierwall.io/namespace == 'batch'}}, {action: Deny, source: {selector: "projectcalico.org/orchestrator == 'k8s'"}}, {action: Allow}]`), `
			job web TCP/1: Allow ingress workload Rule default GlobalNetworkPolicy/i 0
			db web TCP/1: Deny ingress workload Rule default GlobalNetworkPolicy/i 1
			world web TCP/1: Allow ingress workload Rule default GlobalNetworkPolicy/i 2
			world job TCP/1: Allow ingress workload Default`},
		{"nobody gives himself an implicit label", object("GlobalNetworkSet", "name: liar, labels: {tierwall.io/namespace: shop, tierwall.io/serviceaccount: web}", "nets: [9.9.9.9/32]") +
			gnp("i", `selector: app == 'db', ingress: [{action: Allow, source: {selector: tierwall.io/namespace == 'shop'}}, {action: Allow, source: {serviceAccounts: {names: [web]}}}]`), `
			web db TCP/1: Allow ingress workload Rule default GlobalNetworkPolicy/i 0
			world db TCP/1: Deny ingress workload EndOfTier default GlobalNetworkPolicy/i end-of-tier`},
		{"services: address and port on egress, address on ingress", gnp("s", `selector: app == 'web', egress: [{action: Allow, destination: {services: {name: sql, namespace: shop}}}]`) +
			tnp("t", `selector: app == 'web', ingress: [{action: Allow, source: {services: {name: sql}}}]`), `
			web db TCP/5432: Allow ingress workload Default
			web db TCP/80: Deny egress workload EndOfTier default GlobalNetworkPolicy/s end-of-tier
			db web TCP/80: Allow ingress workload Rule default NetworkPolicy.tierwall.io/shop/t 0
			job web TCP/80: Deny ingress workload EndOfTier default NetworkPolicy.tierwall.io/shop/t end-of-tier`},
		{"named ports resolve per destination pod", gnp("p", `ingress: [{action: Allow, protocol: TCP, destination: {ports: [http]}}]`), `
			world web TCP/8080: Allow ingress workload Rule default GlobalNetworkPolicy/p 0
			world web TCP/80: Deny ingress workload EndOfTier default GlobalNetworkPolicy/p end-of-tier
			world db TCP/80: Allow ingress workload Rule default GlobalNetworkPolicy/p 0
			world db UDP/80: Deny ingress workload EndOfTier default GlobalNetworkPolicy/p end-of-tier`},
		{"all criteria must match", gnp("c", `selector: app == 'web', ingress: [{action: Allow, protocol: TCP, source: {nets: [9.0.0.0/8], notNets: [9.9.9.0/24]}}, {action: Allow, notProtocol: UDP, protocol: 6, source: {ports: [1000]}, destination: {notPorts: [1, 3]}}, {action: Allow, ipVersion: 6}]`), `
			world web TCP/1: Deny ingress workload EndOfTier default GlobalNetworkPolicy/c end-of-tier
			world web TCP/2: Allow ingress workload Rule default GlobalNetworkPolicy/c 1
			world web UDP/2: Deny ingress workload EndOfTier default GlobalNetworkPolicy/c end-of-tier
			db6 web6 UDP/2: Allow ingress workload Rule default GlobalNetworkPolicy/c 2`},
		{"ICMP", gnp("i", `ingress: [{action: Allow, protocol: ICMP, icmp: {type: 8}}, {action: Allow, protocol: ICMP, notICMP: {type: 3, code: 1}}]`), `
			world web ICMP/8: Allow ingress workload Rule default GlobalNetworkPolicy/i 0
			world web ICMP/0: Allow ingress workload Rule default GlobalNetworkPolicy/i 1
			world web ICMP/3: Deny ingress workload EndOfTier default GlobalNetworkPolicy/i end-of-tier
			db6 web6 ICMPv6/8: Deny ingress workload EndOfTier default GlobalNetworkPolicy/i end-of-tier`},
		{"what cannot be understood: Allow matches nothing, Deny and Pass deny all", gnp("x", `selector: app == 'web', ingress: [{action: Allow, source: {nets: [10.0.0.0/40]}}]`) +
			gnp("y", `selector: app == 'db', ingress: [{action: Pass, protocol: TCP, destination: {ports: [70000]}}]`) +
			gnp("z", `tier: security, namespaceSelector: env == 'test', ingress: [{action: Deny, http: {methods: [GET]}}]`), `
			world web TCP/1: Deny ingress workload EndOfTier default GlobalNetworkPolicy/x end-of-tier
			world db UDP/1: Deny ingress workload Rule default GlobalNetworkPolicy/y 0
			world job UDP/1: Deny ingress workload Rule security GlobalNetworkPolicy/z 0`},
		{"a bad selector selects what is left in scope and lets nothing through", tnp("b", `selector: "app = 'web'", ingress: [{action: Allow}, {action: Deny, protocol: UDP}]`), `
			world web TCP/1: Deny ingress workload EndOfTier default NetworkPolicy.tierwall.io/shop/b end-of-tier
			world db UDP/1: Deny ingress workload Rule default NetworkPolicy.tierwall.io/shop/b 1
			world job TCP/1: Allow ingress workload Default`},
		{"IPv4 and IPv6 in one rule are not understood", gnp("m", `selector: app == 'web', ingress: [{action: Allow, source: {nets: [9.0.0.0/8]}, destination: {nets: ["fd00::/8"]}}]`), `
			world web TCP/1: Deny ingress workload EndOfTier default GlobalNetworkPolicy/m end-of-tier`},
		{"native: default types, namespaces, ports", knp("k", `podSelector: {matchLabels: {app: db}}, ingress: [{from: [{podSelector: {}}], ports: [{port: 80}, {port: 90, endPort: 95, protocol: UDP}, {port: sql}]}, {from: [{namespaceSelector: {}, podSelector: {matchExpressions: [{key: app, operator: NotIn, values: [x]}]}}], ports: [{protocol: SCTP}]}]`), `
			web db TCP/80: Allow ingress workload Rule default NetworkPolicy/shop/k 0
			web db UDP/95: Allow ingress workload Rule default NetworkPolicy/shop/k 0
			web db UDP/96: Deny ingress workload EndOfTier default NetworkPolicy/shop/k end-of-tier
			web db TCP/5432: Allow ingress workload Rule default NetworkPolicy/shop/k 0
			job db TCP/80: Deny ingress workload EndOfTier default NetworkPolicy/shop/k end-of-tier
			job db SCTP/9: Allow ingress workload Rule default NetworkPolicy/shop/k 1
			partner db SCTP/9: Deny ingress workload EndOfTier default NetworkPolicy/shop/k end-of-tier
			db world TCP/1: Allow ingress workload NoEndpoint`},
		{"native: ipBlock with except, empty from", knp("k", `podSelector: {}, policyTypes: [Ingress, Egress], ingress: [{}], egress: [{to: [{ipBlock: {cidr: 9.0.0.0/8, except: [9.9.9.0/24]}}]}]`), `
			world db TCP/80: Allow ingress workload Rule default NetworkPolicy/shop/k 0
			web world TCP/80: Deny egress workload EndOfTier default NetworkPolicy/shop/k end-of-tier`},
		{"native policies have order 1000", knp("k", `podSelector: {}, ingress: [{}]`) + gnp("after", `order: 1001, ingress: [{action: Deny}]`) + gnp("before", `order: 999, ingress: [{action: Deny, protocol: UDP}]`), `
			world db TCP/80: Allow ingress workload Rule default NetworkPolicy/shop/k 0
			world db UDP/80: Deny ingress workload Rule default GlobalNetworkPolicy/before 0`},
		{"ClusterNetworkPolicy: tiers, priority, peers, names", cnp("adm", `tier: Admin, priority: 5, subject: {namespaces: {}}, ingress: [{name: one, action: Deny, from: [{namespaces: {matchLabels: {env: test}}}]}], egress: [{action: Deny, to: [{nodes: {matchLabels: {zone: z1}}}]}, {action: Pass, to: [{networks: [0.0.0.0/0]}], protocols: [{udp: {destinationPort: {number: 53}}}]}, {action: Deny, to: [{networks: [9.0.0.0/8, "2001:db8::/32"]}]}]`) +
			cnp("base", `tier: Baseline, priority: 0, subject: {pods: {namespaceSelector: {}, podSelector: {matchLabels: {app: web}}}}, egress: [{action: Deny, to: [{networks: [0.0.0.0/0]}]}]`), `
			job db TCP/80: Deny ingress workload Rule kube-admin ClusterNetworkPolicy/adm 0
			db n1 TCP/80: Deny egress workload Rule kube-admin ClusterNetworkPolicy/adm 0
			db world UDP/53: Allow ingress workload NoEndpoint
			db world UDP/54: Deny egress workload Rule kube-admin ClusterNetworkPolicy/adm 2
			web partner TCP/1: Deny egress workload Rule kube-baseline ClusterNetworkPolicy/base 0
			web6 partner6 TCP/1: Deny egress workload Rule kube-admin ClusterNetworkPolicy/adm 2`},
		{"ClusterNetworkPolicy: an unknown peer fails closed", cnp("u", `tier: Admin, priority: 5, subject: {namespaces: {}}, ingress: [{action: Accept, from: [{}]}, {action: Pass, from: [{}]}]`), `
			world db TCP/80: Deny ingress workload Rule kube-admin ClusterNetworkPolicy/u 1`},
		{"own node, itself, unknown workloads", hosts + gnp("d", `ingress: [{action: Deny}], egress: [{action: Allow}]`), `
			n1 web TCP/80: Allow ingress workload OwnNode
			web web TCP/80: Allow egress workload Loopback
			n1 n1 TCP/80: Allow egress host Loopback
			web n1 TCP/80: Allow ingress toHost EndpointToHost
			lost web TCP/80: Deny egress workload UnknownWorkload
			web lost TCP/80: Deny ingress workload UnknownWorkload
			n1 lost TCP/80: Allow ingress workload OwnNode
			n2 lost TCP/80: Deny ingress workload UnknownWorkload`},
		{"endpointToHostAction Return asks the host's policy", hosts + object("Tierwall", "name: default", `endpointToHostAction: Return, unknownWorkloads: Allow, failsafe: {inbound: [{port: 7, net: 10.0.0.0/8}]}`) + gnp("h", `selector: role == 'node', types: [Ingress], ingress: []`), `
			web n1 TCP/80: Deny ingress host EndOfTier default GlobalNetworkPolicy/h end-of-tier
			web n1 TCP/7: Allow ingress host Failsafe
			web n1 TCP/22: Deny ingress host EndOfTier default GlobalNetworkPolicy/h end-of-tier
			lost n3 TCP/1: Allow ingress host NoEndpoint`},
		{"endpointToHostAction Drop", object("Tierwall", "name: default", `endpointToHostAction: Drop`), `
			web n1 TCP/80: Deny ingress toHost EndpointToHost
			web n2 TCP/80: Allow ingress host NoEndpoint`},
		{"hosts: default action, failsafe ports", hosts, `
			world n1 TCP/80: Allow ingress host Default
			world n2 TCP/80: Deny ingress host Default
			world n2 TCP/22: Allow ingress host Failsafe
			n2 world UDP/53: Allow ingress workload NoEndpoint
			n2 world TCP/80: Deny egress host Default
			world n3 TCP/80: Allow ingress host NoEndpoint`},
		{"forwarded traffic: applyOnForward only, then allowed", hosts + gnp("f", `selector: role == 'node', applyOnForward: true, ingress: [{action: Allow, protocol: TCP}], egress: [{action: Deny, destination: {nets: [9.9.9.9/32]}}, {action: Allow}]`) + gnp("l", `selector: role == 'node', order: 1, ingress: [{action: Deny}]`), `
			world web TCP/80: Allow ingress workload Default
			world web UDP/80: Deny ingress forward EndOfTier default GlobalNetworkPolicy/f end-of-tier
			web world TCP/80: Deny egress forward Rule default GlobalNetworkPolicy/f 0
			job web UDP/80: Deny ingress forward EndOfTier default GlobalNetworkPolicy/f end-of-tier
			world n1 TCP/80: Deny ingress host Rule default GlobalNetworkPolicy/l 0`},
		{"preDNAT and doNotTrack: no end of tier, Allow skips the host's later stages", hosts +
			gnp("u", `selector: has(role), applyOnForward: true, doNotTrack: true, ingress: [{action: Allow, source: {nets: [9.0.0.0/8]}}]`) +
			gnp("p", `selector: has(role), applyOnForward: true, preDNAT: true, ingress: [{action: Deny, source: {nets: [9.9.9.9/32]}}, {action: Deny, source: {nets: [198.51.100.0/24]}}]`) +
			gnp("all", `ingress: [{action: Deny, protocol: UDP}]`), `
			world n2 TCP/80: Allow ingress untracked Rule default GlobalNetworkPolicy/u 0
			office n2 TCP/80: Deny ingress preDNAT Rule default GlobalNetworkPolicy/p 1
			office web TCP/80: Deny ingress preDNAT Rule default GlobalNetworkPolicy/p 1
			partner n2 TCP/80: Deny ingress host EndOfTier default GlobalNetworkPolicy/all end-of-tier
			world web UDP/80: Deny ingress workload Rule default GlobalNetworkPolicy/all 0`},
	} {
		t.Run(c.name, func(t *testing.T) {
			objects := decode(t, base+c.objects)
			w := oracle.New(objects)
			e := newEngine(nil)
			for _, o := range objects {
				e.event(oracle.Event{Object: o})
			}
			if err := e.flush(); err != nil {
				t.Fatal(err)
			}
			for _, line := range strings.Split(strings.TrimSpace(c.want), "\n") {
				m := regexp.MustCompile(`^\s*(\w+) (\w+) (\w+)/(\d+): (.*)$`).FindStringSubmatch(line)
				if m == nil {
					t.Fatalf("bad line %q", line)
				}
				f := flowOf(t, m)
				got := w.Decide(f)
				if lastStage(got) != m[5] {
					t.Errorf("%s\n got %s\n all %s", line, lastStage(got), asJSON(got))
				}
				if diff := differ(got, verdict.Decide(e.ix, f)); diff != "" {
					t.Errorf("%s\n the engine differs: %s\n%s\n%s", line, diff, asJSON(got), asJSON(verdict.Decide(e.ix, f)))
				}
			}
		})
	}
}

func flowOf(t *testing.T, m []string) model.Flow {
	f := model.Flow{Src: netip.MustParseAddr(names[m[1]]), Dst: netip.MustParseAddr(names[m[2]])}
	proto, err := model.ParseProtocol(m[3])
	if err != nil {
		t.Fatal(err)
	}
	f.Protocol = proto
	var n int
	if _, err := fmt.Sscan(m[4], &n); err != nil {
		t.Fatal(err)
	}
	if proto.HasPorts() {
		f.SrcPort, f.DstPort = 1000, uint16(n)
	} else {
		f.ICMPType = uint8(n)
		if n == 3 {
			f.ICMPCode = 1
		}
	}
	return f
}

// lastStage is the decision's action and the stage that came last.
func lastStage(d model.Decision) string {
	v := d.Stages[len(d.Stages)-1]
	text := fmt.Sprintf("%s %s %s %s", d.Action, v.Direction, v.Stage, v.Reason)
	if v.Policy != (model.Ref{}) {
		text += fmt.Sprintf(" %s %s %s", v.Tier, v.Policy, v.Rule)
	}
	if v.Audit != nil {
		text += fmt.Sprintf(" audit %s %s", v.Audit.Action, v.Audit.Policy)
	}
	return text
}

func decode(t *testing.T, docs string) []k8s.Object {
	t.Helper()
	scheme := k8s.NewScheme()
	for _, add := range []func(*k8s.Scheme) error{corev1.AddToScheme, networkingv1.AddToScheme, discoveryv1.AddToScheme, cnpv1alpha2.Install, v1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	var objects []k8s.Object
	for _, doc := range strings.Split(docs, "\n---\n") {
		o, _, err := serializer.NewCodecFactory(scheme, serializer.EnableStrict).UniversalDeserializer().Decode([]byte(doc), nil, nil)
		if err != nil {
			t.Fatalf("%v in\n%s", err, doc)
		}
		objects = append(objects, o)
	}
	return objects
}
