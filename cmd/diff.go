package cmd

import (
	"context"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/tierwall/tierwall/controllers/manifests"
	"github.com/tierwall/tierwall/policy/diff"
	"github.com/tierwall/tierwall/policy/index"
	"github.com/tierwall/tierwall/policy/packets"
)

func newDiffCommand(s streams) *cobra.Command {
	var in inputFlags
	var out outputFlag
	var opts diff.Options
	var enforce bool
	c := &cobra.Command{
		Use:   "diff A B | diff -f PATH | diff --enforce-audited [A]",
		Short: "Say what connectivity changes between two sets of manifests",
		Long: `Diff compares the connections that the manifests in A allow with those that B allows
(files or folders): who loses or gains access, on which protocols and ports, and what
decides before and after; DNS comes first. With -f it compares the live cluster with
the same cluster after the files are applied. With --enforce-audited, policies with
enforcement Audit are enforced on the second side; without a second side, A or the
live cluster is compared with itself. The comparison is exact: it covers every
address, port and protocol, and samples none.

The exit status is 0 if nothing changes, 1 if something does.`,
		Example: `  tierwall diff main/policies branch/policies
  tierwall diff -f quarantine.yaml
  tierwall diff --enforce-audited policies/`,
		Args: func(_ *cobra.Command, args []string) error {
			switch {
			case len(in.filenames) > 0 && len(args) > 0:
				return fmt.Errorf("arguments A and B cannot be combined with -f PATH")
			case enforce && len(args) < 2:
			case len(in.filenames) == 0 && len(args) != 2:
				return fmt.Errorf("want two arguments, A and B, or -f PATH to compare with the live cluster")
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			var before, after world
			var err error
			switch {
			case len(args) == 2:
				before, after, err = diffPaths(s, args[0], args[1], in.allowInvalid)
			case len(in.filenames) > 0:
				before, after, err = diffCluster(c.Context(), s, &in)
			default:
				alone := in
				alone.filenames = args
				// What a live cluster has of invalid objects is what its agents enforce.
				alone.allowInvalid = in.allowInvalid || len(args) == 0
				before, after, err = diffItself(c.Context(), s, &alone)
			}
			if err != nil {
				return err
			}
			if enforce {
				after.index = enforceAudited(after.objects)
			}
			r := compare(before, after, opts)
			if out.text() {
				err = r.WriteText(s.out, diffPainter(coloursFor(s.out)))
			} else {
				err = out.write(s.out, r)
			}
			if err == nil && r.Different() {
				err = errNegative
			}
			return err
		},
	}
	fs := c.Flags()
	in.registerCluster(fs)
	in.registerFiles(fs)
	in.registerAllowInvalid(fs)
	fs.BoolVar(&enforce, "enforce-audited", false, "on the second side, enforce the policies with enforcement Audit")
	fs.BoolVar(&opts.Decisions, "decisions", false, "also report traffic with the same outcome that another rule decides")
	out.register(fs)
	completeContexts(c, &in.cluster)
	return c
}

// world is one side of a comparison.
type world struct {
	index    *index.Index
	objects  *manifests.Result
	services []packets.Service
}

// compare compares two worlds.
func compare(before, after world, o diff.Options) *diff.Report {
	o.ServicesBefore, o.ServicesAfter = before.services, after.services
	return diff.Compare(before.index, after.index, o)
}

// diffPaths reads two sets of manifests.
func diffPaths(s streams, a, b string, allowInvalid bool) (before, after world, err error) {
	if a == manifests.Stdin && b == manifests.Stdin {
		return world{}, world{}, fmt.Errorf("only one of A and B can be standard input")
	}
	var found [2]world
	var known manifests.Memory
	for i, path := range []string{a, b} {
		r, err := loadPaths(s, []string{path}, &known)
		if err != nil {
			return world{}, world{}, err
		}
		found[i].objects, found[i].services = r, r.Services()
	}
	// What DNS answers is the same before and after: either side may say it.
	answers := slices.Concat(found[0].objects.Answers, found[1].objects.Answers)
	for i := range found {
		found[i].objects.Answers = answers
		if found[i].index, err = buildIndex(s, found[i].objects, allowInvalid); err != nil {
			return world{}, world{}, err
		}
	}
	return found[0], found[1], nil
}

// diffItself reads one set of objects, which is both sides.
func diffItself(ctx context.Context, s streams, in *inputFlags) (before, after world, err error) {
	ix, r, err := in.index(ctx, s)
	w := world{index: ix, objects: r}
	if err == nil {
		w.services = r.Services()
	}
	return w, w, err
}

// diffCluster reads the live cluster, and what it would be with the files applied.
func diffCluster(ctx context.Context, s streams, in *inputFlags) (before, after world, err error) {
	// Files first: their mistakes are found without a cluster.
	files, err := manifests.Load(in.filenames, manifests.Options{Stdin: s.in})
	if err != nil {
		return world{}, world{}, err
	}
	live, err := in.readCluster(ctx)
	if err != nil {
		return world{}, world{}, err
	}
	return overlayWorlds(s, live, files, in.allowInvalid)
}

// overlayWorlds returns the world of live objects, and that with the files'
// objects in their place. What the live cluster has of invalid objects is no
// reason to refuse the comparison: it is what the agents enforce.
func overlayWorlds(s streams, live, files *manifests.Result, allowInvalid bool) (before, after world, err error) {
	// The files are completed after they are applied, not before: their
	// namespaces, for one, are those of the cluster.
	both := &manifests.Result{}
	both.Overlay(live)
	both.Overlay(files)
	both.Complete()
	live.Complete()
	for _, w := range both.Warnings {
		s.warn("%s", w)
	}
	before.services, after.services = live.Services(), both.Services()
	before.objects, after.objects = live, both
	live.Answers = both.Answers
	before.index = enforcedIndex(live)
	mine := &manifests.Result{}
	mine.Overlay(files)
	_, problems := mine.Index()
	if err := reportProblems(s, mine, problems, allowInvalid); err != nil {
		return world{}, world{}, err
	}
	after.index, _ = both.Index()
	warnBudgets(s, both, applyBudgets(both, after.index))
	after.index.Flush()
	warnMissingTiers(s, mine, after.index)
	return before, after, nil
}

func diffPainter(c colours) diff.Painter {
	return func(kind diff.Kind, text string) string {
		switch kind {
		case diff.Lost:
			return c.bold(c.red(text))
		case diff.Gained:
			return c.bold(c.green(text))
		}
		return c.bold(text)
	}
}
