package startup

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/tierwall/tierwall/controllers/operator"
	"github.com/tierwall/tierwall/test/cluster"
)

// Waits asks the agents how long pods have waited for their policy since the
// agents' start. Percentiles are interpolated between the bounds of a histogram.
func Waits(ctx context.Context, c *cluster.Cluster) (string, error) {
	var b strings.Builder
	for _, node := range c.Nodes() {
		m, err := c.Machine(node)
		if err != nil {
			return "", err
		}
		transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return m.Dial(ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", operator.DefaultMetricsPort))
		}}
		families, err := scrape(ctx, &http.Client{Transport: transport, Timeout: 20 * time.Second})
		transport.CloseIdleConnections()
		if err != nil {
			return "", fmt.Errorf("startup: metrics of %s: %w", node, err)
		}
		h := families["tierwall_agent_pod_start_wait_seconds"]
		if h == nil || len(h.Metric) == 0 || h.Metric[0].Histogram.GetSampleCount() == 0 {
			fmt.Fprintf(&b, "%s: no pod has waited\n", node)
			continue
		}
		histogram := h.Metric[0].Histogram
		fmt.Fprintf(&b, "%s: %d pods have waited for their policy: mean %.1f ms, p50 %.1f ms, p99 %.1f ms;", node, histogram.GetSampleCount(),
			1000*histogram.GetSampleSum()/float64(histogram.GetSampleCount()), 1000*quantile(histogram, 0.5), 1000*quantile(histogram, 0.99))
		for _, l := range families["tierwall_agent_pod_start_late_total"].GetMetric() {
			fmt.Fprintf(&b, " in vain for %s %g", l.Label[0].GetValue(), l.Counter.GetValue())
		}
		b.WriteString("\n")
	}
	return b.String(), nil
}

func scrape(ctx context.Context, c *http.Client) (map[string]*dto.MetricFamily, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://agent/metrics", nil)
	if err != nil {
		return nil, err
	}
	resp, err := c.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	return parser.TextToMetricFamilies(strings.NewReader(string(text)))
}

// quantile interpolates.
func quantile(h *dto.Histogram, q float64) float64 {
	want := q * float64(h.GetSampleCount())
	below, from := 0.0, 0.0
	for _, b := range h.Bucket {
		if n := float64(b.GetCumulativeCount()); n >= want {
			if n == below {
				return b.GetUpperBound()
			}
			return from + (b.GetUpperBound()-from)*(want-below)/(n-below)
		}
		below, from = float64(b.GetCumulativeCount()), b.GetUpperBound()
	}
	return from
}
