package convert

import (
	"testing"

	"github.com/tierwall/tierwall/policy/model"
)

func TestNetworkSet(t *testing.T) {
	for _, kind := range []model.Kind{model.KindGlobalNetworkSet, model.KindNetworkSet} {
		t.Run(string(kind), func(t *testing.T) {
			runExamples(t, kind, []example{
				{
					name: "blocks of both families and single addresses",
					in:   `spec: {nets: [10.0.0.0/8, 'fd00::/8', 192.0.2.1, '2001:db8::1', '::ffff:198.51.100.0/120', '::ffff:203.0.113.9']}`,
					want: `nets 10.0.0.0/8,fd00::/8,192.0.2.1/32,2001:db8::1/128,198.51.100.0/24,203.0.113.9/32`,
				},
				{name: "empty", in: `spec: {nets: []}`, want: ``},
				{
					name: "host bits and duplicates",
					in:   `spec: {nets: [10.1.2.3/8, 10.0.0.0/8, 10.0.0.0/9]}`,
					want: `nets 10.0.0.0/8,10.0.0.0/9`,
					problems: []string{
						`warning: spec.nets[0]: "10.1.2.3/8" has bits beyond its prefix length: it is read as 10.0.0.0/8`,
						`warning: spec.nets[1]: duplicate value 10.0.0.0/8`,
					},
				},
				{
					name: "what does not parse",
					in:   `spec: {nets: [10.0.0.0/33, example.com, '', 'fe80::1%eth0', '::ffff:10.0.0.0/64', 010.0.0.1, 10.0.0.0/8]}`,
					want: `nets 10.0.0.0/8`,
					problems: []string{
						`spec.nets[0]: invalid value "10.0.0.0/33": want an IPv4 or IPv6 address block in CIDR form, such as 10.0.0.0/8 or fd00::/8`,
						`spec.nets[1]: invalid value "example.com": want an IPv4 or IPv6 address block in CIDR form, such as 10.0.0.0/8 or fd00::/8`,
						`spec.nets[2]: invalid value "": want an IPv4 or IPv6 address block in CIDR form, such as 10.0.0.0/8 or fd00::/8`,
						`spec.nets[3]: "fe80::1%eth0" has a zone, which an address block cannot have`,
						`spec.nets[4]: "::ffff:10.0.0.0/64" is an IPv4-mapped IPv6 block of fewer than 96 bits: want IPv4 or plain IPv6`,
						`spec.nets[5]: invalid value "010.0.0.1": want an IPv4 or IPv6 address block in CIDR form, such as 10.0.0.0/8 or fd00::/8`,
						`warning: spec.nets: invalid blocks are left out of the set: rules that deny its members do not deny these`,
					},
				},
				{
					name:     "domain names",
					in:       `spec: {nets: [10.0.0.0/8], allowedEgressDomains: [example.com]}`,
					want:     `nets 10.0.0.0/8`,
					problems: []string{`spec.allowedEgressDomains: is not supported: want addresses in nets; the names are left out`},
				},
			})
		})
	}
}

func TestNetworkSetLabels(t *testing.T) {
	runExamples(t, model.KindGlobalNetworkSet, []example{
		{
			name:     "a set cannot pretend to be in a namespace",
			in:       `metadata: {name: x, labels: {role: db, tierwall.io/namespace: shop}}`,
			want:     `labels role=db`,
			problems: []string{`warning: metadata.labels[tierwall.io/namespace]: is ignored: Tierwall sets this label itself`},
		},
	})
}
