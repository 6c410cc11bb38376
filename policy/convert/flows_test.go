package convert

import (
	"testing"

	"github.com/tierwall/tierwall/policy/model"
)

func TestFlowsSettings(t *testing.T) {
	const meta = "metadata: {name: default}\n"
	defaults := describeSettings(model.DefaultSettings())
	runExamples(t, model.KindTierwall, []example{
		{name: "the defaults", in: meta + `spec: {flows: {enabled: Auto, history: {hours: 24, maxMebibytes: 1024}}}`, want: defaults},
		{name: "off", in: meta + `spec: {flows: {enabled: "Off", accounting: true}}`, want: defaults},
		{name: "on", in: meta + `spec: {flows: {enabled: "On"}}`, want: defaults + ` flows true false 24h0m0s "" 1073741824 "" 0`},
		{
			name: "all fields",
			in:   meta + `spec: {flows: {enabled: "On", history: {hours: 720, path: /var/lib/tierwall/flows, maxMebibytes: 16}, exports: {stdout: true, otlp: {endpoint: "https://collector.example:4318/"}}}}`,
			want: defaults + ` flows true true 720h0m0s "/var/lib/tierwall/flows" 16777216 "https://collector.example:4318/v1/logs" 0`,
		},
		{
			name: "a path of the collector's own",
			in:   meta + `spec: {flows: {exports: {otlp: {endpoint: "http://[fd00::1]/otlp/logs"}}}}`,
			want: defaults + ` flows false false 24h0m0s "" 1073741824 "http://[fd00::1]/otlp/logs" 0`,
		},
		{
			name: "what cannot be read",
			in:   meta + `spec: {flows: {enabled: Always, history: {hours: 0, path: ../x, maxMebibytes: 15}, exports: {otlp: {endpoint: "collector:4318"}}}}`,
			want: defaults,
			problems: []string{
				`spec.flows.enabled: unsupported value "Always": want Auto, On or Off; it is read as Off`,
				`spec.flows.history.path: invalid value "../x": want the absolute path of a folder; records are kept in memory`,
				`spec.flows.history.hours: 0 is out of range: want 1-8760`,
				`spec.flows.history.maxMebibytes: 15 is out of range: want 16-1048576`,
				`spec.flows.exports.otlp.endpoint: invalid value "collector:4318": want a URL such as http://collector.observability:4318; nothing is exported`,
			},
		},
		{
			name: "too long for memory",
			in:   meta + `spec: {flows: {history: {hours: 25}, exports: {otlp: {endpoint: "https://c", caBundle: none}}}}`,
			want: defaults,
			problems: []string{
				`spec.flows.history.hours: 25 cannot be kept in memory: set path; it is read as 24`,
				`spec.flows.exports.otlp.caBundle: has no PEM certificate; nothing is exported`,
			},
		},
	})
}
