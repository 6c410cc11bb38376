package cmd

import (
	"fmt"
	"net/http"

	"k8s.io/client-go/rest"
)

// boundCredentials has requests end with their time where a credential plugin of the
// kubeconfig does not: client-go waits for the plugin without end.
func boundCredentials(config *rest.Config) (*rest.Config, error) {
	if config.ExecProvider == nil || config.Timeout <= 0 {
		return config, nil
	}
	server, _, err := rest.DefaultServerUrlFor(config)
	if err != nil {
		return nil, err
	}
	next, err := rest.TransportFor(config)
	if err != nil {
		return nil, err
	}
	return &rest.Config{
		Host: server.String(), APIPath: config.APIPath, ContentConfig: config.ContentConfig, UserAgent: config.UserAgent,
		QPS: config.QPS, Burst: config.Burst, Timeout: config.Timeout, WarningHandler: config.WarningHandler,
		Transport: &boundTransport{next, config.ExecProvider.Command},
	}, nil
}

// boundTransport gives up waiting for the next one when the request's time is over.
type boundTransport struct {
	next    http.RoundTripper
	command string // of the credential plugin
}

// RoundTrip sends a request.
func (b *boundTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	type answer struct {
		response *http.Response
		err      error
	}
	got := make(chan answer, 1)
	go func() {
		response, err := b.next.RoundTrip(r) //nolint:bodyclose // by whoever takes it
		got <- answer{response, err}
	}()
	select {
	case a := <-got:
		return a.response, a.err
	case <-r.Context().Done():
		go func() { // what comes too late
			if a := <-got; a.response != nil {
				_ = a.response.Body.Close()
			}
		}()
		return nil, fmt.Errorf("no answer of the server or of the credential plugin %s: %w", b.command, r.Context().Err())
	}
}
