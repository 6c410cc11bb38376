package cmd

import (
	"regexp"
	"strings"
	"testing"
)

// TestNothingForgesLines: whatever texts a manifest holds, none of them starts a
// line of the output or reaches a terminal as a command.
func TestNothingForgesLines(t *testing.T) {
	const nasty = `"a\nforged\e[31m\u202e"`
	fill := func(text string) string { return strings.ReplaceAll(text, "NASTY", nasty) }
	const tierwall = "apiVersion: tierwall.io/v1alpha1\n"
	objects := map[string]string{
		"pod":       "apiVersion: v1\nkind: Pod\nmetadata: {name: x, namespace: 'n', labels: {a: NASTY}, annotations: {a: NASTY}}\nspec: {nodeName: NASTY, serviceAccountName: NASTY, containers: [{name: NASTY, ports: [{name: NASTY, containerPort: 80}]}]}\nstatus: {podIP: 10.0.0.1}\n",
		"pod name":  "apiVersion: v1\nkind: Pod\nmetadata: {name: NASTY, namespace: NASTY}\nstatus: {podIP: 10.0.0.2}\n",
		"namespace": "apiVersion: v1\nkind: Namespace\nmetadata: {name: n, labels: {b: NASTY}}\n",
		"service":   "apiVersion: v1\nkind: Service\nmetadata: {name: s, namespace: 'n'}\nspec: {selector: {a: NASTY}, ports: [{name: NASTY, port: 80, targetPort: NASTY}]}\n",
		"policy": tierwall + "kind: GlobalNetworkPolicy\nmetadata: {name: p}\nspec:\n  tier: NASTY\n  enforcement: NASTY\n  selector: NASTY\n  types: [NASTY]\n" +
			"  ingress:\n  - {action: NASTY, protocol: NASTY, metadata: {annotations: {a: NASTY}}, source: {nets: [NASTY], selector: NASTY, ports: [NASTY], serviceAccounts: {names: [NASTY]}}}\n" +
			"  egress:\n  - {action: Allow, destination: {services: {name: NASTY, namespace: NASTY}}}\n",
		"tier":   tierwall + "kind: GlobalNetworkPolicy\nmetadata: {name: p2}\nspec: {tier: NASTY, ingress: [{action: Deny}]}\n",
		"native": "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: p, namespace: 'n', annotations: {tierwall.io/enforcement: NASTY}}\nspec: {podSelector: {matchLabels: {a: NASTY}}, ingress: [{ports: [{port: NASTY}]}]}\n",
		"cluster policy": "apiVersion: policy.networking.k8s.io/v1alpha2\nkind: ClusterNetworkPolicy\nmetadata: {name: p}\n" +
			"spec: {tier: Admin, priority: 1, subject: {namespaces: {}}, egress: [{name: NASTY, action: Deny, to: [{namespaces: {}}, {networks: [0.0.0.0/0]}]}]}\n",
		"host endpoint": tierwall + "kind: HostEndpoint\nmetadata: {name: h}\nspec: {node: NASTY, interfaceName: NASTY, expectedIPs: [192.0.2.1]}\n",
		"unknown kind":  "apiVersion: NASTY\nkind: NASTY\nmetadata: {name: NASTY}\n",
		"unknown field": tierwall + "kind: Tier\nmetadata: {name: t}\nspec: {NASTY: 1}\n",
		"calico":        "apiVersion: projectcalico.org/v3\nkind: NetworkPolicy\nmetadata: {name: c, namespace: 'n'}\nspec:\n  ingress:\n  - {action: Allow, http: {methods: [NASTY]}, source: {domains: [NASTY]}, metadata: {annotations: {a: NASTY}}}\n",
		"test":          tierwall + "kind: PolicyTest\nmetadata: {name: t}\nspec:\n  resources: [NASTY]\n  cases:\n  - {name: x, from: {pod: NASTY}, to: {node: NASTY, port: NASTY}, expect: NASTY, decidedBy: {egress: {tier: NASTY, policy: NASTY, rule: NASTY}}}\n",
		"case":          tierwall + "kind: PolicyTest\nmetadata: {name: t}\nspec:\n  resources: [ok.yaml]\n  cases:\n  - {name: x, from: {pod: n/y}, to: {ip: 10.0.0.1, port: 80}, expect: Deny, decidedBy: {egress: {tier: NASTY, policy: NASTY, rule: NASTY}}}\n",
	}
	objects["case name"] = strings.Replace(objects["case"], "name: x", "name: NASTY", 1)
	for name, text := range objects {
		for _, command := range []string{
			"effective -f a.yaml -f ok.yaml --all --allow-invalid",
			"explain -f a.yaml -f ok.yaml --from 10.0.0.1 --to 10.0.0.9 --port 80 --allow-invalid",
			"effective -f a.yaml --all",
			"lint a.yaml ok.yaml",
			"diff ok.yaml a.yaml --allow-invalid",
			"diff a.yaml ok.yaml --decisions --allow-invalid",
			"test a.yaml --allow-invalid",
			"convert a.yaml",
		} {
			t.Run(name+"/"+command, func(t *testing.T) {
				// The other file has what the cases and the flags speak of.
				inFolder(t, map[string]string{
					"a.yaml":  fill(text),
					"ok.yaml": "apiVersion: v1\nkind: Pod\nmetadata: {name: 'y', namespace: 'n'}\nstatus: {podIP: 10.0.0.9}\n",
				})
				got := runMain(t, "", strings.Fields(command)...)
				if command == "convert a.yaml" {
					// What it writes is YAML, which has its own ways to hold any text.
					got.out = ""
				}
				if bad := regexp.MustCompile("(?m)^forged|[\x00-\x08\x0b-\x1f\u202e]").FindString(got.out + got.errOut); bad != "" {
					t.Errorf("%q in\n%q", bad, got.out+got.errOut)
				}
			})
		}
	}
}
