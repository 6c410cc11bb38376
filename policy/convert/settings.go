package convert

import (
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/policy/model"
)

// settings converts Tierwall/default. Fields that cannot be read get the strictest
// value, which is not always the default.
func settings(o *v1alpha1.Tierwall, r *report) model.Object {
	if o.Name != v1alpha1.TierwallName {
		r.errorf(metadataPath.Child("name"), "%s is ignored: only the object named %q takes effect", quote(o.Name), v1alpha1.TierwallName)
		return nil
	}
	spec, path := &o.Spec, field.NewPath("spec")
	s := model.DefaultSettings()
	s.AutoHostEndpoints = spec.AutoHostEndpoints
	switch spec.Dataplane {
	case "", v1alpha1.DataplaneAuto, v1alpha1.DataplaneNFTables, v1alpha1.DataplaneIPTables:
	default:
		r.errorf(path.Child("dataplane"), "unsupported value %s: want %s", quote(string(spec.Dataplane)),
			list(v1alpha1.DataplaneAuto, v1alpha1.DataplaneNFTables, v1alpha1.DataplaneIPTables))
	}
	switch spec.PodStartup {
	case "", v1alpha1.PodStartupWait, v1alpha1.PodStartupRequire, v1alpha1.PodStartupOff:
	default:
		r.errorf(path.Child("podStartup"), "unsupported value %s: want %s", quote(string(spec.PodStartup)),
			list(v1alpha1.PodStartupWait, v1alpha1.PodStartupRequire, v1alpha1.PodStartupOff))
	}
	if f := spec.Failsafe.Inbound; f != nil {
		s.FailsafeInbound = failsafe(path.Child("failsafe", "inbound"), *f, r)
	}
	if f := spec.Failsafe.Outbound; f != nil {
		s.FailsafeOutbound = failsafe(path.Child("failsafe", "outbound"), *f, r)
	}
	switch a := spec.EndpointToHostAction; a {
	case "", v1alpha1.EndpointToHostAccept:
		s.EndpointToHost = model.ToHostAccept
	case v1alpha1.EndpointToHostDrop:
		s.EndpointToHost = model.ToHostDrop
	case v1alpha1.EndpointToHostReturn:
		s.EndpointToHost = model.ToHostReturn
	default:
		s.EndpointToHost = model.ToHostDrop
		r.errorf(path.Child("endpointToHostAction"), "unsupported value %s: want %s; it is read as Drop", quote(string(a)),
			list(v1alpha1.EndpointToHostAccept, v1alpha1.EndpointToHostDrop, v1alpha1.EndpointToHostReturn))
	}
	switch a := spec.UnknownWorkloads; a {
	case "", v1alpha1.Deny:
	case v1alpha1.Allow:
		s.UnknownWorkloads = model.Allow
	default:
		r.errorf(path.Child("unknownWorkloads"), "unsupported value %s: want %s; it is read as Deny", quote(string(a)), list(v1alpha1.Allow, v1alpha1.Deny))
	}
	s.NamespacedSetsEverywhere = namespacedSets(path, o, r)
	s.Guards = guards(path, o, r)
	s.Budgets = budgets(path.Child("budgets"), o, r)
	s.DNS = dns(path.Child("dns"), &spec.DNS, r)
	s.Marks = marks(path.Child("marks"), spec.Marks, r)
	s.Logging = logging(path.Child("logging"), &spec.Logging, r)
	s.Flows = flows(path.Child("flows"), &spec.Flows, r)
	if n := spec.Metrics.Port; n != nil && *n != 0 {
		if _, err := portNumber(int64(*n)); err != nil {
			r.errorf(path.Child("metrics", "port"), "%v, or 0 for none", err)
		}
	}
	return s
}

// namespacedSets reports whether NetworkSets count everywhere. Auto means the value in
// the status: the operator knows whether the installation is new.
func namespacedSets(spec *field.Path, o *v1alpha1.Tierwall, r *report) bool {
	path, mode := spec.Child("namespacedSets"), o.Spec.NamespacedSets
	if mode == "" || mode == v1alpha1.NamespacedSetsAuto {
		path, mode = field.NewPath("status", "namespacedSets"), o.Status.NamespacedSets
	}
	switch mode {
	case "", v1alpha1.NamespacedSetsSelected:
	case v1alpha1.NamespacedSetsEverywhere:
		return true
	default:
		r.errorf(path, "unsupported value %s: want %s; it is read as Selected", quote(string(mode)),
			list(v1alpha1.NamespacedSetsSelected, v1alpha1.NamespacedSetsEverywhere))
	}
	return false
}

// logging reads how Log rules are logged. Invalid values get the default, because no
// verdict depends on them.
func logging(path *field.Path, in *v1alpha1.LoggingSpec, r *report) model.Logging {
	out := model.Logging{RatePerRule: model.DefaultRatePerRule, RatePerNode: model.DefaultRatePerNode, Text: in.Format == "Text"}
	switch n := in.RatePerRule; {
	case n == nil:
	case *n < 0:
		r.errorf(path.Child("ratePerRule"), "%d is negative: want 0 or more lines per second", *n)
	default:
		out.RatePerRule = int(*n)
	}
	switch n := in.RatePerNode; {
	case n == nil:
	case *n < 1:
		r.errorf(path.Child("ratePerNode"), "invalid value %d: want 1 or more lines per second", *n)
	default:
		out.RatePerNode = int(*n)
	}
	switch in.Format {
	case "", "JSON", "Text":
	default:
		r.errorf(path.Child("format"), "unsupported value %s: want JSON or Text", quote(in.Format))
	}
	return out
}

// failsafe reads a list of ports that stay open. An entry that cannot be read
// opens nothing. The result is empty, not nil, for an empty list.
func failsafe(path *field.Path, in []v1alpha1.FailsafePort, r *report) []model.FailsafePort {
	out := make([]model.FailsafePort, 0, len(in))
	for i, f := range in {
		at := path.Index(i)
		before := r.errors
		p := model.FailsafePort{Protocol: model.TCP}
		var err error
		if unset := f.Protocol == (intstr.IntOrString{}) || f.Protocol == intstr.FromString(""); !unset {
			if p.Protocol, err = portProtocol(f.Protocol.String()); err != nil {
				r.errorf(at.Child("protocol"), "%v; the entry is left out", err)
			}
		}
		if p.Port, err = portNumber(int64(f.Port)); err != nil {
			r.errorf(at.Child("port"), "%v; the entry is left out", err)
		}
		if f.Net != "" {
			if p.Net, _, err = parseNet(f.Net, cidrOrAddress); err != nil {
				r.errorf(at.Child("net"), "%v; the entry is left out", err)
			}
		}
		if r.errors == before {
			out = append(out, p)
		}
	}
	return out
}
