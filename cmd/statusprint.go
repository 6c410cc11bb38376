package cmd

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/duration"
)

// printStatus prints for people.
func printStatus(s streams, r *statusReport) error {
	c := coloursFor(s.out)
	for _, n := range r.Notes {
		s.warn("%s", n)
	}
	if _, err := fmt.Fprintln(s.out, r.summary()); err != nil {
		return err
	}
	if len(r.Agents) > 0 {
		if err := r.agentTable(c).writeTo(s.out, ""); err != nil {
			return err
		}
	}
	if err := r.Guards.print(s, c); err != nil {
		return err
	}
	if err := r.Budgets.print(s, c); err != nil {
		return err
	}
	if err := printUnseen(s, c, r.Unseen); err != nil {
		return err
	}
	if len(r.Problems) == 0 {
		_, err := fmt.Fprintln(s.out, c.green("nothing is wrong"))
		return err
	}
	if _, err := fmt.Fprintln(s.out, "\nwrong:"); err != nil {
		return err
	}
	for _, p := range r.Problems {
		if _, err := fmt.Fprintf(s.out, "  %s: %s\n", c.red(plain(p.Object)), plain(p.Message)); err != nil {
			return err
		}
	}
	return nil
}

// summary is the first line.
func (r *statusReport) summary() string {
	versions := map[string]bool{}
	ok := 0
	for i := range r.Agents {
		a := &r.Agents[i]
		if a.State == agentOK {
			ok++
		}
		if v := a.Report.AgentVersion; v != "" {
			versions[plain(v)] = true
		}
	}
	agents := fmt.Sprintf("%d of %d agents ok", ok, len(r.Agents))
	if len(versions) > 0 {
		agents += " (" + strings.Join(slices.Sorted(maps.Keys(versions)), ", ") + ")"
	}
	line := agents + fmt.Sprintf("; %d of %d policies enforced", r.Policies.Enforced, r.Policies.Total)
	if r.Policies.Audited > 0 {
		line += fmt.Sprintf(", %d audited", r.Policies.Audited)
	}
	return line
}

func (r *statusReport) agentTable(c colours) *table {
	t := &table{}
	t.row("NODE", "STATE", "VERSION", "DATAPLANE", "ENDPOINTS", "POLICIES", "LAST APPLY", "SLOWEST APPLY", "REPORTED")
	for i := range r.Agents {
		a := &r.Agents[i]
		if a.State == agentMissing {
			t.row(plain(a.Node), c.red(string(a.State)))
			continue
		}
		state := c.red(string(a.State))
		if a.State == agentOK {
			state = c.green(string(a.State))
		}
		policies := fmt.Sprint(a.Report.Counts.Policies)
		if a.Report.Truncated {
			policies += " (not all listed)"
		}
		t.row(plain(a.Node), state, dash(a.Report.AgentVersion), dash(a.Report.Dataplane), fmt.Sprint(a.Report.Counts.Endpoints), policies,
			took(a.Report.LastApply), took(a.Report.SlowestApply), duration.HumanDuration(time.Duration(a.AgeSeconds)*time.Second)+" ago")
	}
	return t
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return plain(s)
}

func took(d *metav1.Duration) string {
	if d == nil {
		return "-"
	}
	return d.Duration.String()
}
