package nflog

import "testing"

// BenchmarkParse is what a logged packet costs before anything is done with it.
func BenchmarkParse(b *testing.B) {
	data := message(b, "c-abcdefghijklmnop GlobalNetworkPolicy/guard-the-db ingress 1 Log in tier security",
		packet(b, "60000000 0010 11 40"+addrs6+"0035 0043"))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := parseMessage(data); err != nil {
			b.Fatal(err)
		}
	}
}
