package page

import (
	"bytes"
	"encoding/json"
	"flag"
	"math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/tierwall/tierwall/controllers/manifests"
	"github.com/tierwall/tierwall/policy/flows"
	"github.com/tierwall/tierwall/policy/model"
	"github.com/tierwall/tierwall/policy/policytest"
	"github.com/tierwall/tierwall/policy/verdict"
)

var update = flag.Bool("update", false, "write config/samples/flows.jsonl anew")

const samples = "../../config/samples"

// sampleTraffic is what the shop does in a busy hour: sender, receiver, port, and how many
// connections each quarter.
var sampleTraffic = []struct {
	from, to, port string
	n              uint64
}{
	{"203.0.113.40", "shop/frontend", "8080/TCP", 5200},
	{"2001:db8:77::9", "shop/frontend", "8080/TCP", 900},
	{"198.51.100.23", "shop/frontend", "8080/TCP", 310},
	{"shop/frontend", "shop/catalog", "8080/TCP", 4100},
	{"shop/frontend", "shop/cart", "8080/TCP", 1600},
	{"shop/frontend", "shop/checkout", "8080/TCP", 420},
	{"shop/frontend", "payments/payments-api", "8443/TCP", 12},
	{"shop/checkout", "payments/payments-api", "8443/TCP", 400},
	{"shop/checkout", "payments/postgres", "5432/TCP", 3},
	{"payments/payments-api", "payments/postgres", "5432/TCP", 830},
	{"payments/payments-api", "203.0.113.130", "443/TCP", 390},
	{"payments/reports", "payments/postgres", "5432/TCP", 24},
	{"shop/frontend", "kube-system/coredns", "53/UDP", 2600},
	{"shop/checkout", "kube-system/coredns", "53/UDP", 800},
	{"payments/payments-api", "kube-system/coredns", "53/UDP", 700},
	{"monitoring/prometheus", "kube-system/coredns", "53/UDP", 60},
	{"monitoring/prometheus", "shop/frontend", "9090/TCP", 60},
	{"monitoring/prometheus", "shop/catalog", "9090/TCP", 60},
	{"monitoring/prometheus", "shop/cart", "9090/TCP", 60},
	{"monitoring/prometheus", "shop/checkout", "9102/TCP", 60},
	{"monitoring/prometheus", "payments/payments-api", "9090/TCP", 60},
	{"monitoring/prometheus", "kube-system/coredns", "9153/TCP", 60},
	{"monitoring/grafana", "monitoring/prometheus", "9090/TCP", 180},
	{"monitoring/grafana", "203.0.113.200", "443/TCP", 9},
	{"shop-staging/frontend", "shop-staging/catalog", "8080/TCP", 220},
	{"shop-staging/frontend", "shop/catalog", "8080/TCP", 7},
	{"shop-staging/frontend", "payments/payments-api", "8443/TCP", 2},
	{"shop/catalog", "169.254.169.254", "80/TCP", 4},
	{"shop/cart", "198.51.100.99", "443/TCP", 5},
	{"192.0.2.200", "node:node-a", "22/TCP", 2},
	{"203.0.113.66", "node:node-a", "22/TCP", 48},
}

// sampleFlows are the records of that hour: what each rule decided is what explain says.
func sampleFlows(t *testing.T) []byte {
	t.Helper()
	r, err := manifests.Load([]string{samples}, manifests.Options{})
	if err != nil {
		t.Fatal(err)
	}
	r.Complete()
	ix, _ := r.Index()
	world := policytest.NewWorld(ix, r.All(), r.Book)
	random := rand.New(rand.NewPCG(16, 1))
	start := time.Date(2026, 11, 30, 9, 0, 0, 0, time.UTC)
	end := func(a netip.Addr) flows.End {
		e := flows.End{Kind: flows.EndOutside, Addresses: []netip.Addr{a}}
		if ref := ix.Owner(a); ref.Kind == model.KindPod {
			p, _ := ix.Endpoint(ref)
			e.Kind, e.Namespace, e.Workload, e.Node = flows.EndPod, ref.Namespace, "Pod/"+ref.Name, p.Node
		} else if n := ix.NodeOf(a); n != nil {
			e.Kind, e.Workload, e.Node = flows.EndHost, "Node/"+n.Name, n.Name
		}
		for _, set := range ix.NetworkSets() {
			if e.Kind == flows.EndOutside && slices.ContainsFunc(ix.NetworkSet(set), func(p netip.Prefix) bool { return p.Contains(a) }) {
				e.Kind, e.Set, e.Namespace = flows.EndSet, set.String(), set.Namespace
			}
		}
		return e
	}
	var out bytes.Buffer
	for quarter := range 4 {
		for _, x := range sampleTraffic {
			pc, err := policytest.ParseCase("", x.from, x.to, x.port)
			if err != nil {
				t.Fatal(err)
			}
			f, err := world.Resolve(pc)
			if err != nil {
				t.Fatalf("%s to %s: %v", x.from, x.to, err)
			}
			d := verdict.Decide(ix, f)
			n := x.n*3/4 + random.Uint64N(x.n/2+1)
			rec := flows.Record{
				Start: start.Add(time.Duration(quarter) * 15 * time.Minute), End: start.Add(time.Duration(quarter+1) * 15 * time.Minute),
				Source: end(f.Src), Destination: end(f.Dst), Protocol: f.Protocol, Port: f.DstPort,
				Decided: flows.Decided{Generation: 1, Action: d.Action},
			}
			for dir, to := range map[model.Direction]**model.Verdict{model.Egress: &rec.Decided.Egress, model.Ingress: &rec.Decided.Ingress} {
				if v, ok := d.Deciding(dir); ok && v.Reason != model.ReasonNoEndpoint {
					v.Endpoint = model.Ref{}
					if v.Audit != nil {
						audit := *v.Audit
						audit.Endpoint = model.Ref{}
						v.Audit = &audit
					}
					*to = &v
				}
			}
			for _, node := range []string{rec.Source.Node, rec.Destination.Node} {
				if node != "" && !slices.Contains(rec.Reporters, node) {
					rec.Reporters = append(rec.Reporters, node)
				}
			}
			slices.Sort(rec.Reporters)
			if d.Action == model.Deny {
				rec.Denied = n
			} else {
				rec.Connections = flows.Connections{New: n, Closed: n}
				size := 400 + random.Uint64N(8000)
				rec.Sent = &flows.Volume{Packets: 6 * n, Bytes: 700 * n}
				rec.Received = &flows.Volume{Packets: 6 * n, Bytes: size * n}
			}
			line, err := json.Marshal(rec)
			if err != nil {
				t.Fatal(err)
			}
			out.Write(append(line, '\n'))
		}
	}
	return out.Bytes()
}

// TestSampleFlows: the records beside the samples are those of its traffic, decided as its
// policies decide.
func TestSampleFlows(t *testing.T) {
	want := sampleFlows(t)
	if *update {
		if err := os.WriteFile(samples+"/flows.jsonl", want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(samples + "/flows.jsonl")
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("config/samples/flows.jsonl is out of date (%v): go test ./controllers/page -run TestSampleFlows -update", err)
	}
}
