package main

import (
	"maps"
	"slices"
	"strings"
	"testing"
)

// lines makes events of `go test -json` from a short form, one a line:
// ACTION TEST [OUTPUT], with "-" for the package itself.
func lines(script string) string {
	var b strings.Builder
	for line := range strings.Lines(script) {
		action, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		test, output, _ := strings.Cut(rest, " ")
		if action == "" {
			continue
		}
		b.WriteString(`{"Action":"` + action + `","Package":"example/p"`)
		if test != "-" {
			b.WriteString(`,"Test":"` + test + `"`)
		}
		if output != "" {
			b.WriteString(`,"Output":"` + output + `\n"`)
		}
		b.WriteString("}\n")
	}
	return b.String()
}

func TestCollect(t *testing.T) {
	for _, tc := range []struct {
		name, script string
		want         tally
		shown        []string
		hidden       []string
	}{
		{
			name: "a test that passes is silent",
			script: `run TestA
				output TestA chatter
				pass TestA
				output - ok
				pass -`,
			want: tally{passed: 1}, shown: []string{"ok"}, hidden: []string{"chatter"},
		},
		{
			name: "subtests count in their parent's stead",
			script: `run TestA
				run TestA/one
				run TestA/two
				run TestA/two/deep
				pass TestA/one
				pass TestA/two/deep
				pass TestA/two
				pass TestA
				pass -`,
			want: tally{passed: 2},
		},
		{
			name: "a failed subtest counts once, its parent not",
			script: `run TestA
				run TestA/one
				output TestA/one why
				run TestA/two
				fail TestA/one
				pass TestA/two
				fail TestA
				fail -`,
			want: tally{passed: 1, failed: 1}, shown: []string{"why"},
		},
		{
			name: "a parent that fails beside its subtests counts",
			script: `run TestA
				run TestA/one
				pass TestA/one
				fail TestA
				fail -`,
			want: tally{passed: 1, failed: 1},
		},
		{
			name: "a skipped test is neither",
			script: `run TestA
				skip TestA
				run TestB
				pass TestB
				pass -`,
			want: tally{passed: 1, skipped: 1},
		},
		{
			name: "a test that never ends has failed",
			script: `run TestA
				output TestA panic: boom
				fail -`,
			want: tally{failed: 1}, shown: []string{"boom"},
		},
		{
			name:   "a package that does not build has failed",
			script: `fail -`,
			want:   tally{failed: 1},
		},
		{
			name:   "a package without tests counts nothing",
			script: `skip -`,
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var out strings.Builder
			got, err := collect(strings.NewReader(lines(tc.script)), &out)
			if err != nil {
				t.Fatal(err)
			}
			if got != tc.want {
				t.Errorf("got %+v, want %+v", got, tc.want)
			}
			for _, s := range tc.shown {
				if !strings.Contains(out.String(), s) {
					t.Errorf("output %q lacks %q", out.String(), s)
				}
			}
			for _, s := range tc.hidden {
				if strings.Contains(out.String(), s) {
					t.Errorf("output %q has %q", out.String(), s)
				}
			}
		})
	}
}

func TestCollectPassesPlainLinesOn(t *testing.T) {
	var out strings.Builder
	got, err := collect(strings.NewReader("go: no such module\n"), &out)
	if err != nil || got != (tally{}) || out.String() != "go: no such module\n" {
		t.Errorf("got %+v, %v, output %q", got, err, out.String())
	}
}

func TestClosingLine(t *testing.T) {
	if got, want := (tally{passed: 3}).String(), "3 passed, 0 failed\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, want := (tally{1, 2, 3}).String(), "3 skipped\n1 passed, 2 failed\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestTargets(t *testing.T) {
	got, err := targets(strings.NewReader(lines("start -\noutput - FuzzParse\noutput - FuzzLoad\noutput - ok\npass -")))
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"FuzzParse", "FuzzLoad"}; len(got) != 1 || !slices.Equal(got["example/p"], want) {
		t.Errorf("got %v in %v, want %v", got["example/p"], slices.Collect(maps.Keys(got)), want)
	}
}

func TestTotals(t *testing.T) {
	file := t.TempDir() + "/totals"
	var out, errOut strings.Builder
	for _, c := range []tally{{1, 0, 0}, {2, 0, 1}} {
		before, err := readTotals(file)
		if err != nil {
			t.Fatal(err)
		}
		if err := writeTotals(file, before.plus(c)); err != nil {
			t.Fatal(err)
		}
	}
	if status := run([]string{"-totals", file}, &out, &errOut); status != 0 || out.String() != "1 skipped\n3 passed, 0 failed\n" {
		t.Errorf("status %d, output %q, errors %q", status, out.String(), errOut.String())
	}
	if err := writeTotals(file, tally{5, 1, 0}); err != nil {
		t.Fatal(err)
	}
	if status := run([]string{"-totals", file}, &out, &errOut); status != 1 {
		t.Errorf("status %d after a failure, want 1", status)
	}
}

func TestAdd(t *testing.T) {
	file := t.TempDir() + "/totals"
	var out, errOut strings.Builder
	if status := run([]string{"-totals", file, "-add", "12,0"}, &out, &errOut); status != 0 {
		t.Errorf("status %d, errors %q", status, errOut.String())
	}
	if status := run([]string{"-totals", file, "-add", "3,2"}, &out, &errOut); status != 1 {
		t.Errorf("status %d where some have failed, want 1", status)
	}
	if sum, err := readTotals(file); err != nil || sum != (tally{15, 2, 0}) {
		t.Errorf("got %v, %v", sum, err)
	}
	if status := run([]string{"-totals", file, "-add", "three"}, &out, &errOut); status != 2 {
		t.Errorf("status %d for no counts at all, want 2", status)
	}
}
