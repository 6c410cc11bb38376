package main

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"go/ast"
	"go/token"
	"strconv"
)

// A site is one token of a source file, and what a mutant has in its place.
type site struct {
	file     string   // relative to the module
	function string   // "Type.Method" or "function"; outside of functions, the name that is declared
	line     int      // from 1
	offset   int      // of the token, in bytes
	node     ast.Node // the smallest expression or statement that contains the token
	old, new string
	nth      int // which token of this kind in its function, from 1: it outlives changes elsewhere
}

func (s site) String() string {
	return fmt.Sprintf("%s:%d %s %q → %q #%d", s.file, s.line, s.function, s.old, s.new, s.nth)
}

// key is how a line of equivalents.txt names a site. No two sites have the same.
func (s site) key() string {
	return fmt.Sprintf("%s %s %s #%d", s.file, s.function, s.old, s.nth)
}

// id returns the mutant's number in a sample of this seed. A sample is in their order,
// so that a change of one function leaves the rest of the sample as it is.
func (s site) id(seed uint64) uint32 {
	sum := sha256.Sum256(fmt.Appendf(nil, "%d %s", seed, s.key()))
	return binary.BigEndian.Uint32(sum[:])
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
// Generated files have none.
func findSites(files *token.FileSet, file string, parsed *ast.File) []site {
	if ast.IsGenerated(parsed) {
		return nil
	}
	var sites []site
	seen := map[string]int{}
	for _, part := range parts(parsed) {
		add := func(node ast.Node, pos token.Pos, was, is string) {
			at := files.Position(pos)
			seen[part.name+" "+was]++
			sites = append(sites, site{
				file: file, function: part.name, line: at.Line, offset: at.Offset,
				node: node, old: was, new: is, nth: seen[part.name+" "+was],
			})
		}
		replace := func(node ast.Node, pos token.Pos, tok token.Token) {
			if is, ok := replacements[tok]; ok {
				add(node, pos, tok.String(), is.String())
			}
		}
		ast.Inspect(part.node, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.BinaryExpr:
				replace(n, n.OpPos, n.Op)
			case *ast.UnaryExpr:
				if n.Op == token.NOT {
					add(n, n.OpPos, "!", "")
				}
			case *ast.IncDecStmt:
				replace(n, n.TokPos, n.Tok)
			case *ast.AssignStmt:
				replace(n, n.TokPos, n.Tok)
			case *ast.BranchStmt:
				if n.Label == nil {
					replace(n, n.TokPos, n.Tok)
				}
			case *ast.Ident:
				switch n.Name {
				case "true":
					add(n, n.Pos(), "true", "false")
				case "false":
					add(n, n.Pos(), "false", "true")
				}
			case *ast.BasicLit:
				if i, err := strconv.Atoi(n.Value); n.Kind == token.INT && err == nil {
					add(n, n.Pos(), n.Value, strconv.Itoa(i+1))
				}
			}
			return true
		})
	}
	return sites
}

// A part is a function, a type, or one line of constants or variables.
type part struct {
	name string
	node ast.Node
}

// parts returns what a file declares, imports apart.
func parts(file *ast.File) []part {
	var all []part
	for _, decl := range file.Decls {
		switch d := decl.(type) {
		case *ast.FuncDecl:
			all = append(all, part{functionName(d), d})
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				switch s := spec.(type) {
				case *ast.ValueSpec:
					all = append(all, part{s.Names[0].Name, s})
				case *ast.TypeSpec:
					all = append(all, part{s.Name.Name, s})
				}
			}
		}
	}
	return all
}

// functionName returns the name of a function, with its receiver's type before it.
func functionName(f *ast.FuncDecl) string {
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
