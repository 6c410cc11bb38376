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

// blamable says whether objects of a kind are suspected of what the kernel does
// not take. Pods and the like are too many to remember and too plain to be at fault.
func blamable(k model.Kind) bool {
	switch k {
	case model.KindPod, model.KindPodGhost, model.KindNode, model.KindNamespace, model.KindServiceAccount, model.KindService, model.KindEndpointSlice:
		return false
	}
	return true
}

// suspect notes a new version of an object, which is no longer held back.
func (a *intake) suspect(r model.Ref, o model.Object) {
	if _, noted := a.suspects[r]; !noted {
		a.suspects[r] = suspect{before: a.objects[r]}
	}
	if o == nil {
		delete(a.objects, r)
	} else {
		a.objects[r] = o
	}
	if _, was := a.held[r]; was {
		delete(a.held, r)
		a.log.Info("object that the kernel did not take has changed", "object", r.String())
	}
}

// hold puts stand-ins in the place of objects.
func (a *intake) hold(list []model.Ref, cause error) {
	for _, r := range list {
		a.held[r] = cause
		a.put(r, a.standIn(r))
	}
}

// release puts the objects themselves back.
func (a *intake) release(list []model.Ref) {
	for _, r := range list {
		delete(a.held, r)
		a.put(r, a.formOf(r))
	}
}

// standIn is what is enforced in the place of an object that the kernel does
// not take: a policy that denies everything it governs, and of other kinds the
// version before, if there is one.
func (a *intake) standIn(r model.Ref) model.Object {
	if p, ok := a.objects[r].(*model.Policy); ok {
		return budget.DenyAll(p)
	}
	if s, noted := a.suspects[r]; noted {
		return s.before
	}
	return a.objects[r]
}

// instead describes, for people, what is in force in the place of an object.
func (a *intake) instead(r model.Ref) string {
	if e := a.pastBudget(r); e != nil && a.held[r] == nil {
		return e.insteadOf(a.objects[r])
	}
	switch o := a.standIn(r); o.(type) {
	case nil:
		return "nothing"
	case *model.Policy:
		return "deny all that it governs"
	}
	return "its previous version"
}
