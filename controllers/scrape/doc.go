// Package scrape serves Prometheus metrics, an agent's records of connections (/flows/v1)
// and the kubelet's probes, on one port, so that neither the number nor the intent of those who read them can be felt by
// what is measured.
//
// A connection goes through the files in this order:
//
//   - listener.go tells the node's own connections (loopback: the kubelet's probes)
//     from all others, and limits the others in number and rate (limits.go);
//   - certificate.go has a certificate made for the process, for TLS;
//   - review.go asks the API server whose token a request bears (TokenReview) and
//     whether that user may get the path or, of records, list or watch flows in the
//     whole cluster (SubjectAccessReview), and keeps the answers;
//   - page.go serves a page that is gathered and encoded at most once in a few
//     seconds, to a few requests at a time.
//
// server.go puts these together. What a metric means is not its business.
//
// The reviews are not those of controller-runtime's pkg/metrics/filters, which mean
// the same. They bring 243 packages (gRPC, OpenTelemetry's exporters, CEL), where the
// program has 953, into a process that has power over its node; the binary grows from 57
// to 67 MB. And they do not limit how many reviews are under way.
package scrape
