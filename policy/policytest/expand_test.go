package policytest

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/policy/index"
	"github.com/tierwall/tierwall/policy/model"
)

func TestExpand(t *testing.T) {
	ix := index.New(index.Options{})
	for _, p := range []struct{ ns, name, app, addr string }{
		{"a", "web-1", "web", "10.0.0.1"}, {"a", "web-2", "web", "10.0.0.2"}, {"a", "db", "db", "10.0.0.3"}, {"b", "web", "web", "10.0.0.4"}, {"b", "pending", "web", ""},
	} {
		e := &model.Endpoint{Ref: model.Ref{Kind: model.KindPod, Namespace: p.ns, Name: p.name}, Labels: map[string]string{"app": p.app}}
		if p.addr != "" {
			e.Addrs = addrs(p.addr)
		}
		ix.Upsert(e)
	}
	ix.Flush()
	w := NewWorld(ix, nil)
	tests := []struct {
		name  string
		from  peer
		to    peer
		port  *intstr.IntOrString
		ports []intstr.IntOrString
		want  string
	}{
		{"one connection", peer{Pod: "a/db"}, peer{IP: "1.1.1.1"}, number(80), nil, "a/db → 1.1.1.1 port 80"},
		{"a namespace sends", peer{Namespace: "a"}, peer{IP: "1.1.1.1"}, number(80), nil, "a/db → 1.1.1.1 port 80; a/web-1 → 1.1.1.1 port 80; a/web-2 → 1.1.1.1 port 80"},
		{"labels in a namespace receive", peer{Node: "k"}, peer{Namespace: "a", Selector: "app == 'web'"}, number(80), nil, "node k → a/web-1 port 80; node k → a/web-2 port 80"},
		{"labels in all namespaces", peer{Selector: "app == 'web'"}, peer{Pod: "a/db"}, number(80), nil, "a/web-1 → a/db port 80; a/web-2 → a/db port 80; b/web → a/db port 80"},
		{"nobody with itself", peer{Namespace: "a"}, peer{Selector: "app == 'db'"}, number(80), nil, "a/web-1 → a/db port 80; a/web-2 → a/db port 80"},
		{"ports", peer{Pod: "a/db"}, peer{Pod: "b/web"}, nil, []intstr.IntOrString{*number(80), *name("https")}, "a/db → b/web port 80; a/db → b/web port https"},
		{"a pod with itself, where both are named", peer{Pod: "a/db"}, peer{Pod: "a/db"}, number(80), nil, "a/db → a/db port 80"},

		{"port and ports", peer{Pod: "a/db"}, peer{Pod: "b/web"}, number(1), []intstr.IntOrString{*number(80)}, "to.ports: cannot be combined with port"},
		{"pod and namespace", peer{Pod: "a/db", Namespace: "a"}, peer{Pod: "b/web"}, number(1), nil, "from: has pod and namespace or selector: want exactly one"},
		{"an empty namespace", peer{Namespace: "c"}, peer{Pod: "b/web"}, number(1), nil, `from.namespace: "c" has no pod with an address of its own`},
		{"labels of nobody", peer{Pod: "b/web"}, peer{Selector: "app == 'x'"}, number(1), nil, `to.selector: "app == 'x'" selects no pod with an address of its own`},
		{"labels of nobody there", peer{Pod: "b/web"}, peer{Selector: "app == 'db'", Namespace: "b"}, number(1), nil, `to.selector: "app == 'db'" selects no pod with an address of its own in namespace "b"`},
		{"a broken selector", peer{Selector: "app = 'x'"}, peer{Pod: "b/web"}, number(1), nil, "from.selector: "},
		{"only itself", peer{Selector: "app == 'db'"}, peer{Selector: "app == 'db'"}, number(1), nil, "to: stands only for the sender, which can always reach itself"},
		{"too many", peer{Namespace: "a"}, peer{Namespace: "a"}, nil, make([]intstr.IntOrString, 20000), "to: the case stands for 180000 connections; the limit is 100000"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := &v1alpha1.PolicyTestCase{Name: "x", From: tt.from, To: target{PolicyTestPeer: tt.to, Port: tt.port, Ports: tt.ports}, Expect: v1alpha1.Allow}
			var got []string
			all, err := w.Expand(c)
			for _, one := range all {
				got = append(got, Connection(one))
			}
			if err != nil {
				got = append(got, err.Error())
			}
			if s := strings.Join(got, "; "); s != tt.want && !(strings.HasSuffix(tt.want, ": ") && strings.HasPrefix(s, tt.want)) {
				t.Errorf("got  %s\nwant %s", s, tt.want)
			}
		})
	}
}
