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

func TestPage(t *testing.T) {
	page := "a\n" + pageBegin + "\nold\n" + pageEnd + "\nb\n"
	got, err := between(page, "new\n")
	if want := "a\n" + pageBegin + "\nnew\n" + pageEnd + "\nb\n"; err != nil || got != want {
		t.Errorf("%q, %v, want %q", got, err, want)
	}
	for _, bad := range []string{"a\n", pageBegin + "\nb\n", pageEnd + "\n" + pageBegin + "\n"} {
		if got, err := between(bad, "new\n"); err == nil {
			t.Errorf("%q becomes %q", bad, got)
		}
	}
}
