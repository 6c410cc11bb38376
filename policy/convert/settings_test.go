package convert

import (
	"testing"

	"github.com/tierwall/tierwall/policy/model"
)

func TestSettings(t *testing.T) {
	const meta = "metadata: {name: default}\n"
	const in = `in UDP/68 in UDP/546 in TCP/22 in TCP/179 in TCP/2379 in TCP/2380 in TCP/5473 in TCP/6443 in TCP/6666 in TCP/6667 in TCP/10250 `
	const out = `out UDP/53 out UDP/67 out UDP/547 out TCP/179 out TCP/2379 out TCP/2380 out TCP/5473 out TCP/6443 out TCP/6666 out TCP/6667 `
	runExamples(t, model.KindTierwall, []example{
		{name: "defaults", in: meta, want: in + out + `toHost Accept unknown Deny`},
		{
			name: "all fields",
			in: meta + `
spec:
  dataplane: NFTables
  failsafe:
    inbound: [{protocol: TCP, port: 22}, {port: 80, net: 10.1.2.3/8}, {protocol: UDP, port: 68, net: 192.0.2.1}, {protocol: '', port: 443}]
    outbound: [{protocol: 132, port: 9}]
  endpointToHostAction: Return
  unknownWorkloads: Allow
  autoHostEndpoints: true
  logging: {ratePerRule: 0, format: Text}
  metrics: {port: 0}`,
			want: `in TCP/22 in TCP/80@10.0.0.0/8 in UDP/68@192.0.2.1/32 in TCP/443 out SCTP/9 toHost Return unknown Allow auto true lines 0 format text`,
		},
		{
			name: "the values of the defaults",
			in: meta + `
spec: {dataplane: Auto, endpointToHostAction: Accept, unknownWorkloads: Deny, logging: {format: JSON}, metrics: {port: 9477}}`,
			want: in + out + `toHost Accept unknown Deny`,
		},
		{name: "the rate of lines", in: meta + `spec: {logging: {ratePerRule: 500}}`, want: in + out + `toHost Accept unknown Deny lines 500`},
		{name: "drop to host", in: meta + `spec: {dataplane: IPTables, endpointToHostAction: Drop}`, want: in + out + `toHost Drop unknown Deny`},
		{
			name: "an empty list of failsafe ports is none",
			in:   meta + `spec: {failsafe: {inbound: []}}`,
			want: out + `toHost Accept unknown Deny`,
		},
		{
			name: "what is invalid takes the strictest value",
			in: meta + `
spec:
  dataplane: EBPF
  podStartup: Auto
  failsafe: {inbound: [{protocol: ICMP, port: 0, net: x}, {port: 1}], outbound: [{port: 65536}]}
  endpointToHostAction: ACCEPT
  unknownWorkloads: Pass
  logging: {ratePerRule: -1, format: XML}
  metrics: {port: 65536}`,
			want: `in TCP/1 toHost Drop unknown Deny`,
			problems: []string{
				`spec.dataplane: unsupported value "EBPF": want Auto, NFTables or IPTables`,
				`spec.podStartup: unsupported value "Auto": want Wait, Require or Off`,
				`spec.failsafe.inbound[0].protocol: unsupported protocol "ICMP": want TCP, UDP or SCTP; the entry is left out`,
				`spec.failsafe.inbound[0].port: port 0 is out of range: want 1-65535; the entry is left out`,
				`spec.failsafe.inbound[0].net: invalid value "x": want an IPv4 or IPv6 address block in CIDR form, such as 10.0.0.0/8 or fd00::/8; the entry is left out`,
				`spec.failsafe.outbound[0].port: port 65536 is out of range: want 1-65535; the entry is left out`,
				`spec.endpointToHostAction: unsupported value "ACCEPT": want Accept, Drop or Return; it is read as Drop`,
				`spec.unknownWorkloads: unsupported value "Pass": want Allow or Deny; it is read as Deny`,
				`spec.logging.ratePerRule: -1 is negative: want 0 or more lines per second`,
				`spec.logging.format: unsupported value "XML": want JSON or Text`,
				`spec.metrics.port: port 65536 is out of range: want 1-65535, or 0 for none`,
			},
		},
		{
			name: "guards",
			in:   meta + `spec: {sourceGuard: Count, linkGuard: "Off", encapsulationGuard: Auto, wildcardGuard: Enforce, failsafe: {tunnels: false}, marks: "0x00C00000"}`,
			want: in + out + `toHost Accept unknown Deny source Count link Off discovery Off tunnels closed marks 0xc00000`,
		},
		{
			name: "guards of a new installation",
			in:   meta + `status: {guards: Enforce}`,
			want: in + out + `toHost Accept unknown Deny`,
		},
		{
			name: "guards of an upgraded installation",
			in: meta + `
spec: {sourceGuard: Enforce, linkGuard: Auto, encapsulationGuard: "Off"}
status: {guards: Count}`,
			want: in + out + `toHost Accept unknown Deny link Count encapsulation Off wildcard Count discovery Count`,
		},
		{
			name: "guards that cannot be read are enforced",
			in: meta + `
spec: {sourceGuard: enforce, wildcardGuard: "No"}
status: {guards: "Off"}`,
			want: in + out + `toHost Accept unknown Deny`,
			problems: []string{
				`status.guards: unsupported value "Off": want Enforce or Count; it is read as Enforce`,
				`spec.sourceGuard: unsupported value "enforce": want Auto, Enforce, Count or Off; it is read as Enforce`,
				`spec.wildcardGuard: unsupported value "No": want Auto, Enforce, Count or Off; it is read as Enforce`,
			},
		},
		{
			name:     "marks that are no number",
			in:       meta + `spec: {marks: "300000000"}`,
			want:     in + out + `toHost Accept unknown Deny`,
			problems: []string{`spec.marks: invalid value "300000000": want a hexadecimal number of up to 8 digits, such as 0x30000000; it is read as 0x30000000`},
		},
		{
			name:     "marks of one bit",
			in:       meta + `spec: {marks: "0x20000000"}`,
			want:     in + out + `toHost Accept unknown Deny`,
			problems: []string{`spec.marks: invalid value "0x20000000": needs at least two bits; it is read as 0x30000000`},
		},
		{
			name:     "marks of kube-proxy",
			in:       meta + `spec: {marks: "0x3000F000"}`,
			want:     in + out + `toHost Accept unknown Deny`,
			problems: []string{`spec.marks: invalid value "0x3000F000": must not contain kube-proxy's bits 0xc000, and it contains 0xc000; it is read as 0x30000000`},
		},
		{
			name:     "another name",
			in:       "metadata: {name: other}",
			want:     `nothing`,
			problems: []string{`metadata.name: "other" is ignored: only the object named "default" takes effect`},
		},
	})
}

func TestTier(t *testing.T) {
	runExamples(t, model.KindTier, []example{
		{name: "defaults", in: `spec: {}`, want: `order +Inf default Deny`},
		{name: "all fields", in: `spec: {order: 10.5, defaultAction: Pass}`, want: `order 10.5 default Pass`},
		{name: "default action Deny", in: `spec: {order: -1, defaultAction: Deny}`, want: `order -1 default Deny`},
		{
			name:     "another action",
			in:       `spec: {order: 1, defaultAction: Allow}`,
			want:     `order 1 default Deny`,
			problems: []string{`spec.defaultAction: unsupported value "Allow": want Deny or Pass; it is read as Deny`},
		},
		{name: "a built-in one, as it is", in: `
metadata: {name: default}
spec: {order: 1000000, defaultAction: Deny}`, want: `order 1e+06 default Deny`},
		{name: "a built-in one, unset", in: "metadata: {name: kube-admin}", want: `order 1000 default Pass`},
		{
			name: "a built-in one, changed",
			in: `
metadata: {name: kube-baseline}
spec: {order: 5, defaultAction: Deny}`,
			want: `order 1e+07 default Pass`,
			problems: []string{
				`spec.order: 5 is ignored: the order of the built-in tier kube-baseline is 1e+07`,
				`spec.defaultAction: "Deny" is ignored: the default action of the built-in tier kube-baseline is Pass`,
			},
		},
	})
}
