package cmd

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/controllers/manifests"
	"github.com/tierwall/tierwall/policy/diff"
	"github.com/tierwall/tierwall/policy/flows"
	"github.com/tierwall/tierwall/policy/model"
)

// recommendFlags are the flags of `tierwall recommend`.
type recommendFlags struct {
	in        inputFlags
	from      recordFlags
	out       outputFlag
	namespace string
	since     string
}

func newRecommendCommand(s streams) *cobra.Command {
	var f recommendFlags
	c := &cobra.Command{
		Use:   "recommend",
		Short: "Write policies that allow what was seen, and deny the rest",
		Long: `Recommend writes policies for a namespace: one for each workload, which allows the
connections that were seen and allowed, and one that denies the rest. Peers are
selected by the labels of their workload, by Service, network set or DNS name, and
by address only if none of these is known.

The policies have enforcement Audit: applying them changes nothing, and "tierwall audit"
then says what they would have denied. Before it writes them, recommend enforces them
on a copy of the cluster's objects, checks that every connection that was seen stays
allowed, and lists on standard error what else they would open.

The exit status is 0 if nothing that was seen would be denied, 1 if something would.`,
		Example: `  tierwall recommend -n shop --since 1d > shop.yaml
  tierwall recommend -n shop -f policies/ --records records.jsonl`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return f.run(c.Context(), s) },
	}
	fs := c.Flags()
	fs.StringVarP(&f.namespace, "namespace", "n", "", "namespace to write policies for (required)")
	fs.StringVar(&f.since, "since", "1d", "how far back, as 15m, 1h or 30d, or a time; of a file always all")
	f.in.register(fs)
	f.from.register(fs, &f.in.cluster)
	f.out.register(fs)
	return c
}

func (f *recommendFlags) run(ctx context.Context, s streams) error {
	if f.namespace == "" {
		return errors.New("want a namespace: -n NAMESPACE")
	}
	// What the cluster has of invalid objects is what its agents enforce.
	f.in.allowInvalid = f.in.allowInvalid || f.in.live()
	ix, objects, err := f.in.index(ctx, s)
	if err != nil {
		return err
	}
	r, closeIt, err := f.from.open(ctx, s)
	if err != nil {
		return err
	}
	defer closeIt()
	since := f.since
	if f.from.file != "" {
		since = ""
	}
	q := flows.Query{Namespaces: []string{f.namespace}}
	if q.Since, err = f.from.since(since, r.now()); err != nil {
		return err
	}
	if r.now().Sub(q.Since) > flows.DefaultSince {
		q.Step = flows.LongWindow
	}
	list, err := allRecords(ctx, s, r, q)
	if err != nil {
		return err
	}
	list = flows.Total(list)
	if len(list) == 0 {
		return fmt.Errorf("no connections of namespace %s were seen", f.namespace)
	}
	made := flows.Recommend(ix, list, f.namespace)
	for _, n := range made.Notes {
		s.warn("%s", n)
	}
	before := world{index: ix, objects: objects, services: objects.Services()}
	lost, opened, err := f.prove(s, before, made.Policies, list)
	if err != nil {
		return err
	}
	if err := f.print(s, made.Policies); err != nil {
		return err
	}
	for _, c := range opened {
		s.warn("once enforced, also opens: %s to %s, %s", c.From.Text, c.To.Text, c.Traffic)
	}
	for i := range lost {
		rec := &lost[i]
		s.warn("once enforced, denies what was seen: %s to %s, %s", endText(&rec.Source), endText(&rec.Destination), portText(rec.Protocol, rec.Port, rec.ICMPType))
	}
	if len(lost) > 0 {
		return errNegative
	}
	return nil
}

// prove enforces policies on a copy of the objects, and returns which of the records would
// be denied and what else would be allowed.
func (f *recommendFlags) prove(s streams, before world, policies []*v1alpha1.NetworkPolicy, list []flows.Record) ([]flows.Record, []diff.Change, error) {
	var docs []byte
	for _, p := range policies {
		enforced := p.DeepCopy()
		enforced.Spec.Enforcement = v1alpha1.Enforced
		doc, err := policyYAML(enforced)
		if err != nil {
			return nil, nil, err
		}
		docs = append(append(docs, "---\n"...), doc...)
	}
	with, err := manifests.LoadBytes("recommendation", docs)
	if err != nil {
		return nil, nil, err
	}
	both := &manifests.Result{}
	both.Overlay(before.objects)
	both.Overlay(with)
	both.Answers = before.objects.Answers
	both.Complete()
	quiet := s
	quiet.errOut = &bytes.Buffer{} // all has been said of the objects before
	after, err := buildIndex(quiet, both, true)
	if err != nil {
		return nil, nil, err
	}
	var opened []diff.Change
	for _, c := range compare(before, world{index: after, services: both.Services()}, diff.Options{}).Changes {
		if c.Kind == diff.Gained {
			opened = append(opened, c)
		}
	}
	return flows.Lost(before.index, after, list), opened, nil
}

func (f *recommendFlags) print(s streams, policies []*v1alpha1.NetworkPolicy) error {
	if f.out.format == formatJSON {
		items := []any{}
		for _, p := range policies {
			fields, err := policyFields(p)
			if err != nil {
				return err
			}
			items = append(items, fields)
		}
		return f.out.write(s.out, map[string]any{"apiVersion": "v1", "kind": "List", "items": items})
	}
	for i, p := range policies {
		doc, err := policyYAML(p)
		if err != nil {
			return err
		}
		if i > 0 {
			doc = append([]byte("---\n"), doc...)
		}
		if _, err := s.out.Write(doc); err != nil {
			return err
		}
	}
	return nil
}

// policyFields are a policy's fields as people write them: without status.
func policyFields(p *v1alpha1.NetworkPolicy) (map[string]any, error) {
	b, err := json.Marshal(p)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", model.Ref{Kind: model.KindTierwallNetworkPolicy, Namespace: p.Namespace, Name: p.Name}, err)
	}
	var fields map[string]any
	if err := json.Unmarshal(b, &fields); err != nil {
		return nil, err
	}
	delete(fields, "status")
	if m, ok := fields["metadata"].(map[string]any); ok {
		delete(m, "creationTimestamp")
	}
	return fields, nil
}

func policyYAML(p *v1alpha1.NetworkPolicy) ([]byte, error) {
	fields, err := policyFields(p)
	if err != nil {
		return nil, err
	}
	return yaml.Marshal(fields)
}
