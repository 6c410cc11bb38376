package cmd

import (
	"bytes"
	"strings"
	"testing"
)

const endpoints = `apiVersion: v1
kind: List
items:
- apiVersion: v1
  kind: Node
  metadata: {name: k}
  status: {addresses: [{type: InternalIP, address: 192.0.2.1}]}
- apiVersion: v1
  kind: Pod
  metadata: {name: web, namespace: 'n'}
  spec: {nodeName: k}
  status: {podIP: 10.0.0.1}
- apiVersion: v1
  kind: Pod
  metadata: {name: agent, namespace: 'n'}
  spec: {hostNetwork: true, nodeName: k}
- apiVersion: v1
  kind: Pod
  metadata: {name: job, namespace: 'n'}
  status: {phase: Succeeded, podIP: 10.0.0.2}
- apiVersion: tierwall.io/v1alpha1
  kind: HostEndpoint
  metadata: {name: h}
  spec: {node: k, interfaceName: "*", defaultAction: Allow}
`

// TestEndpointNames: the ways to name an endpoint, and what is said where there is none.
func TestEndpointNames(t *testing.T) {
	tests := []struct {
		args string
		want string // beginning of the output, or all of the errors
	}{
		{"effective n/web", "Pod/n/web  10.0.0.1  on k\n"},
		{"effective pod:n/web", "Pod/n/web  10.0.0.1  on k\n"},
		{"effective Pod/n/web", "Pod/n/web  10.0.0.1  on k\n"},
		{"effective HostEndpoint/h", "HostEndpoint/h  192.0.2.1  on k\n"},
		{"effective hostEndpoint:h", "HostEndpoint/h  192.0.2.1  on k\n"},
		{"effective hep:h", "HostEndpoint/h  192.0.2.1  on k\n"},
		{"effective n/wbe", "error: Pod/n/wbe: no such endpoint; did you mean Pod/n/web?\n"},
		{"effective n/xylophone", "error: Pod/n/xylophone: no such endpoint\n"},
		{"effective n/agent", "error: Pod/n/agent: a pod on the host's network has no policy of its own: its traffic is that of its node\n"},
		{"effective n/job", "error: Pod/n/job: the pod has finished (phase Succeeded): it sends and receives nothing\n"},
		{"effective node:k", "error: endpoint \"node:k\": want NAMESPACE/POD, pod:NAMESPACE/POD or hostEndpoint:NAME\n"},
		{"explain --from n/web --to 10.9.9.9 --port 80", "Pod/n/web (10.0.0.1) → 10.9.9.9  TCP 80\nALLOWED: "},
		{"explain --from Pod/n/web --to Node/k --port 80", "Pod/n/web (10.0.0.1) → HostEndpoint/h (192.0.2.1)  TCP 80\nALLOWED: "},
		{"explain --from HostEndpoint/h --to ip:10.0.0.1 --port ICMP", "HostEndpoint/h (192.0.2.1) → Pod/n/web (10.0.0.1)  ICMP type 8 code 0\nALLOWED: "},
		{"explain --from node:k --to fd00::1 --port 80", "error: --to: the two sides have no IP version in common: from 192.0.2.1, to fd00::1\n"},
		{"explain --from Service/n/web --to 10.9.9.9 --port 80", "error: --from: n/web: a Service sends nothing; name one of its pods\n"},
		{"explain --from svc:n/web --to 10.9.9.9 --port 80", "error: --from: n/web: a Service sends nothing; name one of its pods\n"},
		{"explain --in n/web --from ip:fe80::a --to ip:ff02::1 --port 80", "fe80::a → ff02::1  TCP 80  in by Pod/n/web\nALLOWED: egress by the endpoint's default"},
		{"explain --in interface:k/eth0 --from n/web --to node:k --port 80", "Pod/n/web (10.0.0.1) → HostEndpoint/h (192.0.2.1)  TCP 80  in by Interface/k/eth0\nDENIED: egress by spec.sourceGuard"},
		{"explain --in node:k --from ip:fe80::a --to ip:ff02::1 --out Pod/n/web --port 80", "fe80::a → ff02::1  TCP 80  in by Node/k  out by Pod/n/web\nALLOWED: "},
		{"explain --in n/agent --from 10.0.0.1 --to 10.9.9.9 --port 80", "error: --in \"n/agent\": there is no pod n/agent with an interface of its own\n"},
		{"explain --in eth0 --from 10.0.0.1 --to 10.9.9.9 --port 80", "error: --in \"eth0\": want pod:NAMESPACE/NAME, interface:NODE/NAME or node:NAME\n"},
		{"explain --in interface:eth0 --from 10.0.0.1 --to 10.9.9.9 --port 80", "error: --in \"interface:eth0\": want pod:NAMESPACE/NAME, interface:NODE/NAME or node:NAME\n"},
		{"explain --out node:m --from 10.0.0.1 --to 10.9.9.9 --port 80", "error: --out \"node:m\": there is no node \"m\"\n"},
		{"explain --from n/job --to 10.9.9.9 --port 80", "error: --from: n/job: the pod has finished (phase Succeeded): it sends and receives nothing\n"},
	}
	for _, tt := range tests {
		t.Run(tt.args, func(t *testing.T) {
			got := runMain(t, endpoints, append(strings.Fields(tt.args), "-f", "-")...)
			status := exitOK
			if strings.Contains(tt.want, "\nDENIED") {
				status = exitNegative
			}
			if strings.HasPrefix(tt.want, "error: ") {
				if got.status != exitUnusable || got.errOut != tt.want || got.out != "" {
					t.Errorf("got %+v", got)
				}
			} else if got.status != status || !strings.HasPrefix(got.out, tt.want) || got.errOut != "" {
				t.Errorf("got %+v", got)
			}
		})
	}
}

// TestPluginExamples: as a kubectl plugin, the help shows what to type.
func TestPluginExamples(t *testing.T) {
	for _, command := range []string{"test", "effective", "explain", "diff", "lint", "convert"} {
		var out bytes.Buffer
		Main([]string{"kubectl-tierwall", command, "--help"}, strings.NewReader(""), &out, &out)
		text := strings.ReplaceAll(out.String(), "kubectl tierwall "+command, "")
		if strings.Contains(text, "tierwall "+command) {
			t.Errorf("%s --help names the command without kubectl:\n%s", command, out.String())
		}
	}
}
