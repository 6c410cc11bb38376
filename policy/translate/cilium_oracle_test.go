package translate

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/runtime"

	"github.com/tierwall/tierwall/policy/model"
	"github.com/tierwall/tierwall/policy/verdict"
)

// The oracle below decides under Cilium's policies by its own words: a Deny of
// any policy, then an Allow of any, then default deny if any asks for it.

type oraclePolicy struct {
	namespace string // empty: clusterwide
	app       string // of the selected pods; empty: all
	in, out   oracleDirection
}

type oracleDirection struct {
	allow, deny []oracleRule
	defaultDeny *bool
}

type oracleRule struct {
	peer  oraclePeer
	ports []int // nil: all
	l7    bool
}

// oraclePeer is one way to name peers, and what it means.
type oraclePeer struct {
	field string // without from and to
	value any
	match func(p *oraclePolicy, end, other string) bool
}

func isPod(name string) bool { return strings.Contains(name, "/") }

func isNode(name string) bool { return name == "n1" || name == "n2" }

func split(pod string) (namespace, app string) {
	namespace, app, _ = strings.Cut(pod, "/")
	return namespace, app
}

// nodeOf is the node of a pod, or the node itself.
func nodeOf(name string) string {
	switch {
	case isNode(name):
		return name
	case strings.HasPrefix(name, "shop/"):
		return "n1"
	case isPod(name):
		return "n2"
	}
	return ""
}

func within(block string) func(*oraclePolicy, string, string) bool {
	p := netip.MustParsePrefix(block)
	return func(_ *oraclePolicy, _, other string) bool {
		return !isPod(other) && !isNode(other) && p.Contains(netip.MustParseAddr(addresses[other]))
	}
}

type m = map[string]any

var oraclePeers = []oraclePeer{
	{"", nil, func(*oraclePolicy, string, string) bool { return true }},
	{"Endpoints", []m{{}}, func(p *oraclePolicy, _, other string) bool {
		ns, _ := split(other)
		return isPod(other) && (p.namespace == "" || p.namespace == ns)
	}},
	{"Endpoints", []m{{"matchLabels": m{"app": "front"}}, {"matchLabels": m{"any:app": "evil"}}}, func(p *oraclePolicy, _, other string) bool {
		ns, app := split(other)
		return isPod(other) && (p.namespace == "" || p.namespace == ns) && (app == "front" || app == "evil")
	}},
	{"Endpoints", []m{{"matchLabels": m{"k8s:io.kubernetes.pod.namespace": "other"}}}, func(_ *oraclePolicy, _, other string) bool {
		ns, _ := split(other)
		return isPod(other) && ns == "other"
	}},
	{"Endpoints", []m{{"matchLabels": m{"k8s:io.cilium.k8s.namespace.labels.env": "prod", "app": "back"}}}, func(_ *oraclePolicy, _, other string) bool {
		ns, app := split(other)
		return isPod(other) && ns == "shop" && app == "back"
	}},
	{"Endpoints", []m{{"matchExpressions": []m{{"key": "io.kubernetes.pod.namespace", "operator": "NotIn", "values": []string{"shop"}}}}}, func(_ *oraclePolicy, _, other string) bool {
		ns, _ := split(other)
		return isPod(other) && ns != "shop"
	}},
	{"Endpoints", []m{}, func(*oraclePolicy, string, string) bool { return false }},
	{"Entities", []string{"all"}, func(*oraclePolicy, string, string) bool { return true }},
	{"Entities", []string{"world"}, func(_ *oraclePolicy, _, other string) bool { return !isPod(other) && !isNode(other) }},
	{"Entities", []string{"cluster"}, func(_ *oraclePolicy, _, other string) bool { return isPod(other) || isNode(other) }},
	{"Entities", []string{"host", "remote-node"}, func(_ *oraclePolicy, _, other string) bool { return isNode(other) }},
	{"Entities", []string{"host"}, func(_ *oraclePolicy, end, other string) bool { return isNode(other) && nodeOf(end) == other }},
	{"Entities", []string{"remote-node"}, func(_ *oraclePolicy, end, other string) bool { return isNode(other) && nodeOf(end) != other }},
	{"CIDR", []string{"0.0.0.0/0", "::/0"}, within("0.0.0.0/0")},
	{"CIDRSet", []m{{"cidr": "10.0.0.0/8", "except": []string{"10.0.0.0/16"}}}, within("10.0.0.0/8")},
}

func randomOraclePolicy(r *rand.Rand) *oraclePolicy {
	p := &oraclePolicy{
		namespace: []string{"shop", "shop", "other", ""}[r.IntN(4)],
		app:       []string{"", "front", "back"}[r.IntN(3)],
	}
	rules := func() (out []oracleRule) {
		for range r.IntN(3) {
			rule := oracleRule{peer: oraclePeers[r.IntN(len(oraclePeers))]}
			if r.IntN(2) == 0 {
				rule.ports = [][]int{{80}, {53}, {53, 80}}[r.IntN(3)]
			}
			out = append(out, rule)
		}
		return out
	}
	for _, d := range []*oracleDirection{&p.in, &p.out} {
		d.allow = rules()
		if r.IntN(2) == 0 {
			d.deny = rules()
		}
		for i := range d.allow {
			d.allow[i].l7 = d.allow[i].ports != nil && r.IntN(8) == 0
		}
		if r.IntN(3) == 0 {
			b := r.IntN(2) == 0
			d.defaultDeny = &b
		}
	}
	return p
}

// document writes the policy as a manifest.
func (p *oraclePolicy) document(t *testing.T, name string) []byte {
	t.Helper()
	spec, enable := m{"endpointSelector": m{}, "enableDefaultDeny": m{}}, m{}
	if p.app != "" {
		spec["endpointSelector"] = m{"matchLabels": m{"k8s:app": p.app}}
	}
	for dir, d := range map[string]*oracleDirection{"ingress": &p.in, "egress": &p.out} {
		for field, rules := range map[string][]oracleRule{dir: d.allow, dir + "Deny": d.deny} {
			var out []m
			for _, rule := range rules {
				o := m{}
				if rule.peer.field != "" {
					o[map[string]string{"ingress": "from", "egress": "to"}[dir]+rule.peer.field] = rule.peer.value
				}
				if rule.ports != nil {
					var ports []m
					for _, n := range rule.ports {
						ports = append(ports, m{"port": fmt.Sprint(n), "protocol": "TCP"})
					}
					o["toPorts"] = []m{{"ports": ports}}
					if rule.l7 {
						o["toPorts"] = []m{{"ports": ports, "rules": m{"http": []m{{}}}}}
					}
				}
				out = append(out, o)
			}
			spec[field] = out
		}
		if d.defaultDeny != nil {
			enable[dir] = *d.defaultDeny
		}
	}
	spec["enableDefaultDeny"] = enable
	kind := "CiliumNetworkPolicy"
	if p.namespace == "" {
		kind = "CiliumClusterwideNetworkPolicy"
	}
	b, err := json.Marshal(m{"apiVersion": "cilium.io/v2", "kind": kind, "metadata": m{"name": name, "namespace": p.namespace}, "spec": spec})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func (r *oracleRule) matches(p *oraclePolicy, end, other string, port int) bool {
	if r.peer.field == "" && r.ports == nil {
		return false // an empty rule
	}
	if !r.peer.match(p, end, other) {
		return false
	}
	for _, n := range r.ports {
		if n == port {
			return true
		}
	}
	return r.ports == nil
}

// oracleAllows decides one direction for a pod.
func oracleAllows(policies []*oraclePolicy, ingress bool, end, other string, port int) bool {
	ns, app := split(end)
	allowed, defaultDeny := false, false
	for _, p := range policies {
		if p.namespace != "" && p.namespace != ns || p.app != "" && p.app != app {
			continue
		}
		d := &p.out
		if ingress {
			d = &p.in
		}
		for i := range d.deny {
			if d.deny[i].matches(p, end, other, port) {
				return false
			}
		}
		for i := range d.allow {
			allowed = allowed || d.allow[i].matches(p, end, other, port)
		}
		if d.defaultDeny != nil {
			defaultDeny = defaultDeny || *d.defaultDeny
		} else {
			defaultDeny = defaultDeny || len(d.allow)+len(d.deny) > 0
		}
	}
	return allowed || !defaultDeny
}

// TestCiliumOracle compares translated random policies with the oracle: equal
// verdicts where every field has an equivalent, and never a wider one.
func TestCiliumOracle(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	exact, allowed := 0, 0
	for range 400 {
		var policies []*oraclePolicy
		var objects []runtime.Object
		var docs []string
		lossy := false
		for i := range 1 + r.IntN(4) {
			p := randomOraclePolicy(r)
			policies = append(policies, p)
			doc := p.document(t, fmt.Sprintf("p%d", i))
			docs = append(docs, string(doc))
			obj, err := decode(doc)
			if err != nil {
				t.Fatalf("%s: %v", doc, err)
			}
			res, err := Translate(obj)
			if err != nil {
				t.Fatalf("%s: %v", doc, err)
			}
			lossy = lossy || res.Lossy()
			objects = append(objects, res.Objects...)
		}
		objects, _ = Reconcile(objects, nil)
		ix := world(t, objects)
		if !lossy {
			exact++
		}
		for src := range addresses {
			for dst := range addresses {
				for _, port := range []int{53, 80, 81} {
					if src == dst || isNode(src) && nodeOf(dst) == src {
						continue // always allowed here
					}
					want := (!isPod(src) || oracleAllows(policies, false, src, dst, port)) &&
						(!isPod(dst) || oracleAllows(policies, true, dst, src, port))
					d := verdict.Decide(ix, model.Flow{
						Src: netip.MustParseAddr(addresses[src]), Dst: netip.MustParseAddr(addresses[dst]),
						Protocol: model.TCP, SrcPort: 40000, DstPort: uint16(port),
					})
					got := d.Action == model.Allow
					if got {
						allowed++
					}
					if got != want && (got || !lossy) {
						t.Fatalf("seed %d: %s > %s %d: allowed %v, want %v\n%s\n%+v", seed, src, dst, port, got, want, strings.Join(docs, "\n"), d.Stages)
					}
				}
			}
		}
	}
	if exact < 50 || allowed < 1000 {
		t.Errorf("only %d worlds without loss, %d connections allowed", exact, allowed)
	}
}
