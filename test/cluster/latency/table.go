package latency

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
)

// Row is a line of a Table.
type Row struct {
	Name    string
	Samples []time.Duration
}

// Percentile is the least sample that so many of a hundred do not exceed; zero
// if there are none.
func (r Row) Percentile(p float64) time.Duration {
	if len(r.Samples) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(r.Samples))
	i := int(math.Ceil(p/100*float64(len(sorted)))) - 1
	return sorted[min(max(i, 0), len(sorted)-1)]
}

// Table is rows in Markdown, in milliseconds.
func Table(first string, rows []Row) string {
	var b strings.Builder
	fmt.Fprintf(&b, "| %s | p50 | p90 | p99 | max | samples |\n|---|---|---|---|---|---|\n", first)
	for _, r := range rows {
		fmt.Fprintf(&b, "| %s |", r.Name)
		for _, p := range []float64{50, 90, 99, 100} {
			fmt.Fprintf(&b, " %.1f ms |", float64(r.Percentile(p).Microseconds())/1000)
		}
		fmt.Fprintf(&b, " %d |\n", len(r.Samples))
	}
	return b.String()
}
