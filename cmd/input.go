package cmd

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/pflag"

	"github.com/tierwall/tierwall/controllers/manifests"
	"github.com/tierwall/tierwall/policy/index"
	"github.com/tierwall/tierwall/policy/model"
)

// inputFlags say where a command gets its objects from: with -f from files,
// folders or standard input ("-"), else from a live cluster.
type inputFlags struct {
	filenames    []string
	cluster      clusterFlags
	fromCluster  bool
	allowInvalid bool
	// known is what documents were read as before; nil: nothing is.
	known *manifests.Memory
	// wanted are the workloads that the command is asked about (see wants).
	wanted []model.Ref
}

// wants names what the command is asked about. Of a live cluster workloads are read only
// if they are among it.
func (f *inputFlags) wants(names ...string) {
	for _, name := range names {
		if ref, ok := workloadRef(name); ok && ref.Namespace != "" {
			f.wanted = append(f.wanted, ref)
		}
	}
}

// register adds -f, --from-cluster, --allow-invalid and the flags of the cluster.
func (f *inputFlags) register(fs *pflag.FlagSet) {
	f.registerFiles(fs)
	f.registerCluster(fs)
	f.registerFromCluster(fs)
	f.registerAllowInvalid(fs)
}

// registerFiles adds -f, which means the same in every command: the manifests
// that the command reads. Where a command takes paths as arguments, both mean
// the same.
func (f *inputFlags) registerFiles(fs *pflag.FlagSet) {
	fs.StringArrayVarP(&f.filenames, "filename", "f", nil,
		`manifests to read: a file, a folder, or "-" for standard input; may be repeated`)
}

// registerCluster adds the flags of the cluster only.
func (f *inputFlags) registerCluster(fs *pflag.FlagSet) { f.cluster.register(fs) }

func (f *inputFlags) registerFromCluster(fs *pflag.FlagSet) {
	fs.BoolVar(&f.fromCluster, "from-cluster", false, "read the live cluster and apply the manifests of -f to it; the default without -f")
}

func (f *inputFlags) registerAllowInvalid(fs *pflag.FlagSet) {
	fs.BoolVar(&f.allowInvalid, "allow-invalid", false,
		"evaluate invalid objects as agents do, failing closed, instead of rejecting them")
}

// live reports whether the live cluster is read.
func (f *inputFlags) live() bool { return len(f.filenames) == 0 || f.fromCluster }

// load reads the objects and prints warnings. They are completed (manifests.Result.Complete)
// but not converted. Errors are of unusable input.
func (f *inputFlags) load(ctx context.Context, s streams) (*manifests.Result, error) {
	collectLess()
	var r *manifests.Result
	if len(f.filenames) > 0 {
		var err error
		if r, err = manifests.Load(f.filenames, manifests.Options{Stdin: s.in, Memory: f.known}); err != nil {
			return nil, err
		}
	}
	if f.live() {
		live, err := f.readCluster(ctx)
		if err != nil {
			return nil, err
		}
		if r != nil {
			live.Overlay(r)
		}
		r = live
	}
	return finishLoad(s, r), nil
}

// index is load, followed by conversion: the index holds all objects, flushed. Invalid
// objects are an error unless --allow-invalid is set, and then warnings.
func (f *inputFlags) index(ctx context.Context, s streams) (*index.Index, *manifests.Result, error) {
	r, err := f.load(ctx, s)
	if err != nil {
		return nil, nil, err
	}
	ix, err := buildIndex(s, r, f.allowInvalid)
	return ix, r, err
}

// loadPaths reads and completes the manifests at the paths ("-" is standard
// input) and prints warnings. known is what documents were read as before; nil: nothing is.
func loadPaths(s streams, paths []string, known *manifests.Memory) (*manifests.Result, error) {
	collectLess()
	r, err := manifests.Load(paths, manifests.Options{Stdin: s.in, Memory: known})
	if err != nil {
		return nil, err
	}
	return finishLoad(s, r), nil
}

func (f *inputFlags) readCluster(ctx context.Context) (*manifests.Result, error) {
	config, err := f.cluster.config()
	if err != nil && len(f.filenames) == 0 {
		return nil, fmt.Errorf("no files (-f) and no cluster: %w", err)
	}
	if err != nil {
		return nil, err
	}
	ctx, cancel := f.cluster.limit(ctx)
	defer cancel()
	return manifests.FromCluster(ctx, config, f.wanted...)
}

// finishLoad completes what was read and prints its warnings.
func finishLoad(s streams, r *manifests.Result) *manifests.Result {
	r.Complete()
	for _, w := range r.Warnings {
		s.warn("%s", w)
	}
	return r
}

// buildIndex converts objects, as agents enforce them. Problems that make an object fail closed are an
// error, or with allowInvalid warnings like all the others.
func buildIndex(s streams, r *manifests.Result, allowInvalid bool) (*index.Index, error) {
	ix, problems := r.Index()
	if err := reportProblems(s, r, problems, allowInvalid); err != nil {
		return nil, err
	}
	warnMissingTiers(s, r, ix)
	warnBudgets(s, r, applyBudgets(r, ix))
	ix.Flush()
	return ix, nil
}

// reportProblems prints the problems that are warnings, with allowInvalid all
// of them, and returns the others as an error.
func reportProblems(s streams, r *manifests.Result, problems []model.Problem, allowInvalid bool) error {
	var errs []error
	for _, p := range r.Locate(problems) {
		if p.Warning || allowInvalid {
			s.warn("%s", p.Error)
			continue
		}
		errs = append(errs, p.Error)
	}
	return errors.Join(errs...)
}

// warnMissingTiers names the policies, of those that were read, whose tiers no
// object of the index defines: a slip in a tier's name moves the policy behind
// all others.
func warnMissingTiers(s streams, r *manifests.Result, ix *index.Index) {
	missing := map[string]bool{}
	for _, t := range ix.Tiers() {
		missing[t.Name] = t.Missing
	}
	var problems []model.Problem
	for _, p := range ix.Policies() {
		if _, read := r.Lookup(p.Ref); read && missing[p.Tier] {
			problems = append(problems, model.Problem{Object: p.Ref, Field: "spec.tier", Warning: true,
				Message: fmt.Sprintf("tier %q does not exist: the policy is evaluated after all existing tiers, in a tier that denies by default", p.Tier)})
		}
	}
	for _, p := range r.Locate(problems) {
		s.warn("%s", p.Error)
	}
}
