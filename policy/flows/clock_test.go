package flows

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"slices"
	"strings"
	"testing"
)

// TestNoClock: the package has times, and never asks for one.
func TestNoClock(t *testing.T) {
	files, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, f := range files {
		if !strings.HasSuffix(f.Name(), ".go") || strings.HasSuffix(f.Name(), "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), f.Name(), nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		seen++
		ast.Inspect(file, func(n ast.Node) bool {
			s, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			pkg, ok := s.X.(*ast.Ident)
			if ok && pkg.Name == "time" && !slices.Contains([]string{"Time", "Duration", "Parse", "ParseDuration", "RFC3339", "RFC3339Nano", "Second", "Minute", "Hour"}, s.Sel.Name) {
				t.Errorf("%s: time.%s", f.Name(), s.Sel.Name)
			}
			return true
		})
	}
	if seen == 0 {
		t.Error("no file was looked at")
	}
}
