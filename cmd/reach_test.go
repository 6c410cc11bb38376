package cmd

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestWhoCan(t *testing.T) {
	const samples = "../config/samples"
	for _, tt := range []struct {
		args   string
		status int
		want   string // in the output or the error
	}{
		{"who-can reach shop/cart", exitOK, "\nshop/frontend\n  traffic  TCP 8080\n  by       egress: NetworkPolicy/shop/frontend-to-backends rule 0 in tier default; ingress: NetworkPolicy/shop/backends-from-frontend rule 0 in tier default\n"},
		{"who-can reach cart -n shop", exitOK, "shop/cart can be reached by:\n"},
		{"who-can reach pod:shop/cart --port 8080", exitOK, "shop/cart can be reached by, on 8080:\n"},
		{"who-can reach namespace:payments --port 5432/TCP", exitOK, "\npayments/payments-api\n  of them  payments/postgres\n  traffic  TCP 5432\n"},
		{"what-can shop/frontend reach", exitOK, "\nshop/cart, shop/catalog, shop/checkout\n  traffic  TCP 8080\n"},
		{"what-can shop/load-test reach --port 443", exitNegative, "shop/load-test can reach, on 443: nothing\n"},
		{"what-can 203.0.113.7 reach", exitOK, "203.0.113.7 can reach:\n"},
		{"what-can node:node-a reach", exitOK, "Node/node-a can reach:\n"},
		{"what-can shop/frontnd reach", exitUnusable, `error: "shop/frontnd": nothing with this name has an address; did you mean "shop/frontend"?`},
		{"what-can namespace:shp reach", exitUnusable, `did you mean "shop"?`},
		{"what-can frontend reach", exitUnusable, `error: "frontend": want NAMESPACE/NAME of a pod or workload, or -n NAMESPACE`},
		{"what-can zone:x reach", exitUnusable, `error: "zone:x": want NAMESPACE/NAME, deploy:NAMESPACE/NAME, namespace:NAME, ip:ADDRESS, node:NAME or hostEndpoint:NAME`},
		{"what-can fe80::1%eth0 reach", exitUnusable, `an address with a zone has a meaning on one node only`},
		{"who-can rech shop/cart", exitUnusable, "error: want who-can reach X (see tierwall who-can --help)"},
		{"who-can reach shop/cart --port 0", exitUnusable, `error: --port "0": want PORT/PROTOCOL with a number from 1 to 65535, or a PROTOCOL`},
		{"who-can reach shop/cart --port http", exitUnusable, `error: --port "http": want`},
	} {
		got := runMain(t, "", append(strings.Fields(tt.args), "-f", samples)...)
		text := got.out
		if tt.status == exitUnusable {
			text = got.errOut
		}
		if got.status != tt.status || !strings.Contains(text, tt.want) {
			t.Errorf("%s: want status %d and %q, got %+v", tt.args, tt.status, tt.want, got)
		}
	}
}

func TestMatrix(t *testing.T) {
	const samples = "../config/samples"
	got := runMain(t, "", "matrix", "-f", samples, "-n", "shop")
	if got.status != exitOK || strings.Count(strings.Split(got.out, "\n")[0], "5") != 1 || strings.Contains(strings.Split(got.out, "\n")[0], "6") {
		t.Errorf("five pods of the shop receive: got\n%s", got.out)
	}
	got = runMain(t, "", "matrix", "-f", samples, "-o", "json")
	var m reachMatrix
	if err := json.Unmarshal([]byte(got.out), &m); err != nil || len(m.To) == 0 || len(m.Cells) == 0 {
		t.Errorf("%v: got %+v", err, got)
	}
	got = runMain(t, "", "matrix", "-f", samples, "-o", "md")
	if !strings.Contains(got.out, "| shop/frontend |") || !strings.Contains(got.out, "◐ TCP 8080 |") {
		t.Errorf("got\n%s", got.out)
	}
	got = runMain(t, "", "matrix", "-f", samples, "-o", "html")
	for _, forbidden := range []string{"<script", "src=", "href=", "@import", "url("} {
		if strings.Contains(got.out, forbidden) {
			t.Errorf("the page has %s", forbidden)
		}
	}
	if got := runMain(t, "", "matrix", "-f", samples, "-n", "nowhere"); got.status != exitUnusable {
		t.Errorf("got %+v", got)
	}
	all, one := runMain(t, "", "matrix", "-f", samples), runMain(t, "", "matrix", "-f", samples, "--port", "8080/TCP")
	if all.out == one.out || one.status != exitOK {
		t.Errorf("--port makes no difference")
	}
}

func TestEscapeMarkdown(t *testing.T) {
	if got := escapeMarkdown("a|b <img src=x> [x](y) `c`\n# d"); got != "a\\|b &lt;img src=x&gt; \\[x\\](y) \\`c\\` \\# d" {
		t.Errorf("got %q", got)
	}
}
