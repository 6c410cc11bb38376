package dataplane

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/tierwall/tierwall/test/dns"
)

// agentMetrics is where agents whose metrics are read serve them, in their own namespaces.
const agentMetrics = "127.0.0.1:9391"

// readMetrics returns the metrics of the agent on a node, by name and labels.
func (w *dnsWorld) readMetrics(node string) map[string]float64 {
	GinkgoHelper()
	out := map[string]float64{}
	Expect(w.Do(node, func() error {
		c, err := net.DialTimeout("tcp", agentMetrics, 10*time.Second)
		if err != nil {
			return err
		}
		defer func() { _ = c.Close() }()
		if _, err := fmt.Fprintf(c, "GET /metrics HTTP/1.0\r\nHost: %s\r\n\r\n", agentMetrics); err != nil {
			return err
		}
		r, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			return err
		}
		defer func() { _ = r.Body.Close() }()
		body, err := io.ReadAll(r.Body)
		if err == nil && r.StatusCode != http.StatusOK {
			err = fmt.Errorf("%s: %s", r.Status, body)
		}
		for line := range strings.Lines(string(body)) {
			name, value, ok := strings.Cut(strings.TrimSpace(line), " ")
			if v, err := strconv.ParseFloat(value, 64); ok && err == nil && name[0] != '#' {
				out[name] = v
			}
		}
		return err
	})).To(Succeed())
	return out
}

// unheld is how many of the answers that were to bring new addresses have gone on before
// these were in the kernel, and why. An agent shows what it has counted at most every
// few seconds, so this is asked once, at the end: the agent has counted from its start.
func (w *dnsWorld) unheld(node string, answered int) (n int, why string) {
	GinkgoHelper()
	const prefix = "tierwall_agent_names_"
	m := w.readMetrics(node)
	read := m[prefix+`answers_total{result="new"}`]
	Expect(read).To(BeNumerically(">", 0), "answers that the agent has read")
	n = max(0, answered-int(read))
	overflow := m[prefix+"overflow_total"]
	Expect(n == 0 || overflow > 0).To(BeTrue(), "%d answers were not read, though the queue was never full", n)
	why = fmt.Sprintf("%d unread (%.0f at least because the queue was full)", n, overflow)
	for _, reason := range []string{"late", "rate", "failed"} {
		v := m[prefix+`unheld_total{reason="`+reason+`"}`]
		n, why = n+int(v), why+fmt.Sprintf(", %.0f %s", v, reason)
	}
	return n, why
}

// losesNoneHeld fails if an answer of a run is lost, or the first packet after an answer
// that was held. All names of the run were new.
func (w *dnsWorld) losesNoneHeld(node string, s *dns.Score) {
	GinkgoHelper()
	unheld, why := w.unheld(node, s.Answered)
	GinkgoWriter.Printf("%d answers, %d not held: %s\n%s\n", s.Answered, unheld, why, strings.Join(s.Wrong, "\n"))
	Expect(s.Asked-s.Answered).To(BeZero(), "answers lost\n%s", strings.Join(s.Wrong, "\n"))
	Expect(s.Lost+s.Failed).To(BeNumerically("<=", unheld), "%d first packets lost, %d connections failed, %d answers not held: %s\n%s", s.Lost, s.Failed, unheld, why, strings.Join(s.Wrong, "\n"))
	Expect(unheld).To(BeNumerically("<", s.Answered/2), "answers not held: "+why)
}
