package main

import (
	"cmp"
	"fmt"
	"go/ast"
	"go/token"
	"go/types"
	"slices"
	"strings"
)

// switchPackage is the package that decides at run time which mutant is on.
const switchPackage = "github.com/tierwall/tierwall/hack/mutants/toggle"

// A rewriter turns a file into one that contains several mutants at once, each behind
// its switch. All of them are off unless the environment turns one on.
type rewriter struct {
	src   []byte
	files *token.FileSet
	name  func(types.Type) string // how the file spells a type
	info  *types.Info
	edits []edit
}

// An edit is a mutant and the range of the expression or statement that it changes.
type edit struct {
	mutant
	from, to int // in bytes
}

func newRewriter(p *sourcePackage, file int, mutants []mutant) *rewriter {
	parsed := p.parsed[file]
	r := &rewriter{src: p.src[file], files: p.files, info: p.info, name: spelling(p.types, parsed)}
	for _, m := range mutants {
		from, to := r.span(m.node)
		r.edits = append(r.edits, edit{m, from, to})
	}
	slices.SortFunc(r.edits, func(a, b edit) int { return cmp.Or(cmp.Compare(a.from, b.from), cmp.Compare(b.to, a.to)) })
	return r
}

// file returns the whole file. Its lines keep their numbers, unless an expression of
// several lines is in it twice.
func (r *rewriter) file(parsed *ast.File) []byte {
	_, end := r.span(parsed.Name)
	return []byte(string(r.src[:end]) + fmt.Sprintf("; import zztoggle %q", switchPackage) + r.text(end, len(r.src)))
}

func (r *rewriter) span(n ast.Node) (from, to int) {
	return r.files.Position(n.Pos()).Offset, r.files.Position(n.End()).Offset
}

func (r *rewriter) of(n ast.Node) string { return r.text(r.span(n)) }

// text returns a range of the source with the mutants that are in it.
func (r *rewriter) text(from, to int) string {
	var out strings.Builder
	for _, e := range r.edits {
		if e.from < from || e.to > to {
			continue
		}
		out.Write(r.src[from:e.from])
		out.WriteString(r.schema(e.mutant))
		from = e.to
	}
	out.Write(r.src[from:to])
	return out.String()
}

// schema returns what stands in the place of a node: the node with its token as it is
// and with the mutant's, of which one is evaluated, once. It may not compile, such as
// where a constant is wanted.
func (r *rewriter) schema(m mutant) string {
	id := fmt.Sprintf("%#x", m.id)
	on := "zztoggle.Is(" + id + ")"
	switch n := m.node.(type) {
	case *ast.BinaryExpr:
		x, y := r.of(n.X), r.of(n.Y)
		was, is := fmt.Sprintf("(%s) %s (%s)", x, m.old, y), fmt.Sprintf("(%s) %s (%s)", x, m.new, y)
		switch n.Op {
		case token.EQL, token.NEQ:
			return fmt.Sprintf("(%s != (%s))", on, was)
		case token.LAND, token.LOR, token.LSS, token.LEQ, token.GTR, token.GEQ:
			return fmt.Sprintf("(%s && (%s) || !%s && (%s))", on, is, on, was)
		}
		return fmt.Sprintf("func() %s { if %s { return %s }; return %s }()", r.typeOf(n), on, is, was)
	case *ast.UnaryExpr:
		return fmt.Sprintf("(%s != !(%s))", on, r.of(n.X))
	case *ast.IncDecStmt:
		x := r.of(n.X)
		return fmt.Sprintf("func() { if %s { %s%s } else { %s%s } }()", on, x, m.new, x, m.old)
	case *ast.AssignStmt:
		x, y := r.of(n.Lhs[0]), r.of(n.Rhs[0])
		return fmt.Sprintf("func() { if %s { %s %s %s } else { %s %s %s } }()", on, x, m.new, y, x, m.old, y)
	case *ast.BranchStmt:
		return fmt.Sprintf("if %s { %s } else { %s }", on, m.new, m.old)
	case *ast.Ident:
		return fmt.Sprintf("(%s != %s)", on, m.old)
	case *ast.BasicLit:
		return fmt.Sprintf("zztoggle.Pick[%s](%s, %s, %s)", r.typeOf(n), id, m.old, m.new)
	}
	return m.old
}

func (r *rewriter) typeOf(n ast.Expr) string { return r.name(r.info.TypeOf(n)) }

// spelling returns how a file of a package spells types.
func spelling(of *types.Package, file *ast.File) func(types.Type) string {
	names := map[string]string{of.Path(): ""}
	for _, spec := range file.Imports {
		if spec.Name != nil {
			names[strings.Trim(spec.Path.Value, `"`)] = spec.Name.Name
		}
	}
	return func(t types.Type) string {
		return types.TypeString(t, func(p *types.Package) string {
			if name, ok := names[p.Path()]; ok {
				return name
			}
			return p.Name()
		})
	}
}
