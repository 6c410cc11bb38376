package latency

import (
	"testing"
	"time"
)

func TestTable(t *testing.T) {
	var hundred []time.Duration
	for i := range 100 {
		hundred = append(hundred, time.Duration(100-i)*time.Millisecond)
	}
	got := Table("what", []Row{{"none", nil}, {"one", hundred[:1]}, {"hundred", hundred}})
	want := `| what | p50 | p90 | p99 | max | samples |
|---|---|---|---|---|---|
| none | 0.0 ms | 0.0 ms | 0.0 ms | 0.0 ms | 0 |
| one | 100.0 ms | 100.0 ms | 100.0 ms | 100.0 ms | 1 |
| hundred | 50.0 ms | 90.0 ms | 99.0 ms | 100.0 ms | 100 |
`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
