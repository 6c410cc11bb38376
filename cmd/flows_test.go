package cmd

import (
	"bytes"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tierwall/tierwall/controllers/manifests"
	"github.com/tierwall/tierwall/policy/flows"
	"github.com/tierwall/tierwall/policy/index"
	"github.com/tierwall/tierwall/policy/model"
	"github.com/tierwall/tierwall/policy/verdict"
	"github.com/tierwall/tierwall/policy/workload"
)

// attemptsOfStore are the connections of a day of the store of the docs.
var attemptsOfStore = []struct {
	from, to string
	protocol model.Protocol
	port     uint16
	times    uint64
}{
	{"203.0.113.7", "10.1.1.10", model.TCP, 8080, 120},
	{"203.0.113.9", "10.1.2.10", model.TCP, 8080, 80},
	{"10.1.1.10", "10.1.2.11", model.TCP, 9000, 115},
	{"10.1.2.10", "10.1.2.11", model.TCP, 9000, 78},
	{"10.1.2.11", "10.1.1.12", model.TCP, 5432, 40},
	{"10.1.1.10", "10.1.1.2", model.UDP, 53, 200},
	{"10.1.2.11", "10.1.1.2", model.UDP, 53, 90},
}

// recordsOf are the records of connections as agents of both nodes write them.
func recordsOf(t *testing.T, ix *index.Index) []byte {
	t.Helper()
	at := time.Date(2026, 1, 2, 15, 0, 0, 0, time.UTC)
	var out bytes.Buffer
	for i, a := range attemptsOfStore {
		src, dst := netip.MustParseAddr(a.from), netip.MustParseAddr(a.to)
		d := verdict.Decide(ix, model.Flow{Src: src, Dst: dst, Protocol: a.protocol, SrcPort: 40000, DstPort: a.port})
		end := func(addr netip.Addr) (e flows.End) {
			e = flows.End{Kind: flows.EndOutside, Addresses: []netip.Addr{addr}}
			if p, ok := ix.Endpoint(ix.Owner(addr)); ok {
				owner := workload.OwnerOf(p.Ref.Namespace, p.Ref.Name, p.Labels)
				e.Kind, e.Namespace, e.Workload, e.Node = flows.EndPod, p.Ref.Namespace, string(owner.Kind)+"/"+owner.Name, p.Node
			}
			return e
		}
		start := at.Add(time.Duration(i/3) * flows.Window)
		r := flows.Record{Start: start, End: start.Add(flows.Window), Source: end(src), Destination: end(dst), Protocol: a.protocol, Port: a.port}
		r.Decided.Action = d.Action
		for _, dir := range []model.Direction{model.Egress, model.Ingress} {
			if v, ok := d.Deciding(dir); ok {
				v.Endpoint = model.Ref{}
				if dir == model.Egress {
					r.Decided.Egress = &v
				} else {
					r.Decided.Ingress = &v
				}
			}
		}
		if d.Action == model.Allow {
			r.Connections = flows.Connections{New: a.times, Closed: a.times}
			r.Sent, r.Received = &flows.Volume{Packets: 5 * a.times, Bytes: 700 * a.times}, &flows.Volume{Packets: 6 * a.times, Bytes: 9000 * a.times}
		} else {
			r.Denied = a.times
		}
		for _, node := range []string{"node-a", "node-b"} {
			if r.Source.Node == node || r.Destination.Node == node {
				one := r
				one.Reporters = []string{node}
				if err := writeLines(&out, []flows.Record{one}); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	return out.Bytes()
}

func indexOfFiles(t *testing.T, paths ...string) *index.Index {
	t.Helper()
	r, err := manifests.Load(paths, manifests.Options{})
	if err != nil {
		t.Fatal(err)
	}
	r.Complete()
	ix, _ := r.Index()
	ix.Flush()
	return ix
}

// TestStagedRollout: what the page shows, from what was seen to a namespace that denies the
// rest, and its committed records are what policies decide.
func TestStagedRollout(t *testing.T) {
	const folder = "../test/docs/testdata/staged-rollout"
	cluster := filepath.Join(folder, "cluster")
	records := filepath.Join(folder, "records.jsonl")
	made := recordsOf(t, indexOfFiles(t, cluster))
	committed(t, records, made)
	committed(t, filepath.Join(folder, "..", "flows", "records.jsonl"), made)
	got := runMain(t, "", "flows", "--records", records, "-n", "store")
	if got.status != 0 || got.errOut != "" || strings.Count(got.out, "\n") != 6 || !strings.Contains(got.out, "store/Deployment/web") || !strings.Contains(got.out, "193") {
		t.Errorf("flows: %d, %s\n%s", got.status, got.errOut, got.out)
	}
	recommended := runMain(t, "", "recommend", "-n", "store", "-f", cluster, "--records", records)
	for _, want := range []string{"name: seen-web", "name: seen-api", "name: seen-db", "name: deny-the-rest", "enforcement: Audit", "k8s-app == 'kube-dns'", "203.0.113.7/32"} {
		if !strings.Contains(recommended.out, want) {
			t.Errorf("recommend: no %q: %s", want, recommended.errOut)
		}
	}
	if recommended.status != 0 || strings.Contains(recommended.errOut, "denies what was seen") {
		t.Errorf("recommend: %d, %s", recommended.status, recommended.errOut)
	}
	staged := filepath.Join(t.TempDir(), "store.yaml")
	if err := os.WriteFile(staged, []byte(recommended.out), 0o600); err != nil {
		t.Fatal(err)
	}
	// The next day, the batch job connects to the database.
	attemptsOfStore = append(attemptsOfStore[:len(attemptsOfStore):len(attemptsOfStore)], attemptsOfStore[4])
	attemptsOfStore[len(attemptsOfStore)-1].from = "10.1.2.13"
	defer func() { attemptsOfStore = attemptsOfStore[:len(attemptsOfStore)-1] }()
	audited := filepath.Join(t.TempDir(), "audited.jsonl")
	text := recordsOf(t, indexOfFiles(t, cluster, staged))
	if err := os.WriteFile(audited, text, 0o600); err != nil {
		t.Fatal(err)
	}
	committed(t, filepath.Join(folder, "audited.jsonl"), text)
	committed(t, filepath.Join(folder, "staged", "policies.yaml"), []byte(recommended.out))
	if got := runMain(t, "", "audit", "--records", audited); got.status != 1 || strings.Count(got.out, "\n") != 2 || !strings.Contains(got.out, "store/Pod/batch") {
		t.Errorf("audit: %d, %s\n%s", got.status, got.errOut, got.out)
	}
	if got := runMain(t, "", "unused", "-f", cluster, "-f", staged, "--records", audited); got.status != 0 || !strings.Contains(got.out, "All rules have decided something.") {
		t.Errorf("unused: %d, %s\n%s", got.status, got.errOut, got.out)
	}
	if got := runMain(t, "", "diff", "--enforce-audited", cluster, staged); got.status == 0 {
		t.Errorf("diff: %d, %s", got.status, got.errOut)
	}
}

// committed writes a file of the docs anew, if that is wanted, and otherwise checks it.
func committed(t *testing.T, path string, want []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, want, 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%s is not what policies decide (go test ./cmd -run TestStagedRollout -update): %v", path, err)
	}
}

func TestFlowsErrors(t *testing.T) {
	for _, tc := range []struct {
		args []string
		in   string
		want string
	}{
		{[]string{"flows", "--records", "-"}, "no JSON\n", "line 1: no JSON object"},
		{[]string{"flows", "--records", "-"}, "{}\n", "line 1: no record"},
		{[]string{"flows", "--records", "-", "--policy", "x"}, "", "--policy"},
		{[]string{"flows", "--records", "-", "--since", "soon"}, "", "--since"},
		{[]string{"flows", "--records", "-", "--address", "http://127.0.0.1:1"}, "", "cannot be combined"},
		{[]string{"flows", "--address", "127.0.0.1:1"}, "", "want a URL"},
		{[]string{"recommend", "--records", "-", "-f", "../config/samples"}, "", "want a namespace"},
		{[]string{"recommend", "--records", "-", "-f", "../config/samples", "-n", "shop"}, "", "no connections"},
	} {
		if got := runMain(t, tc.in, tc.args...); got.status != 2 || !strings.Contains(got.errOut, tc.want) {
			t.Errorf("%q: %d, %q, want %q", tc.args, got.status, got.errOut, tc.want)
		}
	}
}
