package cmd

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	"github.com/tierwall/tierwall/controllers/manifests"
	"github.com/tierwall/tierwall/policy/convert"
)

func newConvertCommand(s streams) *cobra.Command {
	var in inputFlags
	out := outputFlag{format: formatYAML, allowed: []string{formatYAML, formatJSON}}
	c := &cobra.Command{
		Use:   "convert PATH...",
		Short: "Translate the manifests of other policy systems",
		Long: `Convert reads manifests and writes them to standard output in Tierwall's terms:

  Calico    projectcalico.org/v3 and crd.projectcalico.org/v1
  native    AdminNetworkPolicy and BaselineAdminNetworkPolicy v1alpha1
  Cilium    CiliumNetworkPolicy, CiliumClusterwideNetworkPolicy and
            CiliumCIDRGroup, as far as layers 3 and 4 go

All other objects pass through as they are written, with their comments. What has
no exact equivalent is listed on standard error as "WARNING object: field: message"
and in a comment before the converted object. Such a policy never allows more than
the original: an Allow rule without an equivalent is left out. Lines that begin with
NOTE are explanations; nothing differs there.

The exit status is 0 if everything has an equivalent, 1 if something has none or is
of an unknown kind of one of these systems, and 2 if the input is unusable.`,
		Example: `  tierwall convert calico/ > tierwall.yaml
  kubectl get ciliumnetworkpolicies -A -o yaml | tierwall convert -`,
		Args: pathArgs,
		RunE: func(_ *cobra.Command, paths []string) error {
			return convertManifests(s, &out, append(in.filenames, paths...))
		},
	}
	in.registerFiles(c.Flags())
	c.Flags().VarP(&out, "output", "o", "output format: yaml, json (a List, without comments)")
	return c
}

func convertManifests(s streams, out *outputFlag, paths []string) error {
	read, err := manifests.ReadManifests(paths, manifests.Options{Stdin: s.in})
	if err != nil {
		return err
	}
	if err := invalid(read.Items); err != nil {
		return err
	}
	docs, lossy, err := documents(read.Items)
	if err != nil {
		return err
	}
	for _, m := range read.Items {
		for _, n := range m.Notes {
			word := "NOTE"
			if n.Lossy {
				word = "WARNING"
			}
			fmt.Fprintf(s.errOut, "%s %s\n", word, plain(n.String()))
		}
	}
	for _, w := range read.Warnings {
		fmt.Fprintf(s.errOut, "WARNING %s\n", plain(w.String()))
	}
	for _, gvk := range read.Skipped {
		lossy = lossy || policySystems[gvk.Group]
	}
	if out.format == formatJSON {
		items := []map[string]any{}
		for _, d := range docs {
			fields := d.fields
			if d.unchanged != nil {
				if fields, err = d.unchanged.Fields(); err != nil {
					return fmt.Errorf("%s: %w", d.unchanged.Name, err)
				}
			}
			if fields != nil {
				items = append(items, fields)
			}
		}
		err = out.write(s.out, map[string]any{"apiVersion": "v1", "kind": "List", "items": items})
	} else {
		err = writeDocuments(s.out, docs)
	}
	if err == nil && lossy {
		err = errNegative
	}
	return err
}

// invalid joins what is wrong with the translated objects, which is what was
// wrong with the foreign ones: an API server would refuse them.
func invalid(read []manifests.Manifest) error {
	var errs []error
	for _, m := range read {
		for _, o := range m.Objects {
			_, problems, _ := convert.Object(o)
			for _, p := range problems {
				if !p.Warning {
					errs = append(errs, &manifests.Error{File: m.File, Line: m.Line, Column: m.Column, Object: m.Name, Field: p.Field, Message: p.Message})
				}
			}
		}
	}
	return errors.Join(errs...)
}

// document is one object of the output, and what is to be said about it.
type document struct {
	comments  []string
	unchanged *manifests.Manifest // one that is written as it was read
	fields    map[string]any      // of a translated one; nil, too: there are only comments
}

// documents lists the output, and says whether something has no equivalent.
func documents(read []manifests.Manifest) (docs []document, lossy bool, err error) {
	for i := range read {
		m := &read[i]
		if m.Text != "" {
			docs = append(docs, document{unchanged: m})
			continue
		}
		d := document{comments: []string{fmt.Sprintf("From %s (%s:%d).", m.Name, m.File, m.Line)}}
		for _, n := range m.Notes {
			lossy = lossy || n.Lossy
			line := n.Message
			if n.Field != "" {
				line = n.Field + ": " + line
			}
			if n.Lossy {
				line = "WARNING " + line
			}
			d.comments = append(d.comments, line)
		}
		for _, o := range m.Objects {
			if d.fields, err = fieldsOf(o); err != nil {
				return nil, false, fmt.Errorf("%s: %w", m.Name, err)
			}
			docs = append(docs, d)
			d = document{}
		}
		if len(d.comments) > 0 {
			docs = append(docs, d) // there are no objects
		}
	}
	return docs, lossy, nil
}

// fieldsOf are the fields that an object sets, without its status.
func fieldsOf(o any) (map[string]any, error) {
	b, err := json.Marshal(o)
	if err != nil {
		return nil, err
	}
	var fields map[string]any
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	if err := d.Decode(&fields); err != nil {
		return nil, err
	}
	delete(fields, "status")
	if m, ok := fields["metadata"].(map[string]any); ok && m["creationTimestamp"] == nil {
		delete(m, "creationTimestamp")
	}
	return fields, nil
}

// writeDocuments writes YAML, with sorted keys where it is not as it was read. What is
// said without an object is a document of comments alone, which readers take for empty.
func writeDocuments(w io.Writer, docs []document) error {
	var b bytes.Buffer
	for _, d := range docs {
		b.WriteString("---\n")
		for _, c := range d.comments {
			b.WriteString("# " + plain(c) + "\n")
		}
		if d.unchanged != nil {
			b.WriteString(d.unchanged.Text)
		}
		if d.fields == nil {
			continue
		}
		y, err := yaml.Marshal(d.fields)
		if err != nil {
			return err
		}
		b.Write(y)
	}
	_, err := w.Write(b.Bytes())
	return err
}

// policySystems are the groups of the systems whose manifests are translated.
var policySystems = map[string]bool{
	"projectcalico.org":        true,
	"crd.projectcalico.org":    true,
	"cilium.io":                true,
	"policy.networking.k8s.io": true,
}
