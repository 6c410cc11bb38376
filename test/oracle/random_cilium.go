package oracle

import "fmt"

// Cilium makes one to four of Cilium's policies and its groups of blocks. exact leaves
// out what has no equivalent here, such as a pod's own node alone.
func (f *Foreign) Cilium(exact bool) [][]byte {
	out := [][]byte{manifest(document{"apiVersion": "cilium.io/v2", "kind": "CiliumCIDRGroup",
		"metadata": document{"name": "feed", "labels": document{"kind": "x"}},
		"spec":     document{"externalCIDRs": []string{"203.0.113.0/24", "2001:db8::/64"}}})}
	for i := range 1 + f.rng.IntN(4) {
		out = append(out, manifest(f.ciliumPolicy(i, exact)))
	}
	return out
}

func (f *Foreign) ciliumPolicy(i int, exact bool) document {
	kind, meta, spec := "CiliumNetworkPolicy", document{"name": fmt.Sprintf("p%d", i), "namespace": draw(f, "a", "a", "b")}, document{}
	spec["endpointSelector"] = f.ciliumSelector(false)
	nodes := false
	if f.chance(0.3) {
		kind = "CiliumClusterwideNetworkPolicy"
		delete(meta, "namespace")
		if nodes = f.chance(0.3); nodes {
			delete(spec, "endpointSelector")
			spec["nodeSelector"] = document{"matchLabels": document{draw(f, "zone", "kubernetes.io/os"): draw(f, "x", "y", "linux")}}
		}
	}
	enable := document{}
	for _, dir := range []string{"ingress", "egress"} {
		for _, action := range []string{"", "Deny"} {
			var rules []document
			for range draw(f, 0, 0, 1, 1, 2) {
				rules = append(rules, f.ciliumRule(dir, action == "", exact, nodes))
			}
			if rules != nil || f.chance(0.1) {
				spec[dir+action] = rules
			}
		}
		if f.chance(0.25) {
			enable[dir] = f.chance(0.5)
		}
	}
	if len(enable) > 0 {
		spec["enableDefaultDeny"] = enable
	}
	return document{"apiVersion": "cilium.io/v2", "kind": kind, "metadata": meta, "spec": spec}
}

// ciliumSelector selects pods; peer says that it may speak of namespaces.
func (f *Foreign) ciliumSelector(peer bool) document {
	key := draw(f, "app", "k8s:app", "any:role", "role", "io.cilium.k8s.policy.serviceaccount")
	values := []string{draw(f, "x", "y"), draw(f, "web", "x")}
	if peer && f.chance(0.4) {
		key = draw(f, "io.kubernetes.pod.namespace", "k8s:io.kubernetes.pod.namespace", "io.cilium.k8s.namespace.labels.env", "k8s:io.cilium.k8s.namespace.labels.env")
		values = []string{draw(f, "a", "b", "x", "y")}
	}
	switch f.rng.IntN(4) {
	case 0:
		return document{}
	case 1:
		return document{"matchLabels": document{key: values[0]}}
	}
	e := document{"key": key, "operator": draw(f, "In", "NotIn", "Exists", "DoesNotExist")}
	if key == "io.kubernetes.pod.namespace" || key == "k8s:io.kubernetes.pod.namespace" {
		e["operator"] = draw(f, "In", "NotIn", "Exists")
	}
	if e["operator"] == "In" || e["operator"] == "NotIn" {
		e["values"] = values
	}
	return document{"matchExpressions": []document{e}}
}

func (f *Foreign) ciliumRule(dir string, allow, exact, nodes bool) document {
	r := document{}
	from := map[string]string{"ingress": "from", "egress": "to"}[dir]
	own := dir == "egress" && !nodes // a pod's own node can be told from others in Cilium only
	switch f.rng.IntN(9) {
	case 0, 1:
		var list []document
		for range draw(f, 0, 1, 1, 2) {
			list = append(list, f.ciliumSelector(true))
		}
		if list == nil {
			list = []document{}
		}
		r[from+"Endpoints"] = list
	case 2, 3:
		entities := [][]string{{"all"}, {"world"}, {"cluster"}, {"world-ipv4"}, {"world-ipv6"}, {"host", "remote-node"}, {"none"}, {"world", "cluster"}}
		if !own && (allow || !exact) {
			entities = append(entities, []string{"remote-node"}, []string{"host"})
		} else if !exact {
			entities = append(entities, []string{"remote-node"}, []string{"host"}, []string{"health"})
		}
		if !allow && exact { // traffic of a node to its own pods cannot be denied here
			entities = entities[1:5]
			entities = append(entities[:1:1], entities[2:]...)
		}
		r[from+"Entities"] = draw(f, entities...)
	case 4:
		r[from+"CIDR"] = draw(f, []string{"203.0.113.0/25"}, []string{"0.0.0.0/0", "::/0"}, []string{"10.0.0.0/8"}, []string{"198.51.100.9/32", "2001:db8::/32"})
	case 5:
		r[from+"CIDRSet"] = []document{draw(f,
			document{"cidr": "0.0.0.0/0", "except": []string{"203.0.113.0/25", "10.0.0.0/8"}},
			document{"cidr": "203.0.113.0/24", "except": []string{"203.0.113.128/25"}},
			document{"cidrGroupRef": "feed", "except": []string{"203.0.113.0/28"}},
			document{"cidrGroupRef": "feed"}, document{"cidrGroupRef": "gone"},
			document{"cidrGroupSelector": document{"matchLabels": document{"kind": draw(f, "x", "y")}}})}
	case 6:
		if own && exact {
			break
		}
		r[from+"Nodes"] = []document{{"matchLabels": document{"zone": draw(f, "x", "y")}}}
	case 7:
		if dir == "egress" && allow && !exact { // a Deny is of the Service's ports alone here, as its note says
			r["toServices"] = []document{{"k8sService": document{"serviceName": "svc", "namespace": "a"}}}
			return r
		}
		r[from+"Endpoints"] = []document{{"matchLabels": document{draw(f, "reserved:world", "reserved:all"): ""}}}
	}
	switch f.rng.IntN(4) {
	case 0:
		var ports []document
		for range draw(f, 1, 1, 2) {
			p := document{"port": draw(f, "80", "80", "8080", "http", "dns", "0")}
			if f.chance(0.7) {
				p["protocol"] = draw(f, "TCP", "TCP", "UDP", "SCTP", "ANY")
			}
			if p["port"] == "80" && f.chance(0.3) {
				p["endPort"] = draw(f, 81, 8080)
			}
			ports = append(ports, p)
		}
		r["toPorts"] = []document{{"ports": ports}}
		if allow && !exact && f.chance(0.3) {
			r["toPorts"] = []document{{"ports": ports, "rules": document{"http": []document{{}}}}}
		}
	case 1:
		if f.chance(0.5) {
			r["icmps"] = []document{{"fields": []document{draw(f, document{"type": 8}, document{"family": "IPv4", "type": "EchoRequest"},
				document{"family": "IPv6", "type": "EchoRequest"}, document{"type": 0}, document{"family": "IPv6", "type": 129})}}}
		}
	}
	return r
}
