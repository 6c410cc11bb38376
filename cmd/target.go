package cmd

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/tierwall/tierwall/policy/model"
	"github.com/tierwall/tierwall/policy/workload"
)

// isPodWord and isServiceWord report whether kubectl takes a word for the kind.
func isPodWord(s string) bool {
	return slices.Contains([]string{"po", "pod", "pods"}, strings.ToLower(s))
}

func isServiceWord(s string) bool {
	return slices.Contains([]string{"svc", "service", "services"}, strings.ToLower(s))
}

// qualify gives the name of a pod, workload or Service the namespace, if it has none:
// web becomes shop/web, pod:web pod:shop/web, and deploy/web, as kubectl has it,
// deploy:shop/web.
func qualify(namespace, s string) string {
	if _, err := netip.ParseAddr(s); err == nil || namespace == "" || s == "" {
		return s
	}
	kind, name, colon := strings.Cut(s, ":")
	if !colon {
		var slash bool
		if kind, name, slash = strings.Cut(s, "/"); !slash {
			return namespace + "/" + s
		}
	}
	_, isWorkload := workload.KindOf(kind)
	if name == "" || strings.Contains(name, "/") || !isWorkload && !isPodWord(kind) && !isServiceWord(kind) {
		return s
	}
	return kind + ":" + namespace + "/" + name
}

// qualifyReceiver is qualify for what can also be a DNS name: what has a dot and neither
// kind nor namespace is one, and no pod.
func qualifyReceiver(namespace, s string) string {
	if strings.Contains(s, ".") && !strings.ContainsAny(s, ":/") {
		return s
	}
	return qualify(namespace, s)
}

// workloadRef reads the name of a workload that has its kind: deploy:NAMESPACE/NAME,
// deploy/NAME or Deployment/NAMESPACE/NAME. Without a namespace it is the only one of
// that name.
func workloadRef(s string) (model.Ref, bool) {
	if kind, rest, colon := strings.Cut(s, ":"); colon {
		s = kind + "/" + rest
	}
	ref, err := model.ParseRef(s)
	kind, ok := workload.KindOf(string(ref.Kind))
	ref.Kind = kind
	return ref, err == nil && ok
}

// parseEndpoint reads the name of a pod, a workload or a host endpoint.
func parseEndpoint(s string) (model.Ref, error) {
	kind, rest, ok := strings.Cut(s, ":")
	if !ok {
		if r, err := model.ParseRef(s); err == nil && (r.Kind == model.KindPod || r.Kind == model.KindHostEndpoint) {
			return r, nil
		}
		kind, rest = "pod", s
	}
	if r, ok := workloadRef(s); ok && (rest != s || r.Namespace != "") {
		return r, nil
	}
	switch strings.ToLower(kind) {
	case "pod", "pods", "po":
		if ns, name, ok := strings.Cut(rest, "/"); ok && ns != "" && name != "" && !strings.Contains(name, "/") {
			return model.Ref{Kind: model.KindPod, Namespace: ns, Name: name}, nil
		}
	case "hostendpoint", "hep":
		if rest != "" && !strings.Contains(rest, "/") {
			return model.Ref{Kind: model.KindHostEndpoint, Name: rest}, nil
		}
	}
	return model.Ref{}, fmt.Errorf("endpoint %q: want NAMESPACE/POD, deploy:NAMESPACE/NAME, or hostEndpoint:NAME", s)
}
