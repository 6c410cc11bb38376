package cluster

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

func TestStatus(t *testing.T) {
	var said [][]string
	s := newStatus(func(errs ...error) {
		texts := []string{}
		for _, err := range errs {
			texts = append(texts, err.Error())
		}
		said = append(said, texts)
	})
	refused := func(port int) error {
		return &url.Error{Op: "Get", URL: "https://api", Err: &net.OpError{Op: "dial", Net: "tcp", Source: &net.TCPAddr{Port: port}, Err: syscall.ECONNREFUSED}}
	}
	forbidden := apierrors.NewForbidden(schema.GroupResource{Resource: "pods"}, "", errors.New("no"))
	steps := []struct {
		name  string
		where string
		err   error
		want  []string // nil: nothing is said
	}{
		{"well from the start", "pods", nil, nil},
		{"away", "pods", refused(1), []string{"the API server cannot be reached; what it said last stays in force: dial tcp :1: connection refused"}},
		{"away for another kind too", "nodes", refused(2), nil},
		{"away again", "pods", refused(3), nil},
		{"one kind is well", "nodes", nil, nil},
		{"forbidden", "pods", forbidden, []string{"pods: permission missing: list and watch at the scope of the cluster: pods is forbidden: no"}},
		{"still forbidden", "pods", forbidden, nil},
		{"an object besides", "GlobalNetworkPolicy/x", errors.New("cannot be decoded"), []string{
			"GlobalNetworkPolicy/x: cannot be decoded", "pods: permission missing: list and watch at the scope of the cluster: pods is forbidden: no",
		}},
		{"the kind is well", "pods", nil, []string{"GlobalNetworkPolicy/x: cannot be decoded"}},
		{"all is well", "GlobalNetworkPolicy/x", nil, []string{}},
		{"well still", "GlobalNetworkPolicy/x", nil, nil},
	}
	for _, step := range steps {
		said = nil
		s.set(step.where, step.err)
		switch {
		case step.want == nil && len(said) > 0:
			t.Errorf("%s: says %q", step.name, said)
		case step.want != nil && (len(said) != 1 || !slices.Equal(said[0], step.want)):
			t.Errorf("%s: says %q, want %q", step.name, said, step.want)
		}
	}
}

func TestClassify(t *testing.T) {
	gr := schema.GroupResource{Resource: "pods"}
	tests := map[string]error{
		unreachable:            apierrors.NewServiceUnavailable("starting"),
		"forbidden":            apierrors.NewForbidden(gr, "", nil),
		"unauthorized":         apierrors.NewUnauthorized("who"),
		"not served":           apierrors.NewNotFound(gr, ""),
		"answer InternalError": apierrors.NewInternalError(errors.New("x")),
		"other":                errors.New("other"),
	}
	for class, err := range tests {
		got := classify(fmt.Errorf("request: %w", err))
		if got.class != class && got.class != "request: "+class {
			t.Errorf("%v is %q, want %q", err, got.class, class)
		}
		if !errors.Is(got.err, err) {
			t.Errorf("%v does not hold %v", got.err, err)
		}
	}
}

// TestInSync: a kind that the server does not serve holds Tierwall's own kinds
// up, and no others.
func TestInSync(t *testing.T) {
	for _, ours := range []bool{true, false} {
		r := &run{kind: &kind{ours: ours}}
		if r.inSync() {
			t.Error("in sync before anything")
		}
		if !r.set(false, true) || r.set(false, true) {
			t.Error("that it is not served is news once")
		}
		if r.inSync() == ours {
			t.Errorf("ours %v, not served: in sync %v", ours, r.inSync())
		}
		r.set(true, false)
		if r.set(false, true); !r.inSync() {
			t.Error("what was read once is not in sync")
		}
	}
}

// TestRunEarly: that a kind is not served is news when it stays so.
func TestRunEarly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gone := apierrors.NewNotFound(schema.GroupResource{Resource: "tiers"}, "")
		r := &run{kind: &kind{ours: true}, started: time.Now()}
		if !r.early(gone) || r.early(nil) || r.early(apierrors.NewUnauthorized("no")) {
			t.Error("that the kind is not served can be early, and nothing else")
		}
		time.Sleep(establishing)
		if r.early(gone) {
			t.Error("early for ever")
		}
		r = &run{kind: &kind{ours: true}, started: time.Now()}
		if r.set(true, false); r.early(gone) {
			t.Error("a kind that has been read is not new")
		}
	})
}
