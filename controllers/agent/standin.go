package agent

import (
	"github.com/tierwall/tierwall/policy/budget"
	"github.com/tierwall/tierwall/policy/model"
)

// suspect is an object that has changed since the kernel last took all.
type suspect struct {
	// before is what the kernel took; nil: there was no such object.
	before model.Object
}

// blamable reports whether objects of a kind are suspected of what the kernel does
// not take. Pods and the like are too many to remember and too plain to be at fault.
func blamable(k model.Kind) bool {
	switch k {
	case model.KindPod, model.KindPodGhost, model.KindNode, model.KindNamespace, model.KindServiceAccount, model.KindService, model.KindEndpointSlice:
		return false
	}
	return true
}

// suspect notes a new version of an object, which is no longer held back.
func (in *intake) suspect(r model.Ref, o model.Object) {
	if _, noted := in.suspects[r]; !noted {
		in.suspects[r] = suspect{before: in.objects[r]}
	}
	if o == nil {
		delete(in.objects, r)
	} else {
		in.objects[r] = o
	}
	if _, was := in.held[r]; was {
		delete(in.held, r)
		in.log.Info("object that the kernel rejected has changed", "object", r.String())
	}
}

// hold puts stand-ins in the place of objects.
func (in *intake) hold(list []model.Ref, cause error) {
	for _, r := range list {
		in.held[r] = cause
		in.put(r, in.standIn(r))
	}
}

// release puts the objects themselves back.
func (in *intake) release(list []model.Ref) {
	for _, r := range list {
		delete(in.held, r)
		in.put(r, in.formOf(r))
	}
}

// standIn is what is enforced in the place of an object that the kernel does
// not take: a policy that denies everything it governs, and of other kinds the
// version before, if there is one.
func (in *intake) standIn(r model.Ref) model.Object {
	if p, ok := in.objects[r].(*model.Policy); ok {
		return budget.DenyAll(p)
	}
	if s, noted := in.suspects[r]; noted {
		return s.before
	}
	return in.objects[r]
}

// instead describes, for people, what is in force in the place of an object.
func (in *intake) instead(r model.Ref) string {
	if e := in.pastBudget(r); e != nil && in.held[r] == nil {
		return e.insteadOf(in.objects[r])
	}
	switch o := in.standIn(r); o.(type) {
	case nil:
		return "nothing"
	case *model.Policy:
		return "deny all that it governs"
	}
	return "its previous version"
}
