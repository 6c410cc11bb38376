package cmd

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/pflag"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/transport"

	flowstore "github.com/tierwall/tierwall/controllers/flows"
	"github.com/tierwall/tierwall/controllers/manifests"
	"github.com/tierwall/tierwall/policy/flows"
)

// recordFlags say where a command gets records from: a file of JSON lines, an agent or
// manager at an address, or else the manager of a live cluster.
type recordFlags struct {
	file, address, namespace string
	cluster                  *clusterFlags
}

func (f *recordFlags) register(fs *pflag.FlagSet, cluster *clusterFlags) {
	f.cluster = cluster
	fs.StringVar(&f.file, "records", "", `file of records as JSON lines, or "-" for standard input; default: the cluster's manager is asked, which has none in this version`)
	fs.StringVar(&f.address, "address", "", "URL of an agent or a manager to read records from, such as http://127.0.0.1:9477")
	fs.StringVar(&f.namespace, "manager-namespace", "tierwall-system", "namespace of the manager")
}

// recordReader reads records.
type recordReader interface {
	// now is the time to which durations relate.
	now() time.Time
	records(ctx context.Context, q *flows.Query) (*flows.RecordList, error)
	rules(ctx context.Context) (*flows.RuleList, error)
	// watch calls f with each record, until the context ends or f fails.
	watch(ctx context.Context, q *flows.Query, f func(*flows.Record) error) error
}

// open finds the records; close must be called in the end.
func (f *recordFlags) open(ctx context.Context, s streams) (r recordReader, closeIt func(), err error) {
	nothing := func() {}
	switch {
	case f.file != "" && f.address != "":
		return nil, nothing, errors.New("--records cannot be combined with --address")
	case f.file != "":
		store, err := readRecordFile(s, f.file)
		return store, nothing, err
	case f.address != "":
		r, err := f.remote(f.address)
		return r, nothing, err
	}
	return f.manager(ctx)
}

// storedRecords are those of a file.
type storedRecords struct {
	store *flowstore.Store
	clock flowstore.At
}

func readRecordFile(s streams, path string) (recordReader, error) {
	in := s.in
	if path != manifests.Stdin {
		file, err := os.Open(path)
		if err != nil {
			return nil, fmt.Errorf("records: %w", err)
		}
		defer func() { _ = file.Close() }()
		in = file
	}
	list, err := flowstore.ReadRecords(in)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	store, clock := flowstore.Offline(list)
	return &storedRecords{store, clock}, nil
}

func (r *storedRecords) now() time.Time { return r.clock.Now() }

func (r *storedRecords) records(ctx context.Context, q *flows.Query) (*flows.RecordList, error) {
	return r.store.Records(ctx, q, func(string) bool { return true })
}

func (r *storedRecords) rules(ctx context.Context) (*flows.RuleList, error) {
	return r.store.Rules(ctx, func(string) bool { return true })
}

// watch ends with the file.
func (r *storedRecords) watch(ctx context.Context, q *flows.Query, f func(*flows.Record) error) error {
	return eachRecord(ctx, r, *q, f)
}

// eachRecord calls f with all records of a query, page by page.
func eachRecord(ctx context.Context, r recordReader, q flows.Query, f func(*flows.Record) error) error {
	q.Limit = flows.MaxLimit
	for {
		list, err := r.records(ctx, &q)
		if err != nil {
			return err
		}
		for i := range list.Items {
			if err := f(&list.Items[i]); err != nil {
				return err
			}
		}
		if q.Cursor = list.Next; q.Cursor == "" {
			return nil
		}
	}
}

// allRecords returns all records of a query, and what is to be known about them.
func allRecords(ctx context.Context, s streams, r recordReader, q flows.Query) ([]flows.Record, error) {
	var out []flows.Record
	q.Limit = flows.MaxLimit
	for {
		list, err := r.records(ctx, &q)
		if err != nil {
			return nil, err
		}
		out = append(out, list.Items...)
		if q.Cursor = list.Next; q.Cursor == "" {
			warnRecords(s, list)
			return out, nil
		}
	}
}

func warnRecords(s streams, list *flows.RecordList) {
	for _, n := range list.Notes {
		s.warn("%s", n)
	}
	if list.Omitted > 0 {
		s.warn("%d connections are in no record: they were past the limit of what is recorded", list.Omitted)
	}
}

// remoteRecords are those of an agent or a manager.
type remoteRecords struct {
	base   url.URL
	client *http.Client
	token  string
}

// remote reads from an address, with the token of the kubeconfig if there is one.
func (f *recordFlags) remote(address string) (*remoteRecords, error) {
	u, err := url.Parse(strings.TrimSuffix(address, "/"))
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("--address %q: want a URL such as http://127.0.0.1:9477", address)
	}
	r := &remoteRecords{base: *u, client: http.DefaultClient}
	if u.Scheme == "http" {
		return r, nil // no token goes over a connection that others can read
	}
	config, err := f.cluster.config()
	if err != nil {
		return nil, err
	}
	if err := r.authenticate(config); err != nil {
		return nil, err
	}
	return r, nil
}

// authenticate has requests bear the caller's token. The certificates of agents and
// managers prove nothing: what is at the address is up to the caller, or to the API
// server that forwards the port.
func (r *remoteRecords) authenticate(config *rest.Config) error {
	token, err := bearerToken(config)
	if err != nil {
		return err
	}
	r.token = token
	r.client = &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}} //nolint:gosec // see above
	return nil
}

// bearerToken is the token with which a configuration would authenticate.
func bearerToken(config *rest.Config) (string, error) {
	var token string
	capture := rest.CopyConfig(config)
	innermost := func(http.RoundTripper) http.RoundTripper {
		return roundTripper(func(r *http.Request) (*http.Response, error) {
			token, _ = strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
			return &http.Response{StatusCode: http.StatusOK, Body: http.NoBody, Request: r}, nil
		})
	}
	capture.WrapTransport = transport.Wrappers(innermost, config.WrapTransport) // nothing is sent
	client, err := rest.HTTPClientFor(capture)
	if err != nil {
		return "", fmt.Errorf("token: %w", err)
	}
	resp, err := client.Get("https://token.invalid/")
	if err != nil {
		return "", fmt.Errorf("token: %w", err)
	}
	_ = resp.Body.Close()
	if token == "" {
		return "", errors.New("the kubeconfig has no token, which the manager needs to know who you are: give one with --token, as from kubectl create token")
	}
	return token, nil
}

type roundTripper func(*http.Request) (*http.Response, error)

// RoundTrip implements http.RoundTripper.
func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func (r *remoteRecords) now() time.Time { return time.Now() }

// get sends a request; the caller closes the body.
func (r *remoteRecords) get(ctx context.Context, path string, values url.Values) (*http.Response, error) {
	u := r.base
	u.Path += path
	u.RawQuery = values.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, err
	}
	if r.token != "" {
		req.Header.Set("Authorization", "Bearer "+r.token)
	}
	resp, err := r.client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("records: %w", err)
	}
	if resp.StatusCode == http.StatusOK {
		return resp, nil
	}
	defer func() { _ = resp.Body.Close() }()
	b, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	var status metav1.Status
	if json.Unmarshal(b, &status) == nil && status.Message != "" {
		return nil, fmt.Errorf("records: %s", plain(status.Message))
	}
	return nil, fmt.Errorf("records: %s", plain(resp.Status))
}

func (r *remoteRecords) decode(ctx context.Context, path string, values url.Values, to any) error {
	resp, err := r.get(ctx, path, values)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if err := json.NewDecoder(resp.Body).Decode(to); err != nil {
		return fmt.Errorf("records: %w", err)
	}
	return nil
}

func (r *remoteRecords) records(ctx context.Context, q *flows.Query) (*flows.RecordList, error) {
	var list flows.RecordList
	return &list, r.decode(ctx, flowstore.RecordsPath, q.Values(), &list)
}

func (r *remoteRecords) rules(ctx context.Context) (*flows.RuleList, error) {
	var list flows.RuleList
	return &list, r.decode(ctx, flowstore.RulesPath, nil, &list)
}

func (r *remoteRecords) watch(ctx context.Context, q *flows.Query, f func(*flows.Record) error) error {
	values := q.Values()
	values.Set("watch", "true")
	resp, err := r.get(ctx, flowstore.RecordsPath, values)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	err = flowstore.ReadEvents(resp.Body, f)
	if ctx.Err() != nil {
		return nil // stopped by the user
	}
	return err
}
