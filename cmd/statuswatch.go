package cmd

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// watchInterval is how often `status -w` looks.
const watchInterval = 2 * time.Second

// statusPrinter reads a cluster and prints its status.
type statusPrinter struct {
	streams
	out    *outputFlag
	reader client.Reader
	clock  clock.Clock
	// limit bounds the time of one report; nil: nothing does.
	limit func(context.Context) (context.Context, context.CancelFunc)
}

// gather reads the cluster once.
func (p *statusPrinter) gather(ctx context.Context) (*statusReport, error) {
	if p.limit == nil {
		return gatherStatus(ctx, p.reader, p.clock.Now())
	}
	ctx, cancel := p.limit(ctx)
	defer cancel()
	r, err := gatherStatus(ctx, p.reader, p.clock.Now())
	if cause := context.Cause(ctx); err != nil && cause != nil {
		what, _, _ := strings.Cut(err.Error(), ": ")
		return nil, fmt.Errorf("cluster: %w; waiting for %s", cause, what)
	}
	return r, err
}

// once prints the report once. The error is errNegative if something is wrong.
func (p *statusPrinter) once(ctx context.Context) error {
	r, err := p.gather(ctx)
	if err != nil {
		return err
	}
	return p.print(r)
}

func (p *statusPrinter) print(r *statusReport) error {
	var err error
	if p.out.text() {
		err = printStatus(p.streams, r)
	} else {
		err = p.out.write(p.streams.out, r)
	}
	if err == nil && !r.Healthy {
		err = errNegative
	}
	return err
}

// watch prints the report whenever it changes, until the context ends, and
// returns what once would have returned last. A cluster that cannot be read is a
// warning, unless it never could be.
func (p *statusPrinter) watch(ctx context.Context) error {
	var last []byte
	var outcome error
	for {
		r, err := p.gather(ctx)
		switch {
		case ctx.Err() != nil:
			return outcome
		case err != nil && last == nil:
			return err
		case err != nil:
			p.warn("%s", err)
		default:
			now, err := withoutAges(r)
			if err != nil {
				return err
			}
			if !bytes.Equal(now, last) {
				if last != nil && p.out.text() {
					if _, err := p.streams.out.Write([]byte("\n" + p.clock.Now().Format(time.RFC3339) + "\n")); err != nil {
						return err
					}
				}
				if outcome = p.print(r); outcome != nil && !errors.Is(outcome, errNegative) {
					return outcome
				}
				last = now
			}
		}
		select {
		case <-ctx.Done():
			return outcome
		case <-p.clock.After(watchInterval):
		}
	}
}

// withoutAges is a report without the ages of the agents' reports, and without what
// grows as long as agents live: a difference in the rest is a change.
func withoutAges(r *statusReport) ([]byte, error) {
	stable := *r
	stable.Agents = make([]statusAgent, len(r.Agents))
	for i := range r.Agents {
		a := r.Agents[i]
		a.AgeSeconds, a.Report.RenewTime, a.Report.LastSuccessTime = 0, metav1.Time{}, nil
		a.Report.LastApply, a.Report.SlowestApply = nil, nil
		stable.Agents[i] = a
	}
	return json.Marshal(&stable)
}
