package selector

import "testing"

const fiveTerms = `app == 'shop' && tier in {'web', 'api'} && env != 'test' && has(team) && !(zone starts with 'eu-')`

func BenchmarkParseFiveTerms(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Parse(fiveTerms); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkEvaluateFiveTerms(b *testing.B) {
	s, err := Parse(fiveTerms)
	if err != nil {
		b.Fatal(err)
	}
	// Labels for which all five terms must be looked at.
	var l Labels = MapLabels{"app": "shop", "tier": "web", "env": "prod", "team": "checkout", "zone": "us-1", "pod-template-hash": "5f6b"}
	if !s.Evaluate(l) {
		b.Fatal("must match")
	}
	b.ReportAllocs()
	for b.Loop() {
		s.Evaluate(l)
	}
}
