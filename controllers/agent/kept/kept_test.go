package kept

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/tierwall/tierwall/controllers/manifests"
	"github.com/tierwall/tierwall/dataplane"
	"github.com/tierwall/tierwall/policy/convert"
	"github.com/tierwall/tierwall/policy/index"
	"github.com/tierwall/tierwall/policy/model"
	"github.com/tierwall/tierwall/policy/verdict"
)

const world = `
apiVersion: v1
kind: Node
metadata: {name: n1, labels: {rack: a}}
spec: {podCIDRs: [10.1.1.0/24]}
status: {addresses: [{type: InternalIP, address: 192.0.2.1}]}
---
apiVersion: v1
kind: Node
metadata: {name: n2}
spec: {podCIDRs: [10.1.2.0/24]}
status: {addresses: [{type: InternalIP, address: 192.0.2.2}]}
---
apiVersion: v1
kind: Namespace
metadata: {name: app, labels: {team: blue}}
---
apiVersion: v1
kind: Pod
metadata: {namespace: app, name: local, labels: {role: scraper}}
spec: {nodeName: n1, containers: [{name: c, image: i, ports: [{name: metrics, containerPort: 9100, protocol: TCP}]}]}
status: {phase: Running, podIP: 10.1.1.7, podIPs: [{ip: 10.1.1.7}]}
---
apiVersion: v1
kind: Pod
metadata: {namespace: app, name: remote, labels: {role: scraper}}
spec: {nodeName: n2, containers: [{name: c, image: i, ports: [{name: metrics, containerPort: 9101, protocol: TCP}]}]}
status: {phase: Running, podIP: 10.1.2.7, podIPs: [{ip: 10.1.2.7}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {namespace: app, name: store-1, labels: {kubernetes.io/service-name: store}}
addressType: IPv4
endpoints: [{addresses: [203.0.113.5]}]
ports: [{name: db, port: 5432, protocol: TCP}]
---
apiVersion: tierwall.io/v1alpha1
kind: Tierwall
metadata: {name: default}
spec: {endpointToHostAction: Drop}
---
apiVersion: tierwall.io/v1alpha1
kind: Tier
metadata: {name: platform}
spec: {order: 100}
---
apiVersion: tierwall.io/v1alpha1
kind: GlobalNetworkSet
metadata: {name: office, labels: {who: office}}
spec: {nets: [198.51.100.0/24, "2001:db8:1::/64"]}
---
apiVersion: tierwall.io/v1alpha1
kind: HostEndpoint
metadata: {name: n1-eth0, labels: {host: "yes"}}
spec: {node: n1, interfaceName: eth0, ports: [{name: web, protocol: TCP, port: 8443}]}
---
apiVersion: tierwall.io/v1alpha1
kind: HostEndpoint
metadata: {name: n2-eth0, labels: {host: "yes"}}
spec: {node: n2, interfaceName: eth0}
---
apiVersion: tierwall.io/v1alpha1
kind: GlobalNetworkPolicy
metadata: {name: hosts}
spec:
  tier: platform
  selector: host == 'yes'
  types: [Ingress, Egress]
  ingress:
  - {action: Deny, protocol: TCP, source: {selector: who == 'office'}, destination: {ports: [9999]}}
  - {action: Allow, protocol: TCP, source: {selector: who == 'office'}, destination: {ports: [8000, web]}}
  - {action: Allow, protocol: TCP, source: {selector: role == 'scraper', namespaceSelector: team == 'blue'}, destination: {ports: [9100]}}
  - {action: Allow, protocol: UDP, source: {notSelector: who == 'office', nets: [203.0.113.0/24]}}
  - {action: Allow, protocol: ICMP, icmp: {type: 8, code: 0}}
  egress:
  - {action: Allow, destination: {services: {namespace: app, name: store}}}
  - {action: Allow, protocol: TCP, destination: {selector: role == 'scraper', namespaceSelector: team == 'blue', ports: [metrics]}}
---
apiVersion: tierwall.io/v1alpha1
kind: GlobalNetworkPolicy
metadata: {name: not-named}
spec:
  tier: platform
  order: 5
  selector: host == 'yes'
  types: [Ingress]
  ingress:
  - {action: Deny, protocol: SCTP, destination: {notPorts: [web, 7]}}
  - {action: Allow, protocol: SCTP, destination: {notPorts: [web]}}
---
apiVersion: tierwall.io/v1alpha1
kind: GlobalNetworkPolicy
metadata: {name: early}
spec:
  tier: platform
  order: 7
  selector: host == 'yes'
  preDNAT: true
  applyOnForward: true
  types: [Ingress]
  ingress: [{action: Deny, protocol: TCP, destination: {ports: [30000]}}]
---
apiVersion: tierwall.io/v1alpha1
kind: GlobalNetworkPolicy
metadata: {name: pods}
spec: {tier: platform, selector: role == 'scraper', types: [Ingress], ingress: [{action: Deny}]}
`

// index holds manifests, and what they were converted to.
func indexOf(t testing.TB, yaml string) (*index.Index, map[model.Ref]model.Object) {
	t.Helper()
	r, err := manifests.LoadBytes("test.yaml", []byte(yaml))
	if err != nil {
		t.Fatal(err)
	}
	ix, objects := index.New(index.Options{Local: func(n string) bool { return n == "n1" }}), map[model.Ref]model.Object{}
	for _, o := range r.Objects {
		m, problems, _ := convert.Object(o.Object)
		if len(problems) > 0 {
			t.Fatalf("%v: %v", m.Key(), problems)
		}
		ix.Upsert(m)
		objects[m.Key()] = m
	}
	ix.Flush()
	return ix, objects
}

func taken(t testing.TB) *State {
	t.Helper()
	ix, objects := indexOf(t, world)
	var hosts []*model.Endpoint
	for _, name := range []string{"n1-eth0", "n2-eth0"} {
		h, ok := objects[model.Ref{Kind: model.KindHostEndpoint, Name: name}].(*model.Endpoint)
		if !ok {
			t.Fatalf("no host endpoint %s", name)
		}
		hosts = append(hosts, h)
	}
	return Take(ix, "n1", hosts)
}

// restored is an index of what is kept.
func restored(t testing.TB, s *State) *index.Index {
	t.Helper()
	objects, err := s.Objects()
	if err != nil {
		t.Fatal(err)
	}
	ix := index.New(index.Options{Local: func(n string) bool { return n == "n1" }})
	for _, o := range objects {
		ix.Upsert(o)
	}
	dataplane.NewCompiler(dataplane.Options{}).Apply(ix.Flush())
	return ix
}

func store(t testing.TB) *Store {
	return &Store{Dir: filepath.Join(t.TempDir(), "below"), Cluster: "c", Node: "n1", Boot: "b1"}
}

// TestSameVerdicts: host endpoints decide as they did, but for what is not kept.
func TestSameVerdicts(t *testing.T) {
	was, _ := indexOf(t, world)
	st := store(t)
	if small, err := st.Save(taken(t)); small || err != nil {
		t.Fatal(small, err)
	}
	after := *st
	after.Boot = "b2"
	k, err := after.Load()
	if err != nil || k.SameBoot || k.Node != "n1" {
		t.Fatalf("%+v, %v", k, err)
	}
	is := restored(t, k.State)
	addr := netip.MustParseAddr
	host := addr("192.0.2.1")
	n := 0
	for _, other := range []string{"198.51.100.9", "203.0.113.5", "203.0.113.6", "10.1.2.7", "10.1.2.8", "192.0.2.2", "192.0.2.77"} {
		for _, p := range []model.Protocol{model.TCP, model.UDP, model.SCTP, model.ICMPv4} {
			for _, port := range []uint16{7, 22, 53, 80, 5432, 8000, 8443, 9100, 9101, 9999, 30000} {
				for _, f := range []model.Flow{
					{Src: addr(other), Dst: host, Protocol: p, SrcPort: 40000, DstPort: port},
					{Src: host, Dst: addr(other), Protocol: p, SrcPort: 40000, DstPort: port},
				} {
					if p == model.ICMPv4 {
						f.SrcPort, f.DstPort, f.ICMPType = 0, 0, 8
					}
					n++
					if p == model.SCTP && f.Dst == host {
						continue // notPorts by name, see TestFailsClosed
					}
					if a, b := verdict.Decide(was, f).Action, verdict.Decide(is, f).Action; a != b {
						t.Errorf("%+v: was %s, is %s", f, a, b)
					}
				}
			}
		}
	}
	if n < 500 {
		t.Errorf("%d flows", n)
	}
	// The node's own pods are unknown, whatever was allowed to them.
	local := model.Flow{Src: addr("10.1.1.7"), Dst: addr("203.0.113.6"), Protocol: model.TCP, SrcPort: 1, DstPort: 80}
	if a, b := verdict.Decide(was, local).Action, verdict.Decide(is, local).Action; a != model.Allow || b != model.Deny {
		t.Errorf("a pod of the node: was %s, is %s", a, b)
	}
	if e := is.Endpoints(); len(e) != 1 || e[0].Name != "n1-eth0" {
		t.Errorf("endpoints %v", e)
	}
	if p := is.Policies(); len(p) != 3 {
		t.Errorf("%d policies", len(p))
	}
}

// TestFailsClosed: names of ports that are excluded cannot be kept.
func TestFailsClosed(t *testing.T) {
	is := restored(t, taken(t))
	for port, want := range map[uint16]model.Action{7: model.Deny, 8443: model.Deny, 80: model.Deny} {
		f := model.Flow{Src: netip.MustParseAddr("198.51.100.9"), Dst: netip.MustParseAddr("192.0.2.1"), Protocol: model.SCTP, SrcPort: 1, DstPort: port}
		if got := verdict.Decide(is, f).Action; got != want {
			t.Errorf("port %d: %s", port, got)
		}
	}
}

func TestLoad(t *testing.T) {
	good := store(t)
	if _, err := good.Load(); !errors.Is(err, ErrNone) {
		t.Errorf("no file: %v", err)
	}
	if _, err := good.Save(taken(t)); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(good.path())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name    string
		content []byte
		change  func(*Store)
		want    error
		same    bool
	}{
		{"same boot", content, nil, nil, true},
		{"another boot", content, func(s *Store) { s.Boot = "b2" }, nil, false},
		{"any cluster", content, func(s *Store) { s.Cluster, s.Node = "", "" }, nil, true},
		{"another cluster", content, func(s *Store) { s.Cluster = "d" }, ErrOther, false},
		{"another node", content, func(s *Store) { s.Node = "n2" }, ErrOther, false},
		{"another version", bytes.Replace(content, []byte("state 1 "), []byte("state 2 "), 1), nil, ErrOther, false},
		{"torn", content[:len(content)/2], nil, ErrDamaged, false},
		{"empty", nil, nil, ErrDamaged, false},
		{"first line only", content[:bytes.IndexByte(content, '\n')], nil, ErrDamaged, false},
		{"a bit", bytes.Replace(content, []byte("n1-eth0"), []byte("n1-eth1"), 1), nil, ErrDamaged, false},
		{"longer", append(bytes.Clone(content), '\n'), nil, ErrDamaged, false},
		{"nothing in it", format.SealJSON([]byte(`{"cluster":"c","node":"n1"}`)), nil, ErrDamaged, false},
		{"an unknown field", format.SealJSON([]byte(`{"cluster":"c","node":"n1","state":{"x":1}}`)), nil, ErrDamaged, false},
		{"a policy of pods", format.SealJSON([]byte(`{"cluster":"c","node":"n1","state":{"policies":[{"Ref":"NetworkPolicy/a/b"}]}}`)), nil, ErrDamaged, false},
		{"too large", content, func(s *Store) { s.MaxBytes = 100 }, ErrDamaged, false},
	} {
		s := Store{Dir: good.Dir, Cluster: "c", Node: "n1", Boot: "b1"}
		if c.change != nil {
			c.change(&s)
		}
		if err := os.WriteFile(s.path(), c.content, 0o600); err != nil {
			t.Fatal(err)
		}
		k, err := s.Load()
		if !errors.Is(err, c.want) || (err == nil) != (c.want == nil) || err == nil && k.SameBoot != c.same {
			t.Errorf("%s: %+v, %v", c.name, k, err)
		}
	}
}

// full is a file on a disk that is full.
type full struct{ *os.File }

func (f full) Write(b []byte) (int, error) {
	n, _ := f.File.Write(b[:len(b)/2])
	return n, syscall.ENOSPC
}

func TestSave(t *testing.T) {
	s := store(t)
	state := taken(t)
	if _, err := s.Save(state); err != nil {
		t.Fatal(err)
	}
	before, _ := os.ReadFile(s.path())
	other := *state
	other.Hosts = nil
	s.create = func(name string) (file, error) {
		f, err := os.Create(name)
		return full{f}, err
	}
	if _, err := s.Save(state); err != nil {
		t.Errorf("what is there already was written again: %v", err)
	}
	if _, err := s.Save(&other); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("disk full: %v", err)
	}
	after, err := os.ReadFile(s.path())
	left, _ := filepath.Glob(filepath.Join(s.Dir, "*"))
	if err != nil || !bytes.Equal(before, after) || len(left) != 1 {
		t.Errorf("after a full disk: %v, same %v, files %v", err, bytes.Equal(before, after), left)
	}
	s.create = nil
	s.MaxBytes = 2000
	if small, err := s.Save(state); !small || err != nil {
		t.Errorf("too large: small %v, %v", small, err)
	}
	k, err := s.Load()
	if err != nil || len(k.State.Nodes) != 1 || k.State.Hosts != nil || k.State.Settings == nil {
		t.Errorf("small: %+v, %v", k, err)
	}
	s.MaxBytes = 50
	if _, err := s.Save(state); err == nil {
		t.Error("no limit")
	}
	for range 2 {
		if err := s.Remove(); err != nil {
			t.Error(err)
		}
	}
	if _, err := s.Load(); !errors.Is(err, ErrNone) {
		t.Errorf("removed: %v", err)
	}
	s.Dir, s.MaxBytes = "/dev/null/x", 0
	if err := s.Remove(); err != nil {
		t.Error(err)
	}
	if _, err := s.Save(state); err == nil {
		t.Error("a folder that cannot be made")
	}
}

// TestDeterministic: the same objects, the same bytes.
func TestDeterministic(t *testing.T) {
	s := store(t)
	first, err := s.encode(taken(t))
	if err != nil {
		t.Fatal(err)
	}
	for range 10 {
		if again, _ := s.encode(taken(t)); !bytes.Equal(first, again) {
			t.Fatal("other bytes")
		}
	}
	if bytes.Contains(first, []byte("10.1.1.7")) {
		t.Error("an address of a local pod is kept")
	}
}

func FuzzLoad(f *testing.F) {
	s := Store{}
	content, err := s.encode(taken(f))
	if err != nil {
		f.Fatal(err)
	}
	_, data, _ := bytes.Cut(content, []byte("\n"))
	f.Add(data)
	f.Add([]byte(`{"state":{"nodes":[{"Name":"n1","PodCIDRs":["10.0.0.0/8"]}],"tiers":[{"Name":"a","DefaultAction":"Deny","Order":1e308}]}}`))
	f.Add([]byte(`{"state":{"hosts":[{"Ref":"HostEndpoint/a","Host":{"DefaultAction":"Deny"}}],"policies":[{"Ref":"GlobalNetworkPolicy/a","Tier":"t","Hosts":["a"],"Ingress":true,"IngressRules":[{"Action":"Allow","Match":{"Source":{"Selector":{}}}}]}]}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, content := range [][]byte{data, format.SealJSON(data)} {
			k, err := s.decode(content)
			if err != nil {
				continue
			}
			ix := restored(t, k.State)
			for _, r := range ix.Endpoints() {
				e, _ := ix.Endpoint(r)
				for _, a := range e.Addrs {
					verdict.Decide(ix, model.Flow{Src: a, Dst: netip.MustParseAddr("192.0.2.9"), Protocol: model.TCP, SrcPort: 1, DstPort: 2})
					verdict.Decide(ix, model.Flow{Src: netip.MustParseAddr("192.0.2.9"), Dst: a, Protocol: model.TCP, SrcPort: 1, DstPort: 2})
				}
			}
		}
	})
}

func TestMembers(t *testing.T) {
	for text, ports := range map[string]bool{"": false, "10.0.0.1": false, "10.0.0.1/24": false, "10.0.0.1/32 TCP": true, "10.0.0.0/24 TCP 1": true, "10.0.0.1/32 TCP 70000": true, "::ffff:10.0.0.1/128": false} {
		s := set{ID: "x", Service: ports, Ports: ports, Members: []string{text}}
		if _, err := s.objects(); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("%q", text)) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// TestSaveAtLimit writes files that are exactly as large as they may be.
func TestSaveAtLimit(t *testing.T) {
	s := store(t)
	state := taken(t)
	size := func(st *State) int {
		content, err := s.encode(st)
		if err != nil {
			t.Fatal(err)
		}
		return len(content)
	}
	whole, small := size(state), size(state.Blocks(s.Node))
	for _, c := range []struct {
		limit int
		small bool
		err   bool
	}{
		{whole, false, false}, {whole - 1, true, false}, {small, true, false}, {small - 1, true, true},
	} {
		s.MaxBytes = c.limit
		if got, err := s.Save(state); got != c.small || (err != nil) != c.err {
			t.Errorf("limit %d: small %v, error %v", c.limit, got, err)
		}
		if k, err := s.Load(); !c.err && (err != nil || k.State == nil) {
			t.Errorf("limit %d: loaded %v, %v", c.limit, k, err)
		}
	}
}
