package convert

import (
	"fmt"
	"math/bits"
	"regexp"
	"strconv"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/policy/model"
)

// guards reads the modes of an installation's guards. Auto means the value in the
// status: the operator knows whether the installation is new.
func guards(spec *field.Path, o *v1alpha1.Tierwall, r *report) model.Guards {
	auto := autoGuard("guards", o.Status.Guards, r)
	read := func(name string, mode v1alpha1.GuardMode) model.Guard { return guard(spec.Child(name), mode, auto, r) }
	out := model.Guards{
		Source:        read("sourceGuard", o.Spec.SourceGuard),
		Link:          read("linkGuard", o.Spec.LinkGuard),
		Encapsulation: read("encapsulationGuard", o.Spec.EncapsulationGuard),
		Wildcard:      read("wildcardGuard", o.Spec.WildcardGuard),
	}
	if t := o.Spec.Failsafe.Tunnels; t != nil {
		out.NoTunnelFailsafe = !*t
	}
	return out
}

// autoGuard reads what Auto means, from a field of the status.
func autoGuard(name string, mode v1alpha1.GuardMode, r *report) model.Guard {
	switch mode {
	case "", v1alpha1.GuardEnforce:
	case v1alpha1.GuardCount:
		return model.GuardCount
	default:
		r.errorf(field.NewPath("status", name), "unsupported value %s: want %s; it is read as Enforce", quote(string(mode)),
			list(v1alpha1.GuardEnforce, v1alpha1.GuardCount))
	}
	return model.GuardEnforce
}

func guard(path *field.Path, mode v1alpha1.GuardMode, auto model.Guard, r *report) model.Guard {
	switch mode {
	case "", v1alpha1.GuardAuto:
		return auto
	case v1alpha1.GuardEnforce:
		return model.GuardEnforce
	case v1alpha1.GuardCount:
		return model.GuardCount
	case v1alpha1.GuardOff:
		return model.GuardOff
	}
	r.errorf(path, "unsupported value %s: want %s; it is read as Enforce", quote(string(mode)),
		list(v1alpha1.GuardAuto, v1alpha1.GuardEnforce, v1alpha1.GuardCount, v1alpha1.GuardOff))
	return model.GuardEnforce
}

// marks reads the bits of the packet mark; 0 means model.DefaultMarks, which an
// invalid value is read as.
func marks(path *field.Path, s string, r *report) uint32 {
	if s == "" {
		return 0
	}
	m, err := parseMarks(s)
	if err != nil {
		r.errorf(path, "%v; it is read as %#x", err, model.DefaultMarks)
		return 0
	}
	return m
}

var marksForm = regexp.MustCompile("^0x[0-9a-fA-F]{1,8}$")

func parseMarks(s string) (uint32, error) {
	if !marksForm.MatchString(s) {
		return 0, fmt.Errorf("invalid value %s: want a hexadecimal number of up to 8 digits, such as %#x", quote(s), model.DefaultMarks)
	}
	n, err := strconv.ParseUint(s[2:], 16, 32)
	if err != nil {
		return 0, fmt.Errorf("invalid value %s: %w", quote(s), err)
	}
	m := uint32(n)
	switch clash := m & model.KubeProxyMarks; {
	case bits.OnesCount32(m) < 2:
		return 0, fmt.Errorf("invalid value %s: needs at least two bits", quote(s))
	case clash != 0:
		return 0, fmt.Errorf("invalid value %s: must not contain kube-proxy's bits %#x, and it contains %#x", quote(s), model.KubeProxyMarks, clash)
	}
	return m, nil
}
