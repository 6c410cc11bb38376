package selector

import "testing"

// The two terms about tier are one in canonical form.
const fiveTerms = `app == 'shop' && (tier == 'web' || tier == 'api') && env != 'test' && has(team)`

// Five terms that all have to be looked at.
const fiveLookUps = `app == 'shop' && tier in {'web', 'api'} && env != 'test' && has(team) && !(zone starts with 'eu-')`

func BenchmarkParseFiveTerms(b *testing.B)   { benchmarkParse(b, fiveTerms) }
func BenchmarkParseFiveLookUps(b *testing.B) { benchmarkParse(b, fiveLookUps) }

func benchmarkParse(b *testing.B, text string) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Parse(text); err != nil {
			b.Fatal(err)
		}
	}
}

// labelSlice is a way in which an index may keep labels.
type labelSlice []struct{ key, value string }

func (l *labelSlice) Get(key string) (string, bool) {
	for i := range *l {
		if p := &(*l)[i]; same(p.key, key) {
			return p.value, true
		}
	}
	return "", false
}

var (
	podLabels      = &labelSlice{{"app", "shop"}, {"env", "prod"}, {"pod-template-hash", "5f6b"}, {"team", "checkout"}, {"tier", "web"}, {"zone", "us-1"}}
	podLabelsAsMap = MapLabels{"app": "shop", "env": "prod", "pod-template-hash": "5f6b", "team": "checkout", "tier": "web", "zone": "us-1"}
)

func BenchmarkEvaluateFiveTerms(b *testing.B)   { benchmarkEvaluate(b, fiveTerms, podLabels) }
func BenchmarkEvaluateFiveLookUps(b *testing.B) { benchmarkEvaluate(b, fiveLookUps, podLabels) }

// With a map, most of the time goes into five look-ups of the map.
func BenchmarkEvaluateFiveTermsMap(b *testing.B)   { benchmarkEvaluate(b, fiveTerms, podLabelsAsMap) }
func BenchmarkEvaluateFiveLookUpsMap(b *testing.B) { benchmarkEvaluate(b, fiveLookUps, podLabelsAsMap) }

func benchmarkEvaluate(b *testing.B, text string, l Labels) {
	s, err := Parse(text)
	if err != nil {
		b.Fatal(err)
	}
	if !s.Evaluate(l) {
		b.Fatalf("%s must match", s)
	}
	b.ReportAllocs()
	for b.Loop() {
		s.Evaluate(l)
	}
}

func BenchmarkConstraints(b *testing.B) {
	s, err := Parse(fiveTerms)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		s.Constraints()
	}
}

// What a converter does to put a rule's selector in its namespace.
func BenchmarkScope(b *testing.B) {
	s, err := Parse(fiveTerms)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		And(Equal(GlobalKey, "shop"), NotEqual(":kind", "node"), s.RewriteKeys(func(k string) string { return k }))
	}
}
