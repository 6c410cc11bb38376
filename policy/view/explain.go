package view

import (
	"fmt"
	"net/netip"
	"strings"

	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/yaml"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/policy/flows"
	"github.com/tierwall/tierwall/policy/model"
	"github.com/tierwall/tierwall/policy/policytest"
	"github.com/tierwall/tierwall/policy/verdict"
)

// Question is what to explain: ends and port as of `tierwall explain`, or a record.
type Question struct {
	From   string        `json:"from,omitempty"`
	To     string        `json:"to,omitempty"`
	Port   string        `json:"port,omitempty"`
	Record *flows.Record `json:"record,omitempty"`
}

// Answer is what becomes of a connection: at a Service of each of its endpoints, to a DNS
// name of each of its addresses.
type Answer struct {
	Action model.Action `json:"action"`
	// Service or Domain that it is sent to, if it is.
	Service model.Ref   `json:"service,omitzero"`
	Domain  string      `json:"domain,omitempty"`
	Paths   []Path      `json:"paths"`
	Test    string      `json:"test"`
	Ask     AskedAgain  `json:"ask"`
	Record  *WasDecided `json:"record,omitempty"`
}

// AskedAgain is the question in the form of From, To and Port.
type AskedAgain struct {
	From string `json:"from"`
	To   string `json:"to"`
	Port string `json:"port"`
}

// WasDecided compares what a record says with what policy says now.
type WasDecided struct {
	Action  model.Action `json:"action"`
	Because string       `json:"because"`
	// Same: the same rules decide now.
	Same bool `json:"same"`
}

// Path is one connection through all stages, tiers, policies and rules.
type Path struct {
	Source      string       `json:"source"`
	Destination string       `json:"destination"`
	Traffic     string       `json:"traffic"`
	Action      model.Action `json:"action"`
	Because     string       `json:"because"`
	Stages      []StageLine  `json:"stages"`
}

// StageLine is a stage and the rules that were tried in it.
type StageLine struct {
	Title     string          `json:"title"`
	Direction model.Direction `json:"direction"`
	Action    model.Action    `json:"action"`
	// Reason is set where neither a rule nor the end of a tier decided.
	Reason string         `json:"reason,omitempty"`
	Steps  []verdict.Step `json:"steps"`
	// Audit says what audited policies would decide, if that differs.
	Audit *AuditLine `json:"audit,omitempty"`
}

// AuditLine is what audited policies would decide.
type AuditLine struct {
	Action  model.Action `json:"action"`
	Because string       `json:"because"`
}

// Explain answers a question. Errors are of what it asks about.
func (w *World) Explain(q *Question) (*Answer, error) {
	if q.Record != nil {
		f, err := w.Flow(q.Record)
		if err != nil {
			return nil, err
		}
		a := w.answer(&policytest.Attempt{Flow: f})
		a.Ask = AskedAgain{w.endName(f.Src), w.endName(f.Dst), portName(&f)}
		a.Record = wasDecided(&q.Record.Decided, verdict.Decide(w.index, f))
		a.Test = w.test(a, &f)
		return a, nil
	}
	pc, err := policytest.ParseCase("", strings.TrimSpace(q.From), strings.TrimSpace(q.To), strings.TrimSpace(q.Port))
	if err != nil {
		return nil, err
	}
	at, err := w.names.Attempt(pc)
	if err != nil {
		return nil, err
	}
	a := w.answer(&at)
	a.Ask = AskedAgain{q.From, q.To, q.Port}
	pc.Name = fmt.Sprintf("%s to %s on %s", q.From, q.To, q.Port)
	a.Test = caseText(pc, a, w.decided(&at))
	return a, nil
}

// decided is the decision of an attempt that has one.
func (w *World) decided(at *policytest.Attempt) *model.Decision {
	if list := w.names.Decide(at); len(list) == 1 {
		return list[0]
	}
	return nil
}

func (w *World) answer(at *policytest.Attempt) *Answer {
	a := &Answer{Action: model.Allow, Service: at.Service, Domain: at.Domain, Paths: []Path{}}
	for _, e := range w.names.Explain(at) {
		if e.Action != model.Allow {
			a.Action = model.Deny
		}
		p := Path{
			Source: w.party(e.Flow.Src), Destination: w.party(e.Flow.Dst), Traffic: e.Flow.Protocol.String(),
			Action: e.Action, Because: verdict.Because(&e.Decision), Stages: []StageLine{},
		}
		p.Traffic = trafficText(&e.Flow)
		for i := range e.Traces {
			p.Stages = append(p.Stages, stageLine(&e.Traces[i]))
		}
		a.Paths = append(a.Paths, p)
	}
	return a
}

func stageLine(t *verdict.StageTrace) StageLine {
	v := &t.Verdict
	l := StageLine{Title: v.Direction.String(), Direction: v.Direction, Action: v.Action, Steps: t.Steps}
	if v.Endpoint != (model.Ref{}) {
		l.Title += " of " + v.Endpoint.String()
	}
	if v.Stage != model.StageWorkload && v.Stage != model.StageHost {
		l.Title += " (" + string(v.Stage) + ")"
	}
	if l.Steps == nil {
		l.Steps = []verdict.Step{}
	}
	if v.Reason != model.ReasonRule && v.Reason != model.ReasonEndOfTier {
		l.Reason = verdict.ReasonText(v)
	}
	if v.Audit != nil {
		l.Audit = &AuditLine{v.Audit.Action, verdict.Decider(v.Audit)}
	}
	return l
}

// party names an address with its owner.
func (w *World) party(a netip.Addr) string {
	if !a.IsValid() {
		return "(no address)"
	}
	if name := w.endName(a); name != a.String() {
		return name + " (" + a.String() + ")"
	}
	return a.String()
}

// endName names an address as a question does.
func (w *World) endName(a netip.Addr) string {
	if r := w.index.Owner(a); r.Kind == model.KindPod || r.Kind == model.KindHostEndpoint {
		return r.String()
	}
	if n := w.index.NodeOf(a); n != nil {
		return n.Key().String()
	}
	return a.String()
}

func trafficText(f *model.Flow) string {
	switch {
	case f.Protocol.HasPorts():
		return fmt.Sprintf("%s %d", f.Protocol, f.DstPort)
	case f.Protocol == model.ICMPv4 || f.Protocol == model.ICMPv6:
		return fmt.Sprintf("%s type %d code %d", f.Protocol, f.ICMPType, f.ICMPCode)
	}
	return "protocol " + f.Protocol.String()
}

func portName(f *model.Flow) string {
	if f.Protocol.HasPorts() {
		return fmt.Sprintf("%d/%s", f.DstPort, f.Protocol)
	}
	return f.Protocol.String()
}

func wasDecided(d *flows.Decided, now model.Decision) *WasDecided {
	was := model.Decision{Action: d.Action}
	same := d.Action == now.Action
	for _, v := range []*model.Verdict{d.Egress, d.Ingress} {
		if v == nil {
			continue
		}
		was.Stages = append(was.Stages, *v)
		got, ok := now.Deciding(v.Direction)
		same = same && ok && got.Tier == v.Tier && got.Policy == v.Policy && got.Rule == v.Rule && got.Reason == v.Reason
	}
	return &WasDecided{d.Action, verdict.Because(&was), same}
}

// test is a PolicyTest that holds what a record's flow is decided by.
func (w *World) test(a *Answer, f *model.Flow) string {
	pc, err := policytest.ParseCase("", a.Ask.From, a.Ask.To, a.Ask.Port)
	if err != nil {
		return ""
	}
	if f.Protocol == model.ICMPv4 || f.Protocol == model.ICMPv6 {
		typ, code := int(f.ICMPType), int(f.ICMPCode)
		pc.To.ICMPType, pc.To.ICMPCode = &typ, &code
	}
	d := verdict.Decide(w.index, *f)
	pc.Name = fmt.Sprintf("%s to %s on %s", a.Ask.From, a.Ask.To, a.Ask.Port)
	return caseText(pc, a, &d)
}

// caseText writes a case as a PolicyTest in YAML, with what decides if that is one
// decision.
func caseText(pc *v1alpha1.PolicyTestCase, a *Answer, d *model.Decision) string {
	pc.Expect = v1alpha1.Action(a.Action.String())
	if d != nil {
		by := &v1alpha1.DecidedBy{Egress: deciderOf(d, model.Egress), Ingress: deciderOf(d, model.Ingress)}
		if by.Egress != nil || by.Ingress != nil {
			pc.DecidedBy = by
		}
	}
	text, err := yaml.Marshal(map[string]any{
		"apiVersion": "tierwall.io/v1alpha1", "kind": "PolicyTest",
		"metadata": map[string]string{"name": "from-the-page"},
		"spec":     v1alpha1.PolicyTestSpec{Resources: []string{"."}, Cases: []v1alpha1.PolicyTestCase{*pc}},
	})
	if err != nil {
		return ""
	}
	return string(text)
}

func deciderOf(d *model.Decision, dir model.Direction) *v1alpha1.Decider {
	v, ok := d.Deciding(dir)
	if !ok || v.Reason != model.ReasonRule && v.Reason != model.ReasonEndOfTier {
		return nil
	}
	rule := intstr.FromString(v.Rule.String())
	if v.Rule >= 0 {
		rule = intstr.FromInt32(int32(v.Rule))
	}
	return &v1alpha1.Decider{Tier: v.Tier, Policy: v.Policy.String(), Rule: &rule}
}
