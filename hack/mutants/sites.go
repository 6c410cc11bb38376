package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"strconv"
)

// A site is one token of a source file, and what a mutant has in its place.
type site struct {
	file     string // relative to the module
	function string // "Type.Method" or "function"; "-" outside of functions
	line     int    // from 1
	offset   int    // of the token, in bytes
	old, new string
	nth      int // which token of this kind in its function, from 1: it outlives changes elsewhere
}

func (s site) String() string {
	return fmt.Sprintf("%s:%d %s %q → %q #%d", s.file, s.line, s.function, s.old, s.new, s.nth)
}

// apply returns src with the token replaced.
func (s site) apply(src []byte) []byte {
	out := append([]byte{}, src[:s.offset]...)
	out = append(out, s.new...)
	return append(out, src[s.offset+len(s.old):]...)
}

// replacements maps a token to the one that a mutant has for it. A comparison moves its
// bound or turns round, arithmetic and logic take their opposite.
var replacements = map[token.Token]token.Token{
	token.EQL: token.NEQ, token.NEQ: token.EQL,
	token.LSS: token.LEQ, token.LEQ: token.LSS, token.GTR: token.GEQ, token.GEQ: token.GTR,
	token.LAND: token.LOR, token.LOR: token.LAND,
	token.ADD: token.SUB, token.SUB: token.ADD, token.MUL: token.QUO, token.QUO: token.MUL, token.REM: token.MUL,
	token.SHL: token.SHR, token.SHR: token.SHL,
	token.AND: token.OR, token.OR: token.AND, token.AND_NOT: token.AND, token.XOR: token.AND,
	token.INC: token.DEC, token.DEC: token.INC,
	token.ADD_ASSIGN: token.SUB_ASSIGN, token.SUB_ASSIGN: token.ADD_ASSIGN,
	token.OR_ASSIGN: token.AND_ASSIGN, token.AND_ASSIGN: token.OR_ASSIGN,
	token.BREAK: token.CONTINUE, token.CONTINUE: token.BREAK,
}

// findSites returns the sites of a file, in the order in which they stand there.
func findSites(file string, src []byte) ([]site, error) {
	files := token.NewFileSet()
	parsed, err := parser.ParseFile(files, file, src, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	if ast.IsGenerated(parsed) {
		return nil, nil
	}
	var sites []site
	for _, decl := range parsed.Decls {
		name := functionName(decl)
		seen := map[string]int{}
		add := func(pos token.Pos, was, is string) {
			at := files.Position(pos)
			seen[was]++
			sites = append(sites, site{file: file, function: name, line: at.Line, offset: at.Offset, old: was, new: is, nth: seen[was]})
		}
		replace := func(pos token.Pos, tok token.Token) {
			if is, ok := replacements[tok]; ok {
				add(pos, tok.String(), is.String())
			}
		}
		ast.Inspect(decl, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.BinaryExpr:
				replace(n.OpPos, n.Op)
			case *ast.UnaryExpr:
				if n.Op == token.NOT {
					add(n.OpPos, "!", "")
				}
			case *ast.IncDecStmt:
				replace(n.TokPos, n.Tok)
			case *ast.AssignStmt:
				replace(n.TokPos, n.Tok)
			case *ast.BranchStmt:
				if n.Label == nil {
					replace(n.TokPos, n.Tok)
				}
			case *ast.Ident:
				switch n.Name {
				case "true":
					add(n.Pos(), "true", "false")
				case "false":
					add(n.Pos(), "false", "true")
				}
			case *ast.BasicLit:
				if i, err := strconv.Atoi(n.Value); n.Kind == token.INT && err == nil {
					add(n.Pos(), n.Value, strconv.Itoa(i+1))
				}
			}
			return true
		})
	}
	return sites, nil
}

// functionName returns the name of a function's declaration, with its receiver's type
// before it, and "-" for other declarations.
func functionName(decl ast.Decl) string {
	f, ok := decl.(*ast.FuncDecl)
	if !ok {
		return "-"
	}
	if f.Recv == nil || len(f.Recv.List) == 0 {
		return f.Name.Name
	}
	of := f.Recv.List[0].Type
	for {
		switch t := of.(type) {
		case *ast.StarExpr:
			of = t.X
		case *ast.IndexExpr:
			of = t.X
		case *ast.IndexListExpr:
			of = t.X
		case *ast.Ident:
			return t.Name + "." + f.Name.Name
		default:
			return f.Name.Name
		}
	}
}
