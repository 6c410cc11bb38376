package translate

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/tierwall/tierwall/api/v1alpha1"
)

// felixFields are settings with a say in which traffic is let through, and what
// holds here instead. All the others tune how Calico works or reports.
var felixFields = map[string]struct {
	instead string
	// lossy if verdicts can differ.
	lossy bool
}{
	"allowIPIPPacketsFromWorkloads":  {"spec.encapsulationGuard drops pods' packets to the tunnels of cluster nodes, of every kind that the nodes have; Off lets them pass. Pods' other tunnels are subject to policy", true},
	"allowVXLANPacketsFromWorkloads": {"spec.encapsulationGuard drops pods' packets to the tunnels of cluster nodes, of every kind that the nodes have; Off lets them pass. Pods' other tunnels are subject to policy", true},
	"externalNodesList":              {"traffic of these hosts is evaluated like that of any unknown address", true},
	"iptablesFilterDenyAction":       {"denied traffic is dropped", true},
	"nftablesFilterDenyAction":       {"denied traffic is dropped", true},
	"chainInsertMode":                {"Tierwall's rules do not depend on the place of other tools' rules", false},
	"iptablesMarkMask":               {"spec.marks are the bits that Tierwall uses", false},
	"interfaceExclude":               {"endpoints are found by address, not by interface", false},
	"interfacePrefix":                {"endpoints are found by address, not by interface", false},
	"iptablesFilterAllowAction":      {"allowed traffic goes on to other tools' rules", false},
	"iptablesMangleAllowAction":      {"allowed traffic goes on to other tools' rules", false},
	"nftablesFilterAllowAction":      {"allowed traffic goes on to other tools' rules", false},
	"nftablesMangleAllowAction":      {"allowed traffic goes on to other tools' rules", false},
	"serviceLoopPrevention":          {"service addresses are left to the service proxy", false},
	"workloadSourceSpoofing":         {"spec.sourceGuard drops pods' packets with addresses of other pods, of all pods alike; Off lets them pass", true},
}

func (o *calicoFelixConfiguration) translate(t *translation) error {
	if o.Name != "default" {
		t.lose("metadata.name", "left out: settings apply to the whole cluster here, and in Calico only those of the object named default do; its %d fields are not applied to single nodes", len(o.Spec))
		return nil
	}
	var spec v1alpha1.TierwallSpec
	var err error
	for _, field := range slices.Sorted(maps.Keys(o.Spec)) {
		raw, path := o.Spec[field], "spec."+field
		if string(raw) == "null" {
			continue
		}
		switch field {
		case "failsafeInboundHostPorts":
			spec.Failsafe.Inbound, err = failsafePorts(raw)
		case "failsafeOutboundHostPorts":
			spec.Failsafe.Outbound, err = failsafePorts(raw)
		case "defaultEndpointToHostAction":
			spec.EndpointToHostAction, err = endpointToHost(raw)
		default:
			switch f, ok := felixFields[field]; {
			case !ok:
				t.explain(path, "has no equivalent; it does not change which traffic policies allow")
			case f.lossy && string(raw) != "false" && string(raw) != `"Disabled"`:
				t.lose(path, "has no equivalent: %s", f.instead)
			default:
				t.explain(path, "has no equivalent: %s", f.instead)
			}
		}
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	if spec.EndpointToHostAction == "" {
		t.explain("spec.defaultEndpointToHostAction", "unset: Tierwall accepts traffic from pods to their own node, like Calico's install manifests; Calico's own default is to drop it")
	}
	t.addSettings(spec)
	return nil
}

// addSettings adds a Tierwall object unless it would say nothing.
func (t *translation) addSettings(spec v1alpha1.TierwallSpec) {
	if settingsEmpty(&spec) {
		return
	}
	t.add(&v1alpha1.Tierwall{
		TypeMeta:   typeMeta(v1alpha1.GroupVersion, "Tierwall"),
		ObjectMeta: metav1.ObjectMeta{Name: v1alpha1.TierwallName},
		Spec:       spec,
	})
}

// settingsEmpty looks at the fields that translation can set.
func settingsEmpty(s *v1alpha1.TierwallSpec) bool {
	return s.Failsafe.Inbound == nil && s.Failsafe.Outbound == nil && s.EndpointToHostAction == "" && !s.AutoHostEndpoints
}

// failsafePorts reads a list of ports, or the text form "tcp:22,udp:68" and
// "none" of old manifests. The result is never nil if there is no error.
func failsafePorts(raw json.RawMessage) (*[]v1alpha1.FailsafePort, error) {
	out := []v1alpha1.FailsafePort{}
	var text string
	if json.Unmarshal(raw, &text) == nil {
		for _, s := range strings.Split(text, ",") {
			s = strings.TrimSpace(s)
			if s == "" || s == "none" {
				continue
			}
			p, err := failsafePort(s)
			if err != nil {
				return nil, err
			}
			out = append(out, p)
		}
		return &out, nil
	}
	var list []calicoProtoPort
	if err := json.Unmarshal(raw, &list); err != nil {
		return nil, err
	}
	for _, p := range list {
		f := v1alpha1.FailsafePort{Protocol: intstr.FromString("TCP"), Port: p.Port}
		if p.Protocol != (intstr.IntOrString{}) && p.Protocol != intstr.FromString("") {
			f.Protocol = protocolValue(p.Protocol)
		}
		if p.Net != "" {
			f.Net = cidr(p.Net)
		}
		out = append(out, f)
	}
	return &out, nil
}

// failsafePort reads "tcp:22", "tcp:10.0.0.0/8:22" or "22".
func failsafePort(s string) (v1alpha1.FailsafePort, error) {
	f := v1alpha1.FailsafePort{Protocol: intstr.FromString("TCP")}
	port := s
	if proto, rest, ok := strings.Cut(s, ":"); ok {
		f.Protocol = protocolValue(intstr.FromString(proto))
		port = rest
		if i := strings.LastIndexByte(rest, ':'); i >= 0 {
			f.Net, port = cidr(strings.Trim(rest[:i], "[]")), rest[i+1:]
		}
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return f, fmt.Errorf("%q is not a port such as tcp:22", s)
	}
	f.Port = int32(n)
	return f, nil
}

func endpointToHost(raw json.RawMessage) (v1alpha1.EndpointToHostAction, error) {
	var s string
	if err := json.Unmarshal(raw, &s); err != nil {
		return "", err
	}
	for _, a := range []v1alpha1.EndpointToHostAction{
		v1alpha1.EndpointToHostAccept, v1alpha1.EndpointToHostDrop, v1alpha1.EndpointToHostReturn,
	} {
		if strings.EqualFold(s, string(a)) {
			return a, nil
		}
	}
	return "", fmt.Errorf("%q is not one of Accept, Drop, Return", s)
}

func (o *calicoKubeControllersConfiguration) translate(t *translation) error {
	if o.Name != "default" {
		t.explain("metadata.name", "left out: only the object named default counts")
		return nil
	}
	var spec v1alpha1.TierwallSpec
	if node := o.Spec.Controllers.Node; node != nil && node.HostEndpoint != nil {
		const path = "spec.controllers.node.hostEndpoint"
		h := node.HostEndpoint
		on := strings.EqualFold(h.AutoCreate, "Enabled")
		if on && strings.EqualFold(h.CreateDefaultHostEndpoint, "Disabled") {
			t.lose(path+".createDefaultHostEndpoint", "autoHostEndpoints always makes one host endpoint for all interfaces of a node; it is left off, so write HostEndpoint objects")
			on = false
		}
		if len(h.Templates) > 0 && strings.EqualFold(h.AutoCreate, "Enabled") {
			t.lose(path+".templates", "host endpoints from templates have no equivalent; write HostEndpoint objects for these %d", len(h.Templates))
		}
		spec.AutoHostEndpoints = on
	}
	t.explain("spec", "the other settings of Calico's controllers have no equivalent; they do not change which traffic policies allow")
	t.addSettings(spec)
	return nil
}
