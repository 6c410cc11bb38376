package oracle

import "fmt"

// Calico makes tiers, network sets, and one to six of Calico's policies in either
// spelling. Some are staged.
func (f *Foreign) Calico() [][]byte {
	var out [][]byte
	add := func(group, kind string, meta, spec document) {
		out = append(out, manifest(document{"apiVersion": group, "kind": kind, "metadata": meta, "spec": spec}))
	}
	const v3, stored = "projectcalico.org/v3", "crd.projectcalico.org/v1"
	for i, name := range []string{"sec", "app"} {
		spec := document{}
		if f.chance(0.8) {
			spec["order"] = draw(f, 100, 200, 2_000_000)
		}
		if f.chance(0.3) {
			spec["defaultAction"] = draw(f, "Pass", "Deny")
		}
		add([]string{v3, stored}[i], "Tier", document{"name": name}, spec)
	}
	add(v3, "GlobalNetworkSet", document{"name": "feed", "labels": document{"app": "x"}}, document{"nets": []string{"203.0.113.0/25", "2001:db8::9"}})
	add(v3, "NetworkSet", document{"name": "office", "namespace": draw(f, "a", "b"), "labels": document{"app": draw(f, "x", "y"), "role": "x"}},
		document{"nets": []string{"198.51.100.7/24", "10.200.0.0/16"}})
	for i := range 1 + f.rng.IntN(6) {
		tier := draw(f, "default", "default", "sec", "app")
		meta, spec := document{"name": fmt.Sprintf("%s.p%d", tier, i)}, document{"tier": tier, "selector": f.calicoSelector()}
		if f.chance(0.7) {
			spec["order"] = draw(f, 1, 2, 2, 10.5, 1000)
		}
		group, kind, ns := draw(f, v3, v3, stored), "GlobalNetworkPolicy", ""
		if f.chance(0.5) {
			ns = draw(f, "a", "b")
			kind, meta["namespace"] = "NetworkPolicy", ns
		} else if f.chance(0.3) {
			spec["namespaceSelector"] = f.calicoNamespaces()
		}
		switch name := fmt.Sprintf("%s.p%d", tier, i); {
		case group == stored && tier != "default" && f.chance(0.5): // as old versions have stored it
			meta["name"] = "default." + name
		case group == v3 && tier == "default":
			meta["name"] = fmt.Sprintf("p%d", i)
		}
		if group == v3 && f.chance(0.15) {
			kind = "Staged" + kind
		}
		if f.chance(0.15) {
			spec["serviceAccountSelector"] = draw(f, "team == 'x'", "has(team)", "projectcalico.org/name == 'web'")
		}
		if f.chance(0.6) {
			spec["types"] = draw(f, []string{"Ingress"}, []string{"Egress"}, []string{"Ingress", "Egress"})
			if group == stored {
				spec["types"] = draw(f, []string{"ingress"}, []string{"Egress"}, []string{"Ingress", "egress"})
			}
		}
		for _, dir := range []string{"ingress", "egress"} {
			var rules []document
			for range draw(f, 0, 1, 1, 2, 3) {
				rules = append(rules, f.calicoRule(ns, dir, group == stored))
			}
			if rules != nil {
				spec[dir] = rules
			}
		}
		add(group, kind, meta, spec)
	}
	return out
}

func (f *Foreign) calicoSelector() string {
	return draw(f, "all()", "app == 'x'", "app == 'y'", "has(role)", "!has(app)", "app in {'x', 'y'}", "app != 'x'", "role not in {'x'}",
		"app == 'x' || role == 'y'", "app == 'x' && !(role == 'x')", "projectcalico.org/namespace == 'a'", "projectcalico.org/serviceaccount == 'web'",
		"app starts with 'x'", "role contains 'y'")
}

func (f *Foreign) calicoNamespaces() string {
	return draw(f, "all()", "global()", "env == 'x'", "has(env)", "projectcalico.org/name == 'b'", "env != 'x'", "!has(env)")
}

func (f *Foreign) calicoRule(ns, dir string, stored bool) document {
	r := document{"action": draw(f, "Allow", "Allow", "Allow", "Deny", "Deny", "Pass", "Log")}
	if stored && f.chance(0.5) {
		r["action"] = draw(f, "allow", "deny", "pass", "log")
	}
	ports, names := false, false
	switch f.rng.IntN(8) {
	case 0, 1, 2:
		r["protocol"], ports = draw[any](f, "TCP", "TCP", "UDP", "SCTP", 6, "17"), true
	case 3:
		r["protocol"] = draw(f, "ICMP", "ICMPv6")
		icmp := document{"type": map[any]any{"ICMP": 8, "ICMPv6": 128}[r["protocol"]]}
		switch f.rng.IntN(3) {
		case 0:
			r["icmp"] = icmp
		case 1:
			r["notICMP"] = icmp
		}
	case 4:
		r["notProtocol"] = draw[any](f, "TCP", "UDP", 1)
		names = f.chance(0.3)
	case 5:
		names = true
	}
	if f.chance(0.1) && r["protocol"] != "ICMP" && r["protocol"] != "ICMPv6" {
		r["ipVersion"] = draw(f, 4, 6)
	}
	source, destination := document{}, document{}
	near, far := destination, source
	if dir == "egress" {
		near, far = source, destination
	}
	v6 := r["ipVersion"] == 6 || r["protocol"] == "ICMPv6"
	if f.chance(0.8) {
		f.calicoPeer(far, ns, v6, r["ipVersion"] == nil && r["protocol"] != "ICMP")
	}
	if f.chance(0.1) {
		near["selector"] = f.calicoSelector()
	}
	if _, taken := destination["services"]; !taken {
		switch {
		case ports && f.chance(0.7):
			destination["ports"] = draw[any](f, []any{80}, []any{80, "8080:8090"}, []any{"http"}, []any{"dns", 443}, []any{"80"})
			if f.chance(0.2) {
				destination["notPorts"] = draw[any](f, []any{80}, []any{"http"}, []any{"81:5353"})
			}
		case names:
			destination["ports"] = draw[any](f, []any{"http"}, []any{"http", "dns"}, []any{"gone"})
			if f.chance(0.2) {
				destination["notPorts"] = []any{draw(f, "http", "dns")}
			}
		}
	}
	if ports && dir == "ingress" && f.chance(0.1) {
		source["ports"] = draw[any](f, []any{40000}, []any{"1:39999"}, []any{"30000:50000"})
	}
	for name, side := range map[string]document{"source": source, "destination": destination} {
		if len(side) > 0 {
			r[name] = side
		}
	}
	return r
}

// calicoPeer says whom a rule is about. free: no IP version is given.
func (f *Foreign) calicoPeer(e document, ns string, v6, free bool) {
	nets := draw(f, []string{"203.0.113.0/24"}, []string{"10.1.1.7/16"}, []string{"198.51.100.9"}, []string{"0.0.0.0/0"}, []string{"10.1.1.0/24", "192.0.2.2/32"})
	if v6 || free && f.chance(0.25) {
		nets = draw(f, []string{"2001:db8::/32"}, []string{"fd00:10:1::/64", "2001:db8::9"})
	}
	switch f.rng.IntN(9) {
	case 0:
		e["nets"] = nets
	case 1:
		e["notNets"] = nets
	case 2, 3:
		e["selector"] = f.calicoSelector()
	case 4:
		e["notSelector"] = f.calicoSelector()
	case 5:
		e["selector"], e["notSelector"] = f.calicoSelector(), f.calicoSelector()
	case 6:
		e["namespaceSelector"] = f.calicoNamespaces()
		if f.chance(0.6) {
			e[draw(f, "selector", "selector", "notSelector")] = f.calicoSelector()
		}
	case 7:
		e["serviceAccounts"] = draw(f, document{"names": []string{"web"}}, document{"selector": "team == 'x'"}, document{"names": []string{"web", "default"}, "selector": "has(team)"})
		if f.chance(0.3) {
			e["namespaceSelector"] = draw(f, "all()", "env == 'y'")
		}
	default:
		e["services"] = document{"name": draw(f, "svc", "svc", "gone"), "namespace": "a"}
		if ns == "a" {
			e["services"] = document{"name": "svc"}
		}
		return
	}
	if f.chance(0.15) && e["nets"] == nil && e["notNets"] == nil {
		e["notNets"] = nets
	}
}
