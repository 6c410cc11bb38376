package bench

import (
	"flag"
	"fmt"
	"os"
	"testing"

	"github.com/tierwall/tierwall/lab"
)

// report is what the benchmarks of this run have measured.
var report Report

// TestMain ends a run of benchmarks with their table. With TIERWALL_REPORT it
// writes it to that file too.
func TestMain(m *testing.M) {
	flag.Parse()
	limit = some(limit, limit/8) // a short run is a rehearsal
	if f := flag.Lookup("test.bench"); f.Value.String() != "" {
		if err := lab.Reexec(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	code := m.Run()
	if !report.Empty() {
		fmt.Print(report.Text())
		if file := os.Getenv("TIERWALL_REPORT"); file != "" {
			if err := os.WriteFile(file, []byte(report.Markdown(Machine())), 0o644); err != nil {
				fmt.Fprintln(os.Stderr, err)
				code = 1
			}
		}
	}
	os.Exit(code)
}
