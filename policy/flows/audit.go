package flows

import (
	"slices"
	"time"

	"github.com/tierwall/tierwall/policy/model"
)

// Audited is traffic that would have been decided otherwise if audited policies were
// enforced.
type Audited struct {
	Source      End            `json:"source"`
	Destination End            `json:"destination"`
	Service     string         `json:"service,omitempty"`
	Protocol    model.Protocol `json:"protocol"`
	Port        uint16         `json:"port,omitempty"`
	// Action is what happened, Would what would have.
	Action model.Action `json:"action"`
	Would  model.Action `json:"would"`
	// By are the audited deciders that make the difference, in the order egress, ingress.
	By []RuleKey `json:"by"`
	// Connections were opened or denied.
	Connections uint64    `json:"connections"`
	First       time.Time `json:"first"`
	Last        time.Time `json:"last"`
}

// Audit returns what audited policies would have changed, by flow: first what they would
// have denied, the most connections first.
func Audit(list []Record) []Audited {
	var differing []Record
	for i := range list {
		if r := list[i]; r.Decided.AuditDiffers() {
			differing = append(differing, r)
		}
	}
	slices.SortStableFunc(differing, func(a, b Record) int {
		if c := compareKeys(&a, &b); c != 0 {
			return c
		}
		return a.Start.Compare(b.Start)
	})
	out := []Audited{}
	for i := range differing {
		r := &differing[i]
		if n := len(out); n > 0 && i > 0 && compareKeys(&differing[i-1], r) == 0 {
			a := &out[n-1]
			a.Connections += r.Attempts()
			a.Last = r.End
			a.Source.addEnd(&r.Source)
			a.Destination.addEnd(&r.Destination)
			continue
		}
		a := Audited{
			Source: r.Source, Destination: r.Destination, Service: r.Service, Protocol: r.Protocol, Port: r.Port,
			Action: r.Decided.Action, Would: r.Decided.Audited(), By: []RuleKey{}, Connections: r.Attempts(), First: r.Start, Last: r.End,
		}
		for _, v := range []*model.Verdict{r.Decided.Egress, r.Decided.Ingress} {
			if v == nil || v.Audit == nil || v.Audit.Action == v.Action {
				continue
			}
			if key, ok := keyOf(v.Audit); ok {
				a.By = append(a.By, key)
			}
		}
		out = append(out, a)
	}
	slices.SortStableFunc(out, func(a, b Audited) int {
		if a.Would != b.Would {
			return int(b.Would) - int(a.Would) // Deny first
		}
		switch {
		case a.Connections > b.Connections:
			return -1
		case a.Connections < b.Connections:
			return 1
		}
		return 0
	})
	return out
}
