package flows

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"sync"
	"time"

	"k8s.io/utils/clock"

	"github.com/tierwall/tierwall/policy/flows"
)

const (
	// settleFor is how long after a window's end agents are asked for it.
	settleFor = 5 * time.Second
	// readWithin is how long an agent may take for an answer.
	readWithin = 8 * time.Second
	// maxReaders is how many agents are read at a time.
	maxReaders = 32
	// maxAnswer is the most that is read of an answer.
	maxAnswer = 64 << 20
	// catchUp is how far back a manager that has just become the leader reads: what agents
	// keep.
	catchUp = time.Hour
)

// Agent is where an agent serves its records.
type Agent struct {
	Node string
	// Address of its port, and Plain if that is without TLS.
	Address netip.AddrPort
	Plain   bool
}

// Reader reads the records of all agents, window after window, into a store.
type Reader struct {
	// Agents lists the agents; nil if none records.
	Agents func(ctx context.Context) ([]Agent, error)
	// Token is what agents are shown. It must be good for nothing else: who answers at an
	// agent's address cannot prove to be one.
	Token func(ctx context.Context) (string, error)
	Store *Store
	Clock clock.WithTicker
	Log   *slog.Logger
	// Joined is given the records of each window, once; nil: nobody is.
	Joined func(context.Context, []flows.Record)

	joiner flows.Joiner
	read   time.Time // all windows that begin before it have been read
	failed map[string]bool
}

// Run reads until the context ends.
func (r *Reader) Run(ctx context.Context) {
	ticker := r.Clock.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		now := r.Clock.Now().UTC()
		until := now.Add(-settleFor).Truncate(flows.Window)
		if r.read.IsZero() {
			r.read = until.Add(-catchUp)
		}
		if until.After(r.read) {
			if err := r.windows(ctx, until); err != nil {
				r.Log.Warn("records of agents cannot be read", "error", err)
			}
		}
		select {
		case <-ticker.C():
		case <-ctx.Done():
			return
		}
	}
}

// windows reads the windows that begin in [r.read, until).
func (r *Reader) windows(ctx context.Context, until time.Time) error {
	agents, err := r.Agents(ctx)
	if err != nil {
		return err
	}
	if agents == nil {
		r.read = until
		return nil
	}
	token, err := r.Token(ctx)
	if err != nil {
		return fmt.Errorf("token for agents: %w", err)
	}
	answers := make([][]flows.Record, len(agents))
	var all sync.WaitGroup
	slots := make(chan struct{}, maxReaders)
	errs := make([]error, len(agents))
	for i, a := range agents {
		all.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			answers[i], errs[i] = r.agent(ctx, a, token, until)
		})
	}
	all.Wait()
	var list []flows.Record
	failed := map[string]bool{}
	for i, a := range agents {
		if err := errs[i]; err != nil {
			failed[a.Node] = true
			if !r.failed[a.Node] { // once, and not each window
				r.Log.Warn("an agent's records cannot be read", "node", a.Node, "error", err)
			}
			r.Store.SetNotes(a.Node, []string{fmt.Sprintf("records of %s cannot be read: %v", a.Node, err)})
			continue
		}
		list = append(list, answers[i]...)
	}
	r.failed, r.read = failed, until
	for _, window := range byWindow(list) {
		joined := r.joiner.Join(window)
		if r.Joined != nil {
			r.Joined(ctx, joined)
		}
		r.Store.Add(joined)
	}
	return nil
}

// agent reads one agent.
func (r *Reader) agent(ctx context.Context, a Agent, token string, until time.Time) ([]flows.Record, error) {
	ctx, cancel := context.WithTimeout(ctx, readWithin)
	defer cancel()
	q := flows.Query{Since: r.read, Until: until, Limit: flows.MaxLimit}
	var out []flows.Record
	for {
		var list flows.RecordList
		if err := getJSON(ctx, a, token, RecordsPath, q.Values(), &list); err != nil {
			return nil, err
		}
		for i := range list.Items {
			rec := &list.Items[i]
			if rec.Start.Before(q.Since) || !rec.Start.Before(until) {
				continue
			}
			rec.Reporters = []string{a.Node} // an agent speaks for its own node alone
			out = append(out, *rec)
		}
		if list.Next == "" || list.Next == q.Cursor {
			r.Store.SetNotes(a.Node, list.Notes)
			break
		}
		q.Cursor = list.Next
	}
	var rules flows.RuleList
	if err := getJSON(ctx, a, token, RulesPath, nil, &rules); err != nil {
		return nil, err
	}
	since := r.Clock.Now()
	if rules.Since != nil {
		since = *rules.Since
	}
	r.Store.SetHits(a.Node, rules.Items, since)
	return out, nil
}

// agents is how agents are read. Their certificates are their own, and prove nothing.
var agents = &http.Client{
	Transport: &http.Transport{
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // see above
		IdleConnTimeout: time.Minute, MaxIdleConnsPerHost: 1,
	},
	CheckRedirect: func(*http.Request, []*http.Request) error { return errors.New("redirected") },
}

func getJSON(ctx context.Context, a Agent, token, path string, values url.Values, to any) error {
	u := url.URL{Scheme: "https", Host: a.Address.String(), Path: path, RawQuery: values.Encode()}
	if a.Plain {
		u.Scheme = "http"
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := agents.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return errors.New("answer " + strconv.Itoa(resp.StatusCode))
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxAnswer)).Decode(to); err != nil {
		return fmt.Errorf("answer: %w", err)
	}
	return nil
}
