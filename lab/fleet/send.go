package fleet

import (
	"context"
	"net/netip"

	"github.com/tierwall/tierwall/lab"
	"github.com/tierwall/tierwall/policy/model"
	"github.com/tierwall/tierwall/policy/policytest"
)

// Send sends what an attempt stands for through a lab, and reports of each connection
// whether its packet arrived: of the one that is sent, or of one for each endpoint of
// the Service that it is sent to, to which the nodes translate it as kube-proxy does, or
// of one for each address of the name that it is sent to.
// What no endpoint takes is not sent; there is no answer for it then.
func Send(ctx context.Context, l *lab.Lab, world *policytest.World, a *policytest.Attempt) ([]bool, error) {
	if a.Service == (model.Ref{}) && a.Domain == "" {
		return probes(ctx, l, a.Flow)
	}
	if !a.Translated() {
		return probes(ctx, l, a.Targets...)
	}
	var out []bool
	for i := range a.Targets {
		to := &a.Targets[i]
		err := l.SetServices(lab.Service{
			Addr: netip.AddrPortFrom(a.Flow.Dst, a.Flow.DstPort), Protocol: a.Flow.Protocol,
			Backends: []netip.AddrPort{netip.AddrPortFrom(to.Dst, to.DstPort)},
			Via:      world.EntryNode(a, to),
		})
		if err != nil {
			return nil, err
		}
		arrived, err := probes(ctx, l, a.Flow)
		if err != nil {
			return nil, err
		}
		out = append(out, arrived...)
	}
	return out, nil
}

func probes(ctx context.Context, l *lab.Lab, flows ...model.Flow) ([]bool, error) {
	var out []bool
	for _, f := range flows {
		r, err := l.Probe(ctx, f, lab.Options{})
		if err != nil {
			return nil, err
		}
		out = append(out, r.Delivered)
	}
	return out, nil
}
