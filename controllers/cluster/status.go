package cluster

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"net/url"
	"slices"
	"strings"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// status collects the current problems, and reports when they change.
type status struct {
	report func(errs ...error)

	mu sync.Mutex
	// wrong holds the problems by location: a kind, or an object.
	wrong map[string]trouble
	said  string
}

// trouble is one thing that is wrong.
type trouble struct {
	// class is equal for errors with the same meaning in other words.
	class string
	err   error
}

func newStatus(report func(errs ...error)) *status {
	return &status{report: report, wrong: map[string]trouble{}}
}

// set notes what is wrong somewhere; nil: nothing is.
func (s *status) set(where string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil {
		if _, was := s.wrong[where]; !was {
			return
		}
		delete(s.wrong, where)
	} else {
		t := classify(err)
		if s.wrong[where].class == t.class {
			return
		}
		s.wrong[where] = t
	}
	s.tell()
}

// unreachable is the class of all that keeps the API server from answering.
const unreachable = "unreachable"

// tell reports the problems unless they have been reported. An API server that cannot
// be reached is one problem, not one for each kind.
func (s *status) tell() {
	var errs []error
	away := 0
	for _, where := range slices.Sorted(maps.Keys(s.wrong)) {
		t := s.wrong[where]
		if t.class == unreachable {
			if away++; away == 1 {
				errs = append(errs, fmt.Errorf("the API server cannot be reached; what it said last stays in force: %w", t.err))
			}
			continue
		}
		errs = append(errs, fmt.Errorf("%s: %w", where, t.err))
	}
	var said strings.Builder
	for where, t := range s.wrong {
		if t.class != unreachable {
			said.WriteString(where + " " + t.class + "\n")
		}
	}
	lines := strings.Split(said.String(), "\n")
	slices.Sort(lines)
	text := strings.Join(lines, "\n")
	if away > 0 {
		text += unreachable
	}
	if text != s.said {
		s.said = text
		s.report(errs...)
	}
}

// explained is an error in words of our own.
type explained struct {
	text  string
	cause error
}

func (e *explained) Error() string { return e.text + ": " + e.cause.Error() }
func (e *explained) Unwrap() error { return e.cause }

// classify determines the meaning of a request's error.
func classify(err error) trouble {
	explain := func(class, text string) trouble { return trouble{class, &explained{text, err}} }
	var netErr net.Error
	var urlErr *url.Error
	var api apierrors.APIStatus
	switch {
	case apierrors.IsForbidden(err):
		return explain("forbidden", "permission missing: list and watch at the scope of the cluster")
	case apierrors.IsUnauthorized(err):
		return explain("unauthorized", "the credentials are refused")
	case apierrors.IsNotFound(err):
		return explain("not served", "the CustomResourceDefinition is there, but this version of it is not served")
	case apierrors.IsServiceUnavailable(err), apierrors.IsServerTimeout(err), apierrors.IsTimeout(err), apierrors.IsTooManyRequests(err):
		return trouble{unreachable, err}
	case errors.As(err, &api):
		return trouble{"answer " + string(api.Status().Reason), err}
	case errors.As(err, &urlErr):
		return trouble{unreachable, urlErr.Err} // the address says nothing to people
	case errors.As(err, &netErr):
		return trouble{unreachable, err}
	}
	return trouble{err.Error(), err}
}
