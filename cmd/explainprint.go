package cmd

import (
	"fmt"
	"io"
	"net/netip"
	"time"

	"github.com/tierwall/tierwall/policy/index"
	"github.com/tierwall/tierwall/policy/model"
	"github.com/tierwall/tierwall/policy/policytest"
	"github.com/tierwall/tierwall/policy/verdict"
)

// serviceExplanation is what -o json and -o yaml print of what is sent to a Service.
type serviceExplanation struct {
	// Flow as it is sent.
	Flow    model.Flow `json:"flow"`
	Service model.Ref  `json:"service"`
	Port    uint16     `json:"port"`
	// Action is Allow where all endpoints get it.
	Action    model.Action      `json:"action"`
	Endpoints []explanationView `json:"endpoints"`
}

// domainExplanation is what -o json and -o yaml print of what is sent to a DNS name.
type domainExplanation struct {
	Domain string `json:"domain"`
	// Action is Allow where it gets to all addresses.
	Action    model.Action      `json:"action"`
	Addresses []explanationView `json:"addresses"`
}

// writeExplanations writes what becomes of an attempt: at a Service, of each way on; to a
// DNS name, of each of its addresses.
func writeExplanations(s streams, out *outputFlag, w *policytest.World, a *policytest.Attempt, list []*verdict.Explanation, brief bool) error {
	denied := 0
	for _, e := range list {
		if e.Action != model.Allow {
			denied++
		}
	}
	var err error
	action := model.Allow
	if denied > 0 {
		action = model.Deny
	}
	switch toService := a.Service != (model.Ref{}); {
	case !out.text() && a.Domain != "":
		err = out.write(s.out, domainExplanation{a.Domain, action, explanationViews(w, list)})
	case !out.text() && !toService:
		err = out.write(s.out, explanationViews(w, list)[0])
	case !out.text():
		err = out.write(s.out, serviceExplanation{a.Flow, a.Service, a.Port, action, explanationViews(w, list)})
	case toService:
		fmt.Fprintf(s.out, "%s port %d/%s", a.Service, a.Port, a.Flow.Protocol)
		if a.Flow.Dst.IsValid() {
			fmt.Fprintf(s.out, ", sent to %s", netip.AddrPortFrom(a.Flow.Dst, a.Flow.DstPort))
		}
		fmt.Fprintf(s.out, ": %s", count(len(a.Targets), "endpoint"))
		if denied > 0 && denied < len(list) {
			fmt.Fprintf(s.out, ", %d of them denied", denied)
		}
		fmt.Fprintln(s.out)
		for _, e := range list {
			fmt.Fprintln(s.out)
			printExplanation(s.out, w, e, brief)
		}
	case a.Domain != "":
		fmt.Fprintf(s.out, "%s port %d/%s: %s", a.Domain, a.Flow.DstPort, a.Flow.Protocol, addressCount(len(list)))
		if denied > 0 && denied < len(list) {
			fmt.Fprintf(s.out, ", %d of them denied", denied)
		}
		fmt.Fprintln(s.out)
		for _, e := range list {
			fmt.Fprintln(s.out)
			printExplanation(s.out, w, e, brief)
		}
	default:
		printExplanation(s.out, w, list[0], brief)
	}
	if err == nil && denied > 0 {
		err = errNegative
	}
	return err
}

// addressCount is count for addresses.
func addressCount(n int) string {
	if n == 1 {
		return "1 address"
	}
	return fmt.Sprintf("%d addresses", n)
}

func printExplanation(w io.Writer, world *policytest.World, e *verdict.Explanation, brief bool) {
	paint, ix := coloursFor(w), world.Index
	fmt.Fprintf(w, "%s → %s  %s%s\n", party(ix, e.Flow.Src), party(ix, e.Flow.Dst), traffic(&e.Flow), ways(&e.Flow))
	fmt.Fprintf(w, "%s: %s\n", paintFate(paint, e.Action), verdict.Because(&e.Decision))
	for _, t := range e.Traces {
		v := &t.Verdict
		title := v.Direction.String()
		if v.Endpoint != (model.Ref{}) {
			title += " of " + v.Endpoint.String()
		}
		if v.Stage != model.StageWorkload && v.Stage != model.StageHost {
			title += " (" + string(v.Stage) + ")"
		}
		fmt.Fprintf(w, "\n%s: %s\n", paint.bold(title), stageFate(paint, v))
		printSteps(w, paint, t.Steps, brief, func(s *verdict.Step) string { return broughtBy(world, e.Flow.Dst, s, time.Now()) })
		if v.Reason != model.ReasonRule && v.Reason != model.ReasonEndOfTier {
			fmt.Fprintf(w, "  %s\n", verdict.ReasonText(v))
		}
		if v.Audit != nil {
			fmt.Fprintf(w, "  %s %s by %s\n", paint.yellow("audit: would be"), paintAction(paint, v.Audit.Action), verdict.Decider(v.Audit))
		}
	}
}

func printSteps(w io.Writer, paint colours, steps []verdict.Step, brief bool, by func(*verdict.Step) string) {
	tier, last := "", model.Ref{}
	var rows table
	flush := func() {
		_ = rows.writeTo(w, "      ")
		rows = table{}
	}
	for _, s := range steps {
		if brief && s.Outcome == verdict.PassedOver {
			continue
		}
		if s.Tier != tier {
			flush()
			tier, last = s.Tier, model.Ref{}
			fmt.Fprintf(w, "  tier %s\n", tier)
		}
		if s.Rule == model.RuleEndOfTier {
			flush()
			fmt.Fprintf(w, "    end of tier: %s\n", paintAction(paint, s.Action))
			continue
		}
		if s.Policy != last {
			flush()
			last = s.Policy
			fmt.Fprintf(w, "    %s\n", last)
		}
		if s.Outcome == verdict.NoRules {
			rows.row(paint.dim("no rules"))
			continue
		}
		outcome := string(s.Outcome)
		switch s.Outcome {
		case verdict.PassedOver:
			outcome = paint.dim("passed over: " + s.Why)
		case verdict.Decided:
			outcome = paint.bold("matched")
		}
		if s.Outcome != verdict.PassedOver {
			outcome += by(&s)
		}
		name := ""
		if s.Name != "" {
			name = "  (" + s.Name + ")"
		}
		rows.row(s.Rule.String(), paintAction(paint, s.Action), s.Match+name, outcome)
	}
	flush()
}

// party names one end of a flow.
func party(ix *index.Index, a netip.Addr) string {
	if !a.IsValid() {
		return "(no address)"
	}
	if r := ix.Owner(a); r != (model.Ref{}) {
		return fmt.Sprintf("%s (%s)", r, a)
	}
	if n := ix.NodeOf(a); n != nil {
		return fmt.Sprintf("%s (%s)", n.Key(), a)
	}
	return a.String()
}

func traffic(f *model.Flow) string {
	switch {
	case f.Protocol.HasPorts():
		return fmt.Sprintf("%s %d", f.Protocol, f.DstPort)
	case f.Protocol == model.ICMPv4 || f.Protocol == model.ICMPv6:
		return fmt.Sprintf("%s type %d code %d", f.Protocol, f.ICMPType, f.ICMPCode)
	}
	return "protocol " + f.Protocol.String()
}

// ways names where a flow comes in and leaves, where it says so itself.
func ways(f *model.Flow) string {
	out := ""
	if f.In != (model.Ref{}) {
		out += "  in by " + f.In.String()
	}
	if f.Out != (model.Ref{}) {
		out += "  out by " + f.Out.String()
	}
	return out
}

func paintFate(paint colours, a model.Action) string {
	if a == model.Allow {
		return paint.green("ALLOWED")
	}
	return paint.red("DENIED")
}

func stageFate(paint colours, v *model.Verdict) string {
	if v.Action == model.NoAction {
		return "open"
	}
	return paintAction(paint, v.Action)
}
