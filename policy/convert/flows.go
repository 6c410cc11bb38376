package convert

import (
	"crypto/x509"
	"net/url"
	"path"
	"time"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/policy/model"
)

// otlpPath is where collectors take logs.
const otlpPath = "/v1/logs"

// flows reads how connections are recorded. What cannot be read takes its default,
// because no verdict depends on it; an export that cannot be read is none.
func flows(at *field.Path, in *v1alpha1.FlowsSpec, r *report) model.Flows {
	out := model.DefaultFlows()
	switch in.Enabled {
	case "", v1alpha1.FlowsAuto, v1alpha1.FlowsOff:
	case v1alpha1.FlowsOn:
		out.On = true
	default:
		r.errorf(at.Child("enabled"), "unsupported value %s: want %s; it is read as Off", quote(string(in.Enabled)),
			list(v1alpha1.FlowsAuto, v1alpha1.FlowsOn, v1alpha1.FlowsOff))
	}
	history, h := at.Child("history"), &in.History
	switch {
	case h.Path == "":
	case !path.IsAbs(h.Path) || path.Clean(h.Path) != h.Path || h.Path == "/":
		r.errorf(history.Child("path"), "invalid value %s: want the absolute path of a folder; records are kept in memory", quote(h.Path))
	default:
		out.Path = h.Path
	}
	switch n := h.Hours; {
	case n == nil:
	case *n < 1 || int64(*n) > int64(model.MaxFlowsKeep/time.Hour):
		r.errorf(history.Child("hours"), "%d is out of range: want 1-%d", *n, model.MaxFlowsKeep/time.Hour)
	default:
		out.Keep = time.Duration(*n) * time.Hour
	}
	if out.Path == "" && out.Keep > model.MaxFlowsInMemory {
		r.errorf(history.Child("hours"), "%d cannot be kept in memory: set path; it is read as %d", out.Keep/time.Hour, model.MaxFlowsInMemory/time.Hour)
		out.Keep = model.MaxFlowsInMemory
	}
	switch n := h.MaxMebibytes; {
	case n == nil:
	case *n < 16 || *n > 1<<20:
		r.errorf(history.Child("maxMebibytes"), "%d is out of range: want 16-%d", *n, 1<<20)
	default:
		out.MaxBytes = int64(*n) << 20
	}
	out.Stdout = in.Exports.Stdout
	if o := in.Exports.OTLP; o != nil {
		out.OTLPEndpoint, out.OTLPAuthorities = otlp(at.Child("exports", "otlp"), o, r)
	}
	return out
}

// otlp reads a collector; the endpoint is empty if it cannot be read.
func otlp(at *field.Path, in *v1alpha1.FlowsOTLP, r *report) (endpoint, authorities string) {
	u, err := url.Parse(in.Endpoint)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Hostname() == "" {
		r.errorf(at.Child("endpoint"), "invalid value %s: want a URL such as http://collector.observability:4318; nothing is exported", quote(in.Endpoint))
		return "", ""
	}
	if in.CABundle != "" && !x509.NewCertPool().AppendCertsFromPEM([]byte(in.CABundle)) {
		r.errorf(at.Child("caBundle"), "has no PEM certificate; nothing is exported")
		return "", ""
	}
	if u.Path == "" || u.Path == "/" {
		u.Path = otlpPath
	}
	return u.String(), in.CABundle
}
