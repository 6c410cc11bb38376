package manifests

import (
	"github.com/tierwall/tierwall/policy/convert"
	"github.com/tierwall/tierwall/policy/index"
	"github.com/tierwall/tierwall/policy/model"
)

// Located is a problem of the conversion at its place in the input.
type Located struct {
	*Error
	Problem model.Problem
	// Warning problems leave the object as it is; others have made a rule or
	// the policy fail closed.
	Warning bool
}

// Locate gives problems their file and line, in the order in which they came.
func (r *Result) Locate(problems []model.Problem) []Located {
	out := make([]Located, 0, len(problems))
	for _, p := range problems {
		e := &Error{Object: p.Object.String(), Field: p.Field, Message: p.Message}
		if o, ok := r.Lookup(p.Object); ok {
			e.File = o.File
			e.Line, e.Column = o.PositionOf(p.Field)
		}
		out = append(out, Located{Error: e, Problem: p, Warning: p.Warning})
	}
	return out
}

// Index converts all objects and puts them into a new index, flushed, in which
// all endpoints are local and the DNSAnswers are known. The problems are as those of Fill.
func (r *Result) Index() (*index.Index, []model.Problem) {
	ix := index.New(index.Options{})
	problems := r.Fill(ix)
	ix.Flush()
	r.Book = r.Learn(ix)
	ix.Flush()
	return ix, problems
}

// Fill converts all objects and puts them into an index, which the caller
// flushes. The problems are in the order of the objects; they stop nothing:
// what is invalid is in the index in a form that never widens access.
func (r *Result) Fill(ix *index.Index) []model.Problem {
	var problems []model.Problem
	for i := range r.Objects {
		obj, found, _ := convert.Object(r.Objects[i].Object)
		problems = append(problems, found...)
		if obj != nil {
			ix.Upsert(obj)
		}
	}
	return problems
}
