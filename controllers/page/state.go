package page

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/tierwall/tierwall/controllers/manifests"
	"github.com/tierwall/tierwall/policy/view"
)

// state is the objects as they were read.
type state struct {
	layers   []*manifests.Result // not completed
	world    *view.World
	readAt   time.Time
	warnings []string
}

// load reads the objects.
func (s *Server) load(ctx context.Context) (*state, error) {
	layers, err := s.o.Load(ctx)
	if err != nil {
		return nil, err
	}
	st := &state{layers: layers, readAt: s.o.Clock.Now().UTC()}
	st.world, st.warnings = s.worldOf(false, layers...)
	return st, nil
}

// worldOf lays states over one another, the last on top, and completes the outcome.
func (s *Server) worldOf(audited bool, layers ...*manifests.Result) (*view.World, []string) {
	r := &manifests.Result{}
	for _, l := range layers {
		r.Overlay(l)
	}
	r.Complete()
	ix, problems := s.o.Build(r, audited)
	var warnings []string
	for i := range r.Warnings {
		warnings = append(warnings, r.Warnings[i].String())
	}
	return view.NewWorld(ix, r.All(), r.Book, problems), warnings
}

// change is the world with a change applied. Errors are of the change.
func (s *Server) change(q *WhatIfQuestion) (*view.World, []string, error) {
	if q.YAML == "" && !q.EnforceAudited {
		return nil, nil, errors.New("nothing to try: want YAML of objects, or audited policies to be enforced")
	}
	layers := slices.Clone(s.state.layers)
	if q.YAML != "" {
		r, err := manifests.LoadBytes("pasted", []byte(q.YAML))
		if err != nil {
			return nil, nil, err
		}
		mine := &manifests.Result{}
		mine.Overlay(r)
		_, problems := mine.Index()
		var errs []error
		for _, p := range mine.Locate(problems) {
			if !p.Warning {
				errs = append(errs, p.Error)
			}
		}
		if len(errs) > 0 {
			return nil, nil, errors.Join(errs...)
		}
		layers = append(layers, r)
	}
	w, warnings := s.worldOf(q.EnforceAudited, layers...)
	known := map[string]bool{}
	for _, x := range s.state.warnings {
		known[x] = true
	}
	var fresh []string
	for _, x := range warnings {
		if !known[x] {
			fresh = append(fresh, x)
		}
	}
	return w, fresh, nil
}
