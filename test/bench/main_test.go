package bench

import (
	"flag"
	"fmt"
	"os"
	"runtime/pprof"
	"testing"

	"github.com/tierwall/tierwall/cmd"
	"github.com/tierwall/tierwall/lab"
)

// report is what the benchmarks of this run have measured.
var report Report

// TestMain ends a run of benchmarks with their table. With TIERWALL_REPORT it
// writes it to that file too.
func TestMain(m *testing.M) {
	if os.Getenv(asAgent) != "" {
		os.Exit(runAgent())
	}
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

// runAgent is the program tierwall, with a profile of its CPU time if one is asked for.
func runAgent() int {
	if file := os.Getenv(agentProfile); file != "" {
		f, err := os.Create(file)
		if err == nil {
			err = pprof.StartCPUProfile(f)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer pprof.StopCPUProfile()
	}
	return cmd.Main(append([]string{"tierwall"}, os.Args[1:]...), os.Stdin, os.Stdout, os.Stderr)
}
