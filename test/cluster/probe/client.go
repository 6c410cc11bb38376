package probe

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
)

// Client gives orders to a Server.
type Client struct {
	http *http.Client
}

// NewClient talks to the server that has this control socket, which need not
// be there yet.
func NewClient(socket string) *Client {
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", socket)
	}, DisableKeepAlives: true} // the server may be another one the next time
	return &Client{http: &http.Client{Transport: transport}}
}

// Probes sends all at once and returns a result for each.
func (c *Client) Probes(ctx context.Context, requests []Request) ([]Result, error) {
	var results []Result
	return results, c.call(ctx, http.MethodPost, "/probes", requests, &results)
}

// Seen says what the server has received of the datagrams of each token.
func (c *Client) Seen(ctx context.Context, tokens ...string) ([]Seen, error) {
	var seen []Seen
	return seen, c.call(ctx, http.MethodPost, "/seen", tokens, &seen)
}

// Start starts a stream and returns its name. That nobody answers is an error
// only where there is a connection to be made first.
func (c *Client) Start(ctx context.Context, r StreamRequest) (string, error) {
	var id string
	return id, c.call(ctx, http.MethodPost, "/streams", r, &id)
}

// Counts of a stream so far.
func (c *Client) Counts(ctx context.Context, id string) (Counts, error) {
	var counts Counts
	return counts, c.call(ctx, http.MethodGet, "/streams/"+id, nil, &counts)
}

// Stop stops a stream, waits for the answers that are under way, and returns
// its counts.
func (c *Client) Stop(ctx context.Context, id string) (Counts, error) {
	var counts Counts
	return counts, c.call(ctx, http.MethodDelete, "/streams/"+id, nil, &counts)
}

func (c *Client) call(ctx context.Context, method, path string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, method, "http://probe"+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	answer, err := c.http.Do(r)
	if err != nil {
		return err
	}
	defer func() { _ = answer.Body.Close() }()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		return err
	}
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("probe %s: %s", path, strings.TrimSpace(string(text)))
	}
	return json.Unmarshal(text, out)
}
