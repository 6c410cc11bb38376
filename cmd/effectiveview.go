package cmd

import (
	"cmp"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/tierwall/tierwall/policy/index"
	"github.com/tierwall/tierwall/policy/model"
)

// effectiveViews groups endpoints by effective policy, in the order of their first endpoint.
func effectiveViews(ix *index.Index, refs []model.Ref) []*effectiveView {
	views := []*effectiveView{}
	byPolicy := map[*index.Effective]*effectiveView{}
	for _, r := range refs {
		e := ix.Effective(r)
		v := byPolicy[e]
		if v == nil {
			v = viewEffective(e)
			byPolicy[e] = v
			views = append(views, v)
		}
		ep, _ := ix.Endpoint(r)
		ev := endpointView{Ref: r, Node: ep.Node}
		for _, a := range ep.Addrs {
			ev.Addrs = append(ev.Addrs, a.String())
		}
		v.Endpoints = append(v.Endpoints, ev)
	}
	return views
}

func viewEffective(e *index.Effective) *effectiveView {
	v := &effectiveView{}
	sets := map[string]*index.Set{}
	for _, st := range e.Stages() {
		cv := chainView{Stage: st.Stage, Direction: st.Direction}
		if st.Default != model.NoAction {
			cv.Default = st.Default.String()
		}
		for i := range st.Chain {
			t := &st.Chain[i]
			tv := tierView{Name: t.Tier.Name, Order: order(t.Tier.Order), Missing: t.Tier.Missing}
			if t.Enforced && st.EndOfTier {
				tv.End = t.Tier.DefaultAction.String()
			}
			for _, p := range t.Policies {
				tv.Policies = append(tv.Policies, viewPolicy(p, st.Direction, sets))
			}
			cv.Tiers = append(cv.Tiers, tv)
		}
		v.Chains = append(v.Chains, cv)
	}
	for id, s := range sets {
		v.Sets = append(v.Sets, setView{id, s.Len(), describeSet(s)})
	}
	slices.SortFunc(v.Sets, func(a, b setView) int {
		return cmp.Or(cmp.Compare(a.Definition, b.Definition), cmp.Compare(a.ID, b.ID))
	})
	return v
}

func viewPolicy(p *index.Policy, dir model.Direction, sets map[string]*index.Set) policyView {
	pv := policyView{Ref: p.Ref, Order: order(p.Order), Audit: p.Audit}
	rules := p.Resolved(dir)
	for i := range rules {
		r := &rules[i]
		rv := ruleView{
			Rule: model.RuleIndex(r.Index), Name: r.Name, Action: r.Action,
			Match: r.Match.Describe(), Annotations: r.Annotations,
		}
		for _, s := range r.Sets() {
			sets[s.ID()] = s
			rv.Sets = append(rv.Sets, s.ID())
		}
		pv.Rules = append(pv.Rules, rv)
	}
	return pv
}

func describeSet(s *index.Set) string {
	if sel, port := s.Selector(); sel != nil {
		text := model.DescribeSelector(sel)
		if port != "" {
			return "port " + port + " of " + text
		}
		if s.ByName() {
			text += ", with allowedEgressDomains"
		}
		return text
	}
	return s.String()
}

func order(o float64) *float64 {
	if math.IsInf(o, 0) {
		return nil
	}
	return &o
}

func orderText(o *float64) string {
	if o == nil {
		return "no order"
	}
	return "order " + strconv.FormatFloat(*o, 'f', -1, 64)
}

func printEffective(w io.Writer, views []*effectiveView) error {
	paint := coloursFor(w)
	for i, v := range views {
		if i > 0 {
			fmt.Fprintln(w)
		}
		var eps table
		for _, e := range v.Endpoints {
			node := ""
			if e.Node != "" {
				node = "on " + plain(e.Node)
			}
			eps.row(paint.bold(e.Ref.String()), strings.Join(e.Addrs, ", "), node)
		}
		if err := eps.writeTo(w, ""); err != nil {
			return err
		}
		for _, c := range v.Chains {
			printChain(w, paint, &c)
		}
		if len(v.Sets) > 0 {
			fmt.Fprintln(w, "\n  sets")
			var t table
			for _, s := range v.Sets {
				t.row(s.ID, strconv.Itoa(s.Members), s.Definition)
			}
			if err := t.writeTo(w, "    "); err != nil {
				return err
			}
		}
	}
	return nil
}

func printChain(w io.Writer, paint colours, c *chainView) {
	title := c.Direction.String()
	if c.Stage != model.StageWorkload && c.Stage != model.StageHost {
		title += " (" + string(c.Stage) + ")"
	}
	fmt.Fprintf(w, "\n  %s\n", paint.bold(title))
	for _, t := range c.Tiers {
		note := ""
		if t.Missing {
			note = ", which does not exist"
		}
		fmt.Fprintf(w, "    tier %s (%s)%s\n", t.Name, orderText(t.Order), note)
		for _, p := range t.Policies {
			audit := ""
			if p.Audit {
				audit = paint.yellow("  audit only")
			}
			fmt.Fprintf(w, "      %s (%s)%s\n", p.Ref, orderText(p.Order), audit)
			var rules table
			for _, r := range p.Rules {
				name := ""
				if r.Name != "" {
					name = "  (" + r.Name + ")"
				}
				rules.row(r.Rule.String(), paintAction(paint, r.Action), r.Match+name)
			}
			_ = rules.writeTo(w, "        ")
		}
		if t.End != "" {
			fmt.Fprintf(w, "      end of tier: %s\n", paintWord(paint, t.End))
		}
	}
	switch {
	case c.partial:
		fmt.Fprintln(w, "    other tiers are left out")
	case c.Default == "":
		fmt.Fprintln(w, "    else: the next stage decides")
	case len(c.Tiers) == 0:
		fmt.Fprintf(w, "    no policy: %s\n", paintWord(paint, c.Default))
	default:
		fmt.Fprintf(w, "    else: %s\n", paintWord(paint, c.Default))
	}
}

func paintAction(paint colours, a model.Action) string { return paintWord(paint, a.String()) }

// paintWord colours Allow and Deny.
func paintWord(paint colours, word string) string {
	switch word {
	case "Allow":
		return paint.green(word)
	case "Deny":
		return paint.red(word)
	}
	return word
}
