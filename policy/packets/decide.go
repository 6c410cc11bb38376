package packets

import (
	"encoding/binary"
	"slices"

	"github.com/tierwall/tierwall/policy/model"
	"github.com/tierwall/tierwall/policy/verdict"
)

// Region is a part of the traffic between two addresses with the same result.
type Region struct {
	Space Space
	// Decision is that of verdict.Decide for each packet of the space. Its Flow has
	// only addresses, and no Verdict has an Audit.
	Decision model.Decision
}

// Decide evaluates everything that s can send to d, parties of this Evaluator. The regions
// are disjoint and together cover all traffic. All endpoints involved must be local to the
// Index.
func (e *Evaluator) Decide(s, d *Party) []Region {
	steps := e.steps(s, d)
	courses := e.t.compose(steps).Courses
	out := make([]Region, len(courses))
	for i, c := range courses {
		dec := model.Decision{Flow: model.Flow{Src: s.Addr, Dst: d.Addr}, Action: c.Action}
		for _, st := range c.stages {
			v := st.verdict
			v.Endpoint = steps[st.step].endpoint
			dec.Stages = append(dec.Stages, v)
		}
		out[i] = Region{c.Space, dec}
	}
	return out
}

// Fate is the result for all traffic between two parties. Fates of one Table are equal
// if and only if they are the same pointer.
type Fate struct {
	// Courses are disjoint and together cover all traffic.
	Courses []Course
}

// Undecided reports whether there is no stage that could decide anything.
func (f *Fate) Undecided() bool { return len(f.Courses) == 1 && len(f.Courses[0].stages) == 0 }

// Course is the path that a part of the traffic takes.
type Course struct {
	Space  Space
	Action model.Action // Allow or Deny
	stages []staged
}

// staged is a verdict and the step that gave it.
type staged struct {
	step    int
	verdict model.Verdict
}

// Deciding is like model.Decision.Deciding; the verdict names no Endpoint.
func (c *Course) Deciding(dir model.Direction) (model.Verdict, bool) {
	d := model.Decision{Action: c.Action}
	for _, s := range c.stages {
		d.Stages = append(d.Stages, s.verdict)
	}
	return d.Deciding(dir)
}

// Fate is like Decide, without the names of the parties' endpoints.
func (e *Evaluator) Fate(s, d *Party) *Fate { return e.t.compose(e.steps(s, d)) }

// compose runs all packets through the steps.
func (t *Table) compose(steps []step) *Fate {
	key := t.buf[:0]
	for i := range steps {
		s := &steps[i]
		key = binary.AppendUvarint(key, uint64(s.outcome.id))
		key = binary.AppendUvarint(binary.AppendUvarint(key, uint64(s.settles)), uint64(s.unless))
		key = append(key, 0)
		if s.quiet {
			key[len(key)-1] = 1
		}
	}
	t.buf = key
	if got, ok := t.plans[string(key)]; ok {
		return got
	}
	planKey := string(key)
	var out []Course
	var follow func(i int, s Space, settled verdict.Settled, stages []staged)
	follow = func(i int, s Space, settled verdict.Settled, stages []staged) {
		for i < len(steps) && steps[i].unless&settled != 0 {
			i++
		}
		if i >= len(steps) {
			out = append(out, Course{s, model.Allow, stages})
			return
		}
		for _, p := range steps[i].outcome.Parts {
			in := s.Intersect(p.Space)
			if in.IsEmpty() {
				continue
			}
			path := stages
			if p.Verdict.Action != model.NoAction || !steps[i].quiet {
				path = slices.Concat(stages, []staged{{i, p.Verdict}})
			}
			switch p.Verdict.Action {
			case model.Deny:
				out = append(out, Course{in, model.Deny, path})
			case model.Allow:
				follow(i+1, in, settled|steps[i].settles, path)
			default:
				follow(i+1, in, settled, path)
			}
		}
	}
	follow(0, all, 0, nil)
	f := t.fate(out)
	t.plans[planKey] = f
	return f
}

// MayPass reports whether anything may pass from one party to another. It costs less
// than Fate. If it is false, nothing passes; if it is true, there may still be nothing
// that passes.
func (e *Evaluator) MayPass(s, d *Party) bool {
	rest := all
	for _, st := range e.steps(s, d) {
		if st.unless != 0 { // not every packet comes there
			continue
		}
		if rest = rest.Intersect(st.outcome.undenied()); rest.IsEmpty() {
			return false
		}
	}
	return true
}

// fate interns courses, because different routes can have the same result.
func (t *Table) fate(courses []Course) *Fate {
	var key []byte
	for i := range courses {
		c := &courses[i]
		key = append(key, byte(c.Action), byte(len(c.stages)))
		for j := range c.stages {
			key = appendVerdict(append(key, byte(c.stages[j].step)), &c.stages[j].verdict)
		}
		key = c.Space.AppendKey(key)
	}
	if f, ok := t.fates[string(key)]; ok {
		return f
	}
	f := &Fate{courses}
	t.fates[string(key)] = f
	return f
}
