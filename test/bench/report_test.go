package bench

import (
	"math"
	"strings"
	"testing"
)

func TestNumber(t *testing.T) {
	for v, want := range map[float64]string{
		0: "0", 0.0312: "0.0312", 0.9: "0.9", 1.234: "1.23", 12.34: "12.3", 123.4: "123", 12345: "12,345", 1234567: "1,234,567", -1234: "-1,234",
	} {
		if got := number(v); got != want {
			t.Errorf("%v: %q, want %q", v, got, want)
		}
	}
}

func TestQuantile(t *testing.T) {
	list := []float64{5, 1, 4, 2, 3}
	for q, want := range map[float64]float64{0: 1, 0.5: 3, 0.99: 5, 1: 5} {
		if got := Quantile(list, q); got != want {
			t.Errorf("%v: %v, want %v", q, got, want)
		}
	}
	if !math.IsNaN(Median(nil)) {
		t.Error("the median of nothing is a number")
	}
}

func TestReport(t *testing.T) {
	var r Report
	flat := Budget{AtLeast: true, Limit: 0.9, OfRatio: true}
	r.Put(Row{Part: Programming, What: "b", Column: NFTables, Value: 1, Unit: "s", Budget: Budget{Limit: 1.5}})
	r.Put(Row{Part: Programming, What: "b", Column: Legacy, Value: 2, Unit: "s", Budget: Budget{Limit: 1.5}})
	r.Put(Row{Part: Programming, What: "b", Column: NFT, Missing: tooLong(), Budget: Budget{Limit: 1.5}})
	r.Put(Row{Part: Programming, What: "c", Column: NFT, Value: 7, Unit: "MB"})
	r.Put(Row{Part: Connections, What: "no rules", Column: NoRules, Value: 5, Unit: "/s"})
	r.Put(Row{Part: Connections, What: "a", Column: NFTables, Value: 1, Baseline: "one rule", Ratio: 0.5, Budget: flat})
	r.Put(Row{Part: Connections, What: "a", Column: NFTables, Value: 9000, Baseline: "one rule", Ratio: 0.95, Budget: flat})
	r.Put(Row{Part: Connections, What: "a", Column: NFT, Value: 10, Baseline: "one rule", Ratio: 0.5, Budget: flat})
	text := r.Markdown("a machine")
	for _, want := range []string{
		"| what | no rules | nftables | iptables nft | × of | budget | met by |\n|---|---|---|---|---|---|---|\n",
		"| no rules | 5 /s |  |  |  |  |  |\n",
		"| a |  | 9,000, 0.950 × | 10, 0.500 × | one rule | ≥ 0.9 × | nftables |\n",
		"| what | nftables | iptables legacy | iptables nft | budget | met by |\n",
		"| b | 1 s | 2 s | " + tooLong() + " | ≤ 1.5 | nftables |\n",
		"| c |  |  | 7 MB |  |  |\n",
		"Measured on: a machine\n",
	} {
		if strings.Count(text, want) != 1 {
			t.Errorf("not once: %q in\n%s", want, text)
		}
	}
	if strings.Index(text, "## New connections") > strings.Index(text, "## Programming") {
		t.Error("parts are out of order")
	}
	if text := r.Text(); !strings.Contains(text, "NEW CONNECTIONS") || !strings.Contains(text, "9,000, 0.950 ×") {
		t.Errorf("for a terminal:\n%s", text)
	}
}
