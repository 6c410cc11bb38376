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
	return call[[]Result](ctx, c, http.MethodPost, "/probes", requests)
}

// Seen says what the server has received of the datagrams of each token.
func (c *Client) Seen(ctx context.Context, tokens ...string) ([]Seen, error) {
	return call[[]Seen](ctx, c, http.MethodPost, "/seen", tokens)
}

// Start starts a stream and returns its name. That nobody answers is an error
// only where there is a connection to be made first.
func (c *Client) Start(ctx context.Context, r StreamRequest) (string, error) {
	return call[string](ctx, c, http.MethodPost, "/streams", r)
}

// Counts of a stream so far.
func (c *Client) Counts(ctx context.Context, id string) (Counts, error) {
	return call[Counts](ctx, c, http.MethodGet, "/streams/"+id, nil)
}

// Stop stops a stream, waits for the answers that are under way, and returns
// its counts.
func (c *Client) Stop(ctx context.Context, id string) (Counts, error) {
	return call[Counts](ctx, c, http.MethodDelete, "/streams/"+id, nil)
}

// Race resolves names and connects to their addresses.
func (c *Client) Race(ctx context.Context, r RaceRequest) (RaceResult, error) {
	return call[RaceResult](ctx, c, http.MethodPost, "/races", r)
}

// call gives an order and reads the answer.
func call[T any](ctx context.Context, c *Client, method, path string, in any) (out T, err error) {
	body, err := json.Marshal(in)
	if err != nil {
		return out, err
	}
	r, err := http.NewRequestWithContext(ctx, method, "http://probe"+path, bytes.NewReader(body))
	if err != nil {
		return out, err
	}
	answer, err := c.http.Do(r)
	if err != nil {
		return out, err
	}
	defer func() { _ = answer.Body.Close() }()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		return out, err
	}
	if answer.StatusCode != http.StatusOK {
		return out, fmt.Errorf("probe %s: %s", path, strings.TrimSpace(string(text)))
	}
	err = json.Unmarshal(text, &out)
	return out, err
}
