package manifests

import (
	"net/netip"

	"go.yaml.in/yaml/v3"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/policy/answers"
	"github.com/tierwall/tierwall/policy/index"
	"github.com/tierwall/tierwall/policy/model"
	"github.com/tierwall/tierwall/policy/service"
)

// Answers are DNSAnswers and where they stand.
type Answers struct {
	*v1alpha1.DNSAnswers
	// List is what they say.
	List []answers.Answer
	// Object has their place. Its Object field is nil: DNSAnswers are no API object.
	Object Object
}

// dnsAnswers reads DNSAnswers.
func (l *loader) dnsAnswers(f *file, n *yaml.Node) {
	name := objectName(n, dnsAnswersGVK.Kind, false)
	in := &v1alpha1.DNSAnswers{}
	if !l.decode(f, n, in, name, true) {
		return
	}
	if !isPrintable(in.Name) {
		l.errs.add(&Error{File: f.name, Line: lineOf(n, "metadata.name"), Column: columnOf(n, "metadata.name"), Object: name, Field: "metadata.name", Message: mustBePrintable})
		return
	}
	list, faults := answers.Read(in)
	for _, x := range faults {
		l.errs.add(&Error{File: f.name, Line: lineOf(n, x.Field), Column: columnOf(n, x.Field), Object: name, Field: x.Field, Message: x.Message})
	}
	if len(faults) > 0 {
		return
	}
	l.res.Answers = append(l.res.Answers, Answers{DNSAnswers: in, List: list, Object: Object{
		Ref: model.Ref{Kind: model.Kind(dnsAnswersGVK.Kind), Name: in.Name}, File: f.name, Line: n.Line, Column: n.Column, outline: outlineOf(n),
	}})
}

// DNS returns what all DNSAnswers say.
func (r *Result) DNS() (list []answers.Answer) {
	for _, a := range r.Answers {
		list = append(list, a.List...)
	}
	return list
}

// Learn has an index, which is flushed, know what the DNSAnswers say, and what is known
// besides. The caller flushes it after that.
// Addresses of Services are internal, as those are that index.Index.Internal knows of.
func (r *Result) Learn(ix *index.Index, besides ...answers.Answer) *answers.Book {
	list := append(r.DNS(), besides...)
	if list == nil {
		return nil
	}
	services := map[netip.Addr]model.Ref{}
	for _, s := range service.Read(r.All()) {
		for _, a := range s.Addrs {
			services[a] = s.Ref
		}
	}
	return answers.Learn(ix, list, func(a netip.Addr) string {
		if s, ok := services[a]; ok {
			return "of " + s.String()
		}
		return ix.Internal(a)
	})
}
