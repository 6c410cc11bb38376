package cmd

import (
	"fmt"
)

// statusUnseen is a node with pods of which nothing shows whether they run.
type statusUnseen struct {
	Node string `json:"node"`
	Pods int32  `json:"pods"`
}

// unseen sums up the reports of the agents.
func (r *statusReport) unseen() {
	for i := range r.Agents {
		if n := r.Agents[i].Report.Counts.UnseenPods; n > 0 {
			r.Unseen = append(r.Unseen, statusUnseen{r.Agents[i].Node, n})
		}
	}
}

// printUnseen writes the nodes where time alone ends the denial of a pod whose object is
// gone; nothing where there are none.
func printUnseen(s streams, c colours, list []statusUnseen) error {
	if len(list) == 0 {
		return nil
	}
	const text = "Neither the container runtime (NRI) nor an interface shows whether these pods run: one that is deleted by force is denied for its grace period and 30 seconds, an hour at most"
	if _, err := fmt.Fprintln(s.out, "\n"+c.yellow(text)+" (docs/failures.md)"); err != nil {
		return err
	}
	t := &table{}
	t.row("NODE", "PODS")
	for _, n := range list {
		t.row(plain(n.Node), fmt.Sprint(n.Pods))
	}
	return t.writeTo(s.out, "")
}
